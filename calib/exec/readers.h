// What fusions ask about values: who reads them, and whether they are one number.
#pragma once

#include <algorithm>
#include <functional>
#include <optional>

#include "libopt/rewrite/pattern.h"

namespace onnxtool {

using Watched = std::function<bool(const Value&)>;

/// Whether the node makes its first output and no other. A legal node may name its only output "":
/// then nothing can be fused through it.
inline bool has_one_result(const Node& node) {
  return node.num_outputs() >= 1 && node.has_output(0) &&
         std::all_of(node.outputs().begin() + 1, node.outputs().end(),
                     [](const Value* v) { return v == nullptr; });
}

/// The node of one result that alone reads a value that nobody watches; nullptr: there is none.
/// `is_watched` is asked only about values that have one reader.
inline const Node* only_reader(const Value& value, const Watched& is_watched) {
  const Node* reader = only_reader(value);
  return reader && !is_watched(value) && has_one_result(*reader) ? reader : nullptr;
}

/// Whether two extents are known to be the same one.
inline bool same_extent(const Dim& a, const Dim& b) {
  return a.value && b.value ? *a.value == *b.value
                            : !a.value && !b.value && !a.symbol.empty() && a.symbol == b.symbol;
}

inline bool same_static_shape(const Value& a, const Value& b) {
  return a.type().shape && b.type().shape &&
         std::ranges::equal(*a.type().shape, *b.type().shape, same_extent);
}

/// The number of a float constant of one element.
inline std::optional<float> float_scalar(const Value& value) {
  const Tensor* t = value.constant();
  if (!t || t->count() != 1 || t->dtype() != DataType::kFloat) return std::nullopt;
  return t->values<float>()[0];
}

}  // namespace onnxtool
