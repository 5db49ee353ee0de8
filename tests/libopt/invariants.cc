#include "tests/libopt/invariants.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <unordered_set>

namespace onnxtool::testing {
namespace {

// One CHECK a property, not one an edge: these run after every random edit.
void check(const Graph& graph, std::unordered_set<const Value*> visible) {
  bool inputs_are_uses = true, uses_are_inputs = true, outputs_produced = true, order = true,
       names = true;
  for (const Value* v : graph.values()) {
    names = names && graph.find(v->name()) == v && &v->graph() == &graph;
    for (const Use& use : v->uses())
      uses_are_inputs = uses_are_inputs && use.index < use.user->num_inputs() &&
                        use.user->inputs()[static_cast<size_t>(use.index)] == v;
    if (!v->producer()) visible.insert(v);
  }
  size_t count = 0;
  const Node* previous = nullptr;
  for (const Node& n : graph.nodes()) {
    ++count;
    order = order && n.prev() == previous && graph.node(n.id()) == &n;
    previous = &n;
    for (int i = 0; i < n.num_inputs(); ++i) {
      if (!n.has_input(i)) continue;
      const auto& uses = n.input(i).uses();
      inputs_are_uses =
          inputs_are_uses && std::ranges::count(uses, Use{const_cast<Node*>(&n), i}) == 1;
      order = order && visible.contains(&n.input(i));
    }
    n.for_each_subgraph([&](Graph& sub) { check(sub, visible); });
    for (int i = 0; i < n.num_outputs(); ++i) {
      if (!n.has_output(i)) continue;
      outputs_produced =
          outputs_produced && n.output(i).producer() == &n && n.output(i).producer_index() == i;
      visible.insert(&n.output(i));
    }
  }
  for (const Value* v : graph.outputs())
    order = order && visible.contains(v) && v->is_graph_output();
  CHECK(inputs_are_uses);
  CHECK(uses_are_inputs);
  CHECK(outputs_produced);
  CHECK(order);
  CHECK(names);
  CHECK(count == graph.num_nodes());
}

}  // namespace

void check_invariants(const Graph& graph) { check(graph, {}); }

}  // namespace onnxtool::testing
