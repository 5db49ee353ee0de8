// Decision trees of ai.onnx.ml, checked and laid out for walking.
#pragma once

#include <span>

#include "calib/kernels/cpu/ml/models.h"

namespace onnxtool {

/// How a node compares the feature (left) with its threshold.
enum class NodeMode : uint8_t {
  kLessEqual,
  kLess,
  kGreaterEqual,
  kGreater,
  kEqual,
  kNotEqual,
  kMember,
  kLeaf
};

struct TreeNode {
  NodeMode mode = NodeMode::kLeaf;
  bool missing_is_true = false;  // NaN takes the true branch, whatever the comparison says
  int64_t feature = 0;
  double threshold = 0;
  int64_t on_true = 0, on_false = 0;  // indices of nodes
  int64_t first = 0, last = 0;        // a leaf's votes; kMember: its range of `members`, sorted
};

/// What a leaf adds to one target or class.
struct Vote {
  int64_t target = 0;
  double weight = 0;
};

/// Trees over one pool of nodes. After check() every walk from a root ends at a leaf.
struct Forest {
  std::vector<TreeNode> nodes;
  std::vector<Vote> votes;
  std::vector<double> members;
  std::vector<int64_t> roots;
  int64_t features = 0;  // rows must have so many at least

  /// Node indices, features, targets in [0, targets) and the absence of cycles.
  Status check(int64_t targets);
  /// The leaf that a row of `features` elements or more reaches.
  const TreeNode& leaf(int64_t root, const double* row) const;
  std::span<const Vote> votes_of(const TreeNode& leaf) const {
    return std::span(votes).subspan(static_cast<size_t>(leaf.first),
                                    static_cast<size_t>(leaf.last - leaf.first));
  }
};

/// From the nodes_* attributes of versions 1 to 3; votes from `prefix`_treeids, _nodeids, _ids and
/// _weights.
Result<Forest> forest_from_lists(const NodeView& node, const std::string& prefix, int64_t targets);
/// From the attributes of TreeEnsemble-5.
Result<Forest> forest_from_arrays(const NodeView& node, int64_t targets);

}  // namespace onnxtool
