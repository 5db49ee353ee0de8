// What layer normalizations are made of.
#pragma once

#include "libopt/rewrite/match.h"
#include "libopt/rewrite/pattern.h"

namespace onnxtool {

/// y = x / sqrt(mean(x^2) + epsilon), the mean over all axes from `axis` (negative) on.
struct Normalized {
  const Value* x;
  int64_t axis;
  float epsilon;
};

/// The normalization that makes the value, in any of the forms that exporters write.
MatchOr<Normalized> find_normalized(Pattern& p, const Value& y);

/// The first of the axes of a ReduceMean that keeps its axes and averages over all that follow,
/// counted from the end; nullopt: it is none such.
std::optional<int64_t> trailing_axis(const Node& mean);

/// Whether the value has exactly the extents of x from `axis` (negative) on, and none is 0: a mean
/// of nothing is NaN, which runtimes' normalizations refuse.
bool fits_axes(const Value& value, const Value& x, int64_t axis);

}  // namespace onnxtool
