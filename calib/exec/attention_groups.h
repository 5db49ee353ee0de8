// Finds attention that exporters write as products, a mask and a Softmax.
#pragma once

#include <optional>

#include "calib/exec/float_groups.h"
#include "calib/exec/readers.h"

namespace onnxtool {

/// Operators that stand for groups of nodes in plans alone: compiling refuses nodes of this domain.
inline constexpr std::string_view kPlanDomain = "onnxtool.plan";

/// The group around a Softmax; nullopt: it is none, or somebody else wants a value inside it.
///
///   y = MatMul(Softmax(MatMul(q, k^T) * scale + mask), v)
///
/// for q, k, v of [batch, heads, rows, size], each of which may be a Transpose of [batch, rows,
/// heads, size], and so may y be turned into that. A k^T that nothing transposes, or whose
/// Transpose has other readers, is not matched: its rows would not follow each other.
std::optional<FloatGroup> find_attention(const Node& softmax, const Watched& is_watched);

}  // namespace onnxtool
