// A value times its own sigmoid: what Swish and QuickGelu are.
#pragma once

#include "libopt/rewrite/match.h"
#include "libopt/rewrite/pattern.h"

namespace onnxtool {

/// y = x * Sigmoid(alpha * x).
struct SigmoidGate {
  const Value* x;
  double alpha;
};

/// The gate whose last node `product`, a Mul, is; the nodes are taken into the pattern.
MatchOr<SigmoidGate> find_sigmoid_gate(Pattern& p, const Node& product);

}  // namespace onnxtool
