// What differs between two graphs: which of their nodes stand for each other, and what of these
// changed. For difference.cc alone.
#pragma once

#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "libopt/analysis/difference.h"
#include "libopt/analysis/structure_keys.h"

namespace onnxtool {

/// What the comparisons of two models' graphs share.
struct SharedDifferences {
  StructureKeys keys;
  std::unordered_map<const Value*, const Value*> meaning;  // of b's values those of a
  std::vector<Difference> out;

  void changed(std::string place, std::string what) {
    out.push_back({Difference::Kind::kChanged, std::move(place), std::move(what)});
  }
};

/// `2 inputs, 1 outputs`.
std::string face_of(const Graph& graph);

/// Two main graphs, bodies of functions, or graphs in attributes. Values of outer graphs that they
/// read must have their meaning already.
class GraphComparison {
 public:
  enum class Face { kNames, kPlaces };  // by which inputs and outputs correspond
  /// `a_keys` and `b_keys` have keys for the graphs' nodes. `prefix` stands before every place:
  /// `node 'if' (If): then_branch: `.
  GraphComparison(const Graph& a, const Graph& b, KeyedGraph& a_keys, KeyedGraph& b_keys, Face face,
                  std::string prefix, SharedDifferences& shared);
  void run();

  using AttributePair = std::pair<const Attribute*, const Attribute*>;  // nullptr: has none
  /// Graphs are compared with all their nodes. `absent`: what is said of an absent one.
  void attribute(const std::string& place, const std::string& name, const std::string& what,
                 const AttributePair& pair, const std::string& absent);

 private:
  void pair(const Node& a, const Node& b);
  void pair_inputs();
  void pair_equal();
  void pair_by_inputs();
  void pair_by_users();
  void pair_in_order();
  std::vector<std::pair<const Value*, const Value*>> outputs() const;
  void compare_outputs();
  void compare_nodes();
  void compare(const Node& a, const Node& b);
  void compare_unused_constants();
  std::string reads(const Node& n, bool of_a) const;
  bool stands_for(const Value* y, const Value* x) const;

  const Graph &a_, &b_;
  KeyedGraph &keyed_a_, &keyed_b_;
  const Face face_;
  const std::string prefix_;
  SharedDifferences& shared_;
  std::vector<const Node*> nodes_a_, nodes_b_;  // Constants left out
  std::unordered_map<const Node*, const Node*> to_b_, to_a_;
};

}  // namespace onnxtool
