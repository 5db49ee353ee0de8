#include "libopt/convert/strip.h"

#include "libopt/analysis/provenance.h"

namespace onnxtool {
namespace {

int clear(std::string& text) {
  const int count = text.empty() ? 0 : 1;
  text.clear();
  return count;
}

int clear(Properties& properties) {
  const int count = static_cast<int>(properties.size());
  properties.clear();
  return count;
}

int strip(Graph& graph) {
  int count = clear(graph.doc) + clear(graph.metadata);
  for (Value* v : graph.values()) count += clear(v->doc) + clear(v->metadata);
  for (Node& n : graph.nodes()) {
    count += clear(n.doc) + clear(n.metadata) + (n.name().empty() ? 0 : 1);
    graph.set_node_name(n, "");
    n.for_each_subgraph([&](Graph& sub) { count += strip(sub); });
  }
  return count;
}

}  // namespace

int strip(Model& model) {
  int count = clear(model.doc) + strip(model.graph());
  count += static_cast<int>(
      std::erase_if(model.metadata, [](const auto& p) { return p.first == kProvenanceKey; }));
  for (Function& f : model.functions)
    count += clear(f.doc) + clear(f.metadata) + (f.body ? strip(*f.body) : 0);
  return count;
}

}  // namespace onnxtool
