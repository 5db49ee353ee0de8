// Keys of computations: what two models' nodes, graphs and functions compute, names left out.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "libopt/ir/model.h"

namespace onnxtool {

/// Domain, name and overload; different operators never share a key.
std::string operator_key(const Node& node);

/// A type without its shape, which graphs in attributes declare of their inputs: some operators go
/// by it.
std::string element_type_text(ValueType type);

/// `text` behind its length, so that no two sequences of parts look the same.
std::string key_part(std::string_view text);

/// False for a constant that is a node: it is compared as the value that it holds.
bool has_key(const Node& node);

/// Interns keys: equal numbers are equal computations, without collisions.
class StructureKeys {
 public:
  int of(const std::string& key) {
    return ids_.emplace(key, static_cast<int>(ids_.size())).first->second;
  }

 private:
  std::unordered_map<std::string, int> ids_;
};

/// The keys of one graph's values and nodes; comparable among all that share `keys`, which outlives
/// this.
class KeyedGraph {
 public:
  explicit KeyedGraph(StructureKeys& keys) : keys_(keys) {}
  /// Of a main graph, whose inputs are told apart by name.
  KeyedGraph(const Graph& graph, StructureKeys& keys);

  /// has_key() only.
  int of(const Node& node) const { return node_keys_.at(&node); }
  int of(const Value& value);
  std::string attribute_key(const Attribute& attribute);
  /// Of an inner graph or a function's body, whose inputs are told apart by place: all its nodes,
  /// in any order, also those that nothing reads.
  std::string graph_key(const Graph& graph);

 private:
  std::vector<const Node*> add(const Graph& graph);

  StructureKeys& keys_;
  int depth_ = 0;  // an inner graph's inputs are not those of the graphs around it
  std::unordered_map<const Value*, int> values_;
  std::unordered_map<const Node*, int> node_keys_;
  std::unordered_map<const Attribute*, int> graphs_;  // in attributes
  // Of sparse initializers, by name.
  std::unordered_map<const Graph*, std::map<std::string, std::string>> sparse_;
};

}  // namespace onnxtool
