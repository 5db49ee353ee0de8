#include "libopt/analysis/provenance.h"

#include <algorithm>
#include <unordered_set>

#include "libopt/ir/properties.h"

namespace onnxtool {
namespace {

// From which nodes have metadata.
constexpr int64_t kFirstIrWithNodeMetadata = 10;

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> out;
  while (!text.empty()) {
    const size_t end = std::min(text.find(separator), text.size());
    if (end > 0) out.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

std::string joined(const std::vector<std::string>& parts, char separator) {
  std::string out;
  for (const std::string& p : parts) out += (out.empty() ? "" : std::string(1, separator)) + p;
  return out;
}

using Known = std::unordered_map<std::string, std::vector<std::string>>;

Known listed_in(const Model& model) {
  Known out;
  const std::string* entry = find_property(model.metadata, kProvenanceKey);
  if (!entry) return out;
  for (const std::string& line : split(*entry, '\n')) {
    std::vector<std::string> words = split(line, '\t');
    const std::string name = words.front();
    words.erase(words.begin());
    out[name] = std::move(words);
  }
  return out;
}

std::vector<std::string> originals_of(const Node& node, const Known& listed) {
  if (const std::string* own = find_property(node.metadata, kProvenanceKey))
    return split(*own, '\n');
  const auto it = listed.find(provenance_name(node));
  return it == listed.end() ? std::vector<std::string>() : it->second;
}

}  // namespace

std::string provenance_name(const Node& node) {
  if (!node.name().empty()) return node.name();
  for (const Value* v : node.outputs())
    if (v) return v->name();
  return {};
}

Provenance::Provenance(const Model& model) { label(model.graph(), listed_in(model)); }

void Provenance::label(const Graph& graph, const Known& known) {
  for (const Node& n : graph.nodes()) {
    n.for_each_subgraph([&](const Graph& sub) { label(sub, known); });
    std::vector<std::string> originals = originals_of(n, known);
    if (originals.empty()) originals.push_back(provenance_name(n));
    Label& own = labels_[&graph][n.id()];
    for (std::string& name : originals) {
      own.push_back(static_cast<int>(names_.size()));
      names_.push_back(std::move(name));
    }
  }
}

void Provenance::record(const RewriteTrace& trace) {
  Label gone;
  for (const auto& [graph, id] : trace.removed) {
    const auto of_graph = labels_.find(graph);
    if (of_graph == labels_.end()) continue;
    const auto it = of_graph->second.find(id);
    if (it == of_graph->second.end()) continue;
    gone.insert(gone.end(), it->second.begin(), it->second.end());
    of_graph->second.erase(it);
  }
  for (const Node* n : trace.made.empty() ? trace.changed : trace.made) {
    Label& own = labels_[&n->graph()][n->id()];
    own.insert(own.end(), gone.begin(), gone.end());
    std::ranges::sort(own);
    own.erase(std::unique(own.begin(), own.end()), own.end());
  }
}

Provenance::Wiring Provenance::wiring_of(const Graph& graph) {
  Wiring wiring;
  for (const Node& n : graph.nodes()) {
    auto& [op, makers] = wiring.nodes[n.id()];
    op = n.op_type();
    for (const Value* v : n.inputs())
      if (v && v->producer() && &v->producer()->graph() == &graph)
        makers.push_back(v->producer()->id());
  }
  return wiring;
}

Provenance::Label Provenance::with_what_fed(int id, const Graph& graph,
                                            const Wiring& before) const {
  const auto& labels = labels_.at(&graph);
  Label all;
  std::vector<int> open = {id};
  std::unordered_set<int> seen;
  while (!open.empty()) {
    const int at = open.back();
    open.pop_back();
    if ((at != id && graph.node(at)) || !seen.insert(at).second) continue;
    if (const auto own = labels.find(at); own != labels.end())
      all.insert(all.end(), own->second.begin(), own->second.end());
    if (const auto was = before.nodes.find(at); was != before.nodes.end())
      open.insert(open.end(), was->second.second.begin(), was->second.second.end());
  }
  std::ranges::sort(all);
  all.erase(std::unique(all.begin(), all.end()), all.end());
  return all;
}

void Provenance::record(const Graph& graph, const Wiring& before) {
  std::unordered_map<int, Label> became;
  for (const Node& n : graph.nodes())
    if (const auto was = before.nodes.find(n.id());
        was != before.nodes.end() && was->second.first != n.op_type())
      became[n.id()] = with_what_fed(n.id(), graph, before);
  for (auto& [id, label] : became) labels_[&graph][id] = std::move(label);
}

void Provenance::write(Model& model) const {
  std::string listed;
  write(model.graph(), listed);
  put_property(model.metadata, kProvenanceKey, listed);
}

void Provenance::write(Graph& graph, std::string& listed) const {
  const auto of_graph = labels_.find(&graph);
  for (Node& n : graph.nodes()) {
    n.for_each_subgraph([&](Graph& sub) { write(sub, listed); });
    std::vector<std::string> originals;
    if (of_graph != labels_.end())
      if (const auto it = of_graph->second.find(n.id()); it != of_graph->second.end())
        for (const int i : it->second) originals.push_back(names_[static_cast<size_t>(i)]);
    const std::string own = provenance_name(n);
    if (originals.size() == 1 && originals.front() == own) originals.clear();
    const bool in_node = graph.model().ir_version >= kFirstIrWithNodeMetadata;
    put_property(n.metadata, kProvenanceKey, in_node ? joined(originals, '\n') : "");
    if (!in_node && !originals.empty())
      listed += (listed.empty() ? "" : "\n") + own + "\t" + joined(originals, '\t');
  }
}

std::unordered_map<std::string, std::vector<std::string>> provenance_of(const Graph& graph) {
  const Known listed = listed_in(graph.model());
  Known out;
  for (const Node& n : graph.nodes())
    if (std::vector<std::string> originals = originals_of(n, listed); !originals.empty())
      out.emplace(provenance_name(n), std::move(originals));
  return out;
}

}  // namespace onnxtool
