#include "libopt/analysis/census.h"

#include "libopt/ir/operator_name.h"

namespace onnxtool {
namespace {

void count(const Graph& graph, bool nested, Census& census) {
  for (const Value* v : graph.initializers()) census.parameters += v->initializer()->count();
  for (const Node& n : graph.nodes()) {
    ++census.nodes;
    if (nested) ++census.subgraph_nodes;
    ++census.by_operator[operator_name(n)];
    for (const Attribute& a : n.attributes())
      if (const auto* t = a.get<NamedTensor>()) census.parameters += t->tensor.count();
    n.for_each_subgraph([&](const Graph& sub) { count(sub, true, census); });
  }
}

}  // namespace

Census count(const Model& model) {
  Census census;
  count(model.graph(), false, census);
  return census;
}

}  // namespace onnxtool
