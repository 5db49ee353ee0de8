// Where attention keeps its scores.
#pragma once

#include <cstdint>
#include <set>

#include "libopt/ir/graph.h"

namespace onnxtool {

/// Below it, a constant shuts elements out of a Softmax.
inline constexpr double kMaskLevel = -1e3;

/// What is taken for a mask. A constant that is added is one only where it shuts elements out.
enum class MaskRule : uint8_t {
  kAnythingAdded,  // and whatever a Where picks
  /// What a constant that shuts elements out has a part in; or an input that no layer reads, added
  /// to what layers make.
  kNotOfLayers
};

/// Adds the Softmax, and everything between the product that makes its scores and it, where a mask
/// is put on the scores on the way; nothing where none is.
void mark_scores(const Node& softmax, std::set<const Node*>& marked,
                 MaskRule rule = MaskRule::kAnythingAdded);

}  // namespace onnxtool
