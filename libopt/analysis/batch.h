// Whether a model computes each sample of a batch alone, so that samples may be stacked.
#pragma once

#include <span>
#include <string>

#include "libopt/ir/graph.h"

namespace onnxtool {

/// Whether samples that are stacked along axis 0 of every input give, along axis 0 of every value
/// of `watched`, what each would give alone (up to rounding). Proven node by node from operators,
/// types and constants, so false may only mean that nothing is known; `why_not` then says which
/// node is in the way. Types must be inferred (infer_graph).
bool computes_samples_alone(const Graph& graph, std::span<const Value* const> watched,
                            std::string* why_not = nullptr);

}  // namespace onnxtool
