// Which nodes of the original each node of a rewritten model was made of.
//
// Kept beside the graph while passes run, so that it weighs nothing when file sizes are compared,
// and written at the end: at IR versions from 10 on as the node's metadata entry kProvenanceKey,
// the originals' names one a line; before, where nodes have no metadata, as one entry of the model,
// a line for each node: its name, then the originals', with tabs between. A node without a name is
// called by its first output. Nodes that are what they were have no entry.
#pragma once

#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "libopt/ir/model.h"

namespace onnxtool {

inline constexpr std::string_view kProvenanceKey = "onnxtool.provenance";

/// What one rewrite did, told by the Rewriter.
struct RewriteTrace {
  std::vector<const Node*> made, changed;             // and still there
  std::vector<std::pair<const Graph*, int>> removed;  // graphs and ids of nodes
};

/// What the node is called in entries.
std::string provenance_name(const Node& node);

class Provenance {
 public:
  /// Of a model before passes; what entries say of an earlier run is where its nodes come from.
  explicit Provenance(const Model& model);
  /// What was removed is part of what was made in its place, or else of what was changed.
  void record(const RewriteTrace& trace);

  /// What a graph was made of before a rewrite of all of it that nothing traces: by id, operators
  /// and the ids of what makes their inputs.
  struct Wiring {
    std::unordered_map<int, std::pair<std::string, std::vector<int>>> nodes;
  };
  static Wiring wiring_of(const Graph& graph);
  /// Behind it: what fed a node that became another operator, and is gone, is part of that node.
  void record(const Graph& graph, const Wiring& before);

  void write(Model& model) const;

 private:
  using Label = std::vector<int>;  // of names_, in the order of the original
  /// With those of removed nodes that fed node `id`, directly or by way of others.
  Label with_what_fed(int id, const Graph& graph, const Wiring& before) const;
  void label(const Graph& graph,
             const std::unordered_map<std::string, std::vector<std::string>>& known);
  void write(Graph& graph, std::string& listed) const;
  std::vector<std::string> names_;
  std::unordered_map<const Graph*, std::unordered_map<int, Label>> labels_;  // by node id
};

/// The originals of each node of a main graph that has an entry, by provenance_name().
std::unordered_map<std::string, std::vector<std::string>> provenance_of(const Graph& graph);

}  // namespace onnxtool
