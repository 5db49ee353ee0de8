#include "libopt/rewrite/pins.h"

#include <string>
#include <string_view>

namespace onnxtool {
namespace {

// In front of the node's own domain.
constexpr std::string_view kDisguise = "onnxtool.pinned/";

template <class F>
void for_each_node(Graph& graph, F&& f) {
  for (Node& n : graph.nodes()) {
    f(n);
    n.for_each_subgraph([&](Graph& sub) { for_each_node(sub, f); });
  }
}

}  // namespace

Pins::Pins(Model& model, const Selector& selector) : model_(model) {
  if (selector.empty()) return;
  for_each_node(model.graph(), [&](Node& n) {
    if (selector.matches(n)) n.graph().set_op(n, n.op_type(), std::string(kDisguise) + n.domain());
  });
}

// Looked for anew: a pinned node may have moved from a subgraph to the graph around it.
Pins::~Pins() {
  for_each_node(model_.graph(), [](Node& n) {
    if (n.domain().starts_with(kDisguise))
      n.graph().set_op(n, n.op_type(), n.domain().substr(kDisguise.size()));
  });
}

}  // namespace onnxtool
