// What onnxruntime's QLinearSoftmax computes with.
//
//   code = round(power * floor(1 / y_scale) / sum of powers) + y_zero_point      in float32
//
//   - any scale that is no reciprocal makes all results too small, by up to 0.4 %
//   - a row of n entries has powers of up to FLT_MAX / (n e^5): where 1 / y_scale passes n e^5, the
//     products are infinite and the results 0
//   - of s8, what lies beyond the last code wraps around to the first
// Source: onnxruntime 1.31, contrib_ops/cpu/quantization/qlinear_softmax.cc.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

#include "libopt/ir/graph.h"
#include "libopt/support/checked.h"

namespace onnxtool {

/// e^5, less some room for how the kernel rounds it.
inline constexpr float kMostSoftmaxCodesPerEntry = 148;

/// Entries of a row that sums up to 1; before opset 13 it has all axes from `axis` on. nullopt
/// where the shape leaves them open.
inline std::optional<int64_t> softmax_entries(const Node& softmax) {
  const auto& shape = softmax.input(0).type().shape;
  if (!shape) return std::nullopt;
  const bool flattens = softmax.opset() < 13;
  const auto rank = static_cast<int64_t>(shape->size());
  int64_t axis = softmax.attr<int64_t>("axis", flattens ? 1 : -1);
  if (axis < 0) axis += rank;
  const int64_t end = flattens ? rank : std::min(axis + 1, rank);
  int64_t entries = 1;
  for (int64_t i = std::max<int64_t>(axis, 0); i < end; ++i) {
    const auto extent = (*shape)[static_cast<size_t>(i)].value;
    const auto more = extent && *extent > 0 ? checked_mul(entries, *extent) : std::nullopt;
    if (!more) return std::nullopt;
    entries = *more;
  }
  return entries;
}

}  // namespace onnxtool
