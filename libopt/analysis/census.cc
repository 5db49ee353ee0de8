#include "libopt/analysis/census.h"

#include "libopt/io/sparse_initializers.h"
#include "libopt/ir/operator_name.h"

namespace onnxtool {
namespace {

void count(const Graph& graph, bool nested, Census& census) {
  for (const Value* v : graph.initializers()) census.parameters += v->initializer()->count();
  for_each_sparse_initializer(graph, [&](const SparseTensor& sparse) {
    census.parameters += sparse.values.tensor.count();
  });
  for (const Node& n : graph.nodes()) {
    ++census.nodes;
    if (nested) ++census.subgraph_nodes;
    ++census.by_operator[operator_name(n)];
    for (const Attribute& a : n.attributes())
      if (const auto* t = a.get<NamedTensor>())
        census.parameters += t->tensor.count();
      else if (const auto* sparse = a.get<SparseTensor>())
        census.parameters += sparse->values.tensor.count();
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
