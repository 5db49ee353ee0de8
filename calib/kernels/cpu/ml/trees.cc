#include "calib/kernels/cpu/ml/trees.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "calib/kernels/cpu/convert.h"

namespace onnxtool {
namespace {

std::string describe(size_t node) { return "node " + std::to_string(node); }

bool holds(const Forest& forest, const TreeNode& n, double x) {
  switch (n.mode) {
    case NodeMode::kLessEqual: return x <= n.threshold;
    case NodeMode::kLess: return x < n.threshold;
    case NodeMode::kGreaterEqual: return x >= n.threshold;
    case NodeMode::kGreater: return x > n.threshold;
    case NodeMode::kEqual: return x == n.threshold;
    case NodeMode::kNotEqual: return x != n.threshold;
    case NodeMode::kMember:
      return std::binary_search(forest.members.begin() + n.first, forest.members.begin() + n.last,
                                x);
    case NodeMode::kLeaf: break;
  }
  return false;
}

using NodeKey = std::pair<int64_t, int64_t>;  // tree, node
using NodeIndex = std::map<NodeKey, int64_t>;

std::string describe(const NodeKey& key) {
  return "node " + std::to_string(key.second) + " of tree " + std::to_string(key.first);
}

Result<int64_t> node_at(const NodeIndex& index, const NodeKey& key, std::string_view what) {
  const auto it = index.find(key);
  if (it == index.end())
    return bad_model(std::string(what) + " names " + describe(key) + ", which does not exist");
  return it->second;
}

Result<NodeMode> mode_named(std::string_view name) {
  constexpr std::pair<std::string_view, NodeMode> kModes[] = {
      {"LEAF", NodeMode::kLeaf},           {"BRANCH_LEQ", NodeMode::kLessEqual},
      {"BRANCH_LT", NodeMode::kLess},      {"BRANCH_GTE", NodeMode::kGreaterEqual},
      {"BRANCH_GT", NodeMode::kGreater},   {"BRANCH_EQ", NodeMode::kEqual},
      {"BRANCH_NEQ", NodeMode::kNotEqual},
  };
  for (const auto& [known, mode] : kModes)
    if (known == name) return mode;
  return bad_model("nodes_modes has '" + std::string(name) + "'");
}

Status expect_length(std::string_view name, size_t found, size_t expected) {
  if (found == expected) return {};
  return wrong_length(name, found, std::to_string(expected));
}

// An attribute that may be absent, but not of another length.
Status expect_length_if_given(std::string_view name, size_t found, size_t expected) {
  return found ? expect_length(name, found, expected) : Status();
}

// Sorts the votes by leaf, keeping the order of those of one leaf, and tells the leaves.
void assign_votes(Forest& forest, std::vector<std::pair<int64_t, Vote>> votes) {
  std::stable_sort(votes.begin(), votes.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  for (size_t i = 0; i < votes.size(); ++i) {
    TreeNode& node = forest.nodes[static_cast<size_t>(votes[i].first)];
    // Weights of inner nodes are legal and never read.
    if (node.mode == NodeMode::kLeaf) {
      if (node.last == 0) node.first = static_cast<int64_t>(i);
      node.last = static_cast<int64_t>(i) + 1;
    }
    forest.votes.push_back(votes[i].second);
  }
}

}  // namespace

const TreeNode& Forest::leaf(int64_t root, const double* row) const {
  const TreeNode* n = &nodes[static_cast<size_t>(root)];
  while (n->mode != NodeMode::kLeaf) {
    const double x = row[n->feature];
    const bool yes = holds(*this, *n, x) || (n->missing_is_true && std::isnan(x));
    n = &nodes[static_cast<size_t>(yes ? n->on_true : n->on_false)];
  }
  return *n;
}

Status Forest::check(int64_t targets) {
  const auto count = static_cast<int64_t>(nodes.size());
  const auto known = [&](int64_t i) { return i >= 0 && i < count; };
  features = 0;
  for (size_t i = 0; i < nodes.size(); ++i) {
    const TreeNode& n = nodes[i];
    if (n.mode == NodeMode::kLeaf) continue;
    if (!known(n.on_true) || !known(n.on_false))
      return bad_model(describe(i) + " has a branch to a node that does not exist");
    // No row has more columns than that; and one more than the last must be a number.
    if (n.feature < 0 || n.feature > std::numeric_limits<int32_t>::max())
      return bad_model(describe(i) + " compares feature " + std::to_string(n.feature));
    features = std::max(features, n.feature + 1);
  }
  for (const Vote& v : votes)
    if (v.target < 0 || v.target >= targets)
      return bad_model("a leaf votes for " + std::to_string(v.target) + " of " +
                       std::to_string(targets) + " targets or classes");
  // An inner node has one parent at most, or walking might never end.
  std::vector<bool> seen(nodes.size());
  std::vector<int64_t> open;
  for (const int64_t root : roots) {
    if (!known(root)) return bad_model("tree root " + std::to_string(root) + " does not exist");
    open.push_back(root);
    while (!open.empty()) {
      const auto i = static_cast<size_t>(open.back());
      open.pop_back();
      if (nodes[i].mode == NodeMode::kLeaf) continue;
      if (seen[i]) return bad_model(describe(i) + " is reached twice: the nodes form no tree");
      seen[i] = true;
      open.push_back(nodes[i].on_true);
      open.push_back(nodes[i].on_false);
    }
  }
  return {};
}

Result<Forest> forest_from_lists(const NodeView& node, const std::string& prefix, int64_t targets) {
  const auto tree_ids = node.attr_ints("nodes_treeids"), node_ids = node.attr_ints("nodes_nodeids"),
             feature_ids = node.attr_ints("nodes_featureids"),
             true_ids = node.attr_ints("nodes_truenodeids"),
             false_ids = node.attr_ints("nodes_falsenodeids"),
             missing = node.attr_ints("nodes_missing_value_tracks_true");
  const auto modes = node.attr_strings("nodes_modes");
  ONNXTOOL_ASSIGN(const std::vector<double> values, numbers_from(node, "nodes_values"));
  const size_t n = tree_ids.size();
  ONNXTOOL_TRY(expect_length("nodes_nodeids", node_ids.size(), n));
  ONNXTOOL_TRY(expect_length("nodes_featureids", feature_ids.size(), n));
  ONNXTOOL_TRY(expect_length("nodes_truenodeids", true_ids.size(), n));
  ONNXTOOL_TRY(expect_length("nodes_falsenodeids", false_ids.size(), n));
  ONNXTOOL_TRY(expect_length("nodes_modes", modes.size(), n));
  ONNXTOOL_TRY(expect_length("nodes_values", values.size(), n));
  ONNXTOOL_TRY(expect_length_if_given("nodes_missing_value_tracks_true", missing.size(), n));

  Forest forest;
  NodeIndex index;
  for (size_t i = 0; i < n; ++i) {
    const NodeKey key{tree_ids[i], node_ids[i]};
    if (!index.emplace(key, static_cast<int64_t>(i)).second)
      return bad_model(describe(key) + " is listed twice");
    // The first node listed of a tree is its root.
    if (i == 0 || tree_ids[i] != tree_ids[i - 1]) forest.roots.push_back(static_cast<int64_t>(i));
  }
  for (size_t i = 0; i < n; ++i) {
    TreeNode t;
    ONNXTOOL_ASSIGN(t.mode, mode_named(modes[i]));
    t.feature = feature_ids[i];
    t.threshold = values[i];
    t.missing_is_true = !missing.empty() && missing[i] == 1;
    if (t.mode != NodeMode::kLeaf) {
      ONNXTOOL_ASSIGN(t.on_true, node_at(index, {tree_ids[i], true_ids[i]}, "nodes_truenodeids"));
      ONNXTOOL_ASSIGN(t.on_false,
                      node_at(index, {tree_ids[i], false_ids[i]}, "nodes_falsenodeids"));
    }
    forest.nodes.push_back(t);
  }

  const auto vote_trees = node.attr_ints(prefix + "_treeids"),
             vote_nodes = node.attr_ints(prefix + "_nodeids"),
             ids = node.attr_ints(prefix + "_ids");
  ONNXTOOL_ASSIGN(const std::vector<double> weights, numbers_from(node, prefix + "_weights"));
  ONNXTOOL_TRY(expect_length(prefix + "_nodeids", vote_nodes.size(), vote_trees.size()));
  ONNXTOOL_TRY(expect_length(prefix + "_ids", ids.size(), vote_trees.size()));
  ONNXTOOL_TRY(expect_length(prefix + "_weights", weights.size(), vote_trees.size()));
  std::vector<std::pair<int64_t, Vote>> votes;
  for (size_t i = 0; i < ids.size(); ++i) {
    ONNXTOOL_ASSIGN(const int64_t at,
                    node_at(index, {vote_trees[i], vote_nodes[i]}, prefix + "_nodeids"));
    votes.emplace_back(at, Vote{ids[i], weights[i]});
  }
  assign_votes(forest, std::move(votes));
  ONNXTOOL_TRY(forest.check(targets));
  return forest;
}

namespace {

Result<std::vector<double>> tensor_numbers(const NodeView& node, const char* name) {
  const ConstView* t = node.attr_tensor(name);
  if (!t) return std::vector<double>();
  if (wide_type(t->dtype) == DataType::kUndefined) return unsupported_type(t->dtype, name);
  std::vector<double> values(static_cast<size_t>(t->count));
  convert_elements(t->dtype, t->data, DataType::kDouble, values.data(), 0, t->count);
  return values;
}

// The sets of all kMember nodes in turn; a NaN ends each.
Status read_members(const std::vector<double>& values, Forest& forest) {
  size_t at = 0;
  for (size_t i = 0; i < forest.nodes.size(); ++i) {
    TreeNode& n = forest.nodes[i];
    if (n.mode != NodeMode::kMember) continue;
    if (at >= values.size()) return bad_model("membership_values has no set for " + describe(i));
    n.first = static_cast<int64_t>(forest.members.size());
    for (; at < values.size() && !std::isnan(values[at]); ++at)
      forest.members.push_back(values[at]);
    n.last = static_cast<int64_t>(forest.members.size());
    ++at;
    std::sort(forest.members.begin() + n.first, forest.members.end());
  }
  return {};
}

}  // namespace

Result<Forest> forest_from_arrays(const NodeView& node, int64_t targets) {
  const auto roots = node.attr_ints("tree_roots"), features = node.attr_ints("nodes_featureids"),
             true_ids = node.attr_ints("nodes_truenodeids"),
             false_ids = node.attr_ints("nodes_falsenodeids"),
             true_leafs = node.attr_ints("nodes_trueleafs"),
             false_leafs = node.attr_ints("nodes_falseleafs"),
             leaf_targets = node.attr_ints("leaf_targetids"),
             missing = node.attr_ints("nodes_missing_value_tracks_true");
  ONNXTOOL_ASSIGN(const std::vector<double> modes, tensor_numbers(node, "nodes_modes"));
  ONNXTOOL_ASSIGN(const std::vector<double> splits, tensor_numbers(node, "nodes_splits"));
  ONNXTOOL_ASSIGN(const std::vector<double> weights, tensor_numbers(node, "leaf_weights"));
  ONNXTOOL_ASSIGN(const std::vector<double> members, tensor_numbers(node, "membership_values"));
  const size_t n = features.size(), leaves = leaf_targets.size();
  ONNXTOOL_TRY(expect_length("nodes_truenodeids", true_ids.size(), n));
  ONNXTOOL_TRY(expect_length("nodes_falsenodeids", false_ids.size(), n));
  ONNXTOOL_TRY(expect_length("nodes_trueleafs", true_leafs.size(), n));
  ONNXTOOL_TRY(expect_length("nodes_falseleafs", false_leafs.size(), n));
  ONNXTOOL_TRY(expect_length("nodes_modes", modes.size(), n));
  ONNXTOOL_TRY(expect_length("nodes_splits", splits.size(), n));
  ONNXTOOL_TRY(expect_length("leaf_weights", weights.size(), leaves));
  ONNXTOOL_TRY(expect_length_if_given("nodes_missing_value_tracks_true", missing.size(), n));

  Forest forest;
  forest.roots = to_dims(roots);
  // Leaves stand behind the inner nodes. -1 is no node: check() says so.
  const auto target = [&](int64_t id, bool leaf) {
    const auto bound = static_cast<int64_t>(leaf ? leaves : n);
    return id < 0 || id >= bound ? int64_t{-1} : leaf ? static_cast<int64_t>(n) + id : id;
  };
  for (size_t i = 0; i < n; ++i) {
    if (!(modes[i] >= 0 && modes[i] <= static_cast<double>(NodeMode::kMember)))
      return bad_model("nodes_modes has " + std::to_string(modes[i]) + ", expected 0 to 6");
    TreeNode t;
    t.mode = static_cast<NodeMode>(static_cast<int>(modes[i]));
    t.feature = features[i];
    t.threshold = splits[i];
    t.missing_is_true = !missing.empty() && missing[i] == 1;
    t.on_true = target(true_ids[i], true_leafs[i] != 0);
    t.on_false = target(false_ids[i], false_leafs[i] != 0);
    forest.nodes.push_back(t);
  }
  for (const int64_t root : roots)
    if (root < 0 || root >= static_cast<int64_t>(n))
      return bad_model("tree_roots has " + std::to_string(root) + ", with " + std::to_string(n) +
                       " nodes");
  ONNXTOOL_TRY(read_members(members, forest));
  for (size_t i = 0; i < leaves; ++i) {
    TreeNode leaf;
    leaf.first = static_cast<int64_t>(i);
    leaf.last = leaf.first + 1;
    forest.nodes.push_back(leaf);
    forest.votes.push_back({leaf_targets[i], weights[i]});
  }
  ONNXTOOL_TRY(forest.check(targets));
  return forest;
}

}  // namespace onnxtool
