// Weights that are cast from float16 at every run are stored as float: the cast is exact.

#include <vector>

#include "libopt/ort/prepare.h"

namespace onnxtool {
namespace {

Tensor as_float(const Tensor& halves) {
  std::vector<float> out;
  out.reserve(static_cast<size_t>(halves.count()));
  for (const Half h : halves.values<Half>()) out.push_back(h);
  return Tensor::from(halves.dims(), out);
}

bool casts_a_weight(const Node& n) {
  return n.is("Cast") && n.has_input(0) && n.has_output(0) && n.input(0).initializer() &&
         n.input(0).constant() && n.input(0).constant()->dtype() == DataType::kFloat16 &&
         n.attr<int64_t>("to", 0) == static_cast<int64_t>(DataType::kFloat) &&
         !n.output(0).is_graph_output();
}

}  // namespace

void widen_half_weights(Graph& graph) {
  for (Node& n : graph.nodes()) {
    n.for_each_subgraph([](Graph& sub) { widen_half_weights(sub); });
    if (!casts_a_weight(n)) continue;
    Value& wide = graph.add_initializer(as_float(*n.input(0).constant()), "", n.input(0).name());
    graph.replace_uses(n.output(0), wide);
    graph.remove_node(n);
  }
}

}  // namespace onnxtool
