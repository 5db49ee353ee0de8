#include "calib/compare/cut_out.h"

#include <string>
#include <vector>

namespace onnxtool {
namespace {

// A graph output that a cut node made is an input by now, and compares with itself.
Status cut(Graph& graph, Node& node, const std::string& prefix) {
  for (int i = 0; i < node.num_inputs(); ++i) {
    if (!node.has_input(i) || !node.input(i).type().is_tensor()) continue;
    Value& shown = graph.add_value(graph.fresh_name(prefix + "in." + std::to_string(i)));
    shown.set_type(node.input(i).type());
    graph.add_node("Identity", "", {}, {&node.input(i)}, {&shown}, {}, &node);
    graph.add_output(shown);
  }
  for (int i = 0; i < node.num_outputs(); ++i) {
    if (!node.has_output(i)) continue;
    Value& made = node.output(i);
    graph.set_output_value(node, i, nullptr);
    if (made.unused()) {
      graph.erase_value(made);
      continue;
    }
    if (!made.type().is_tensor() || !made.type().shape)
      return Error{ErrorCode::kUnsupported,
                   node.describe() + ": the type of its result '" + made.name() + "' is not known",
                   {}};
    Value& fed = graph.add_value(graph.fresh_name(prefix + "out." + std::to_string(i)));
    fed.set_type(made.type());
    graph.add_input(fed);
    if (made.is_graph_output()) {
      graph.add_node("Identity", "", {}, {&fed}, {&made});
      graph.replace_uses(made, fed);
    } else {
      graph.replace_uses(made, fed);
      graph.erase_value(made);
    }
  }
  graph.remove_node(node);
  return {};
}

}  // namespace

Result<int64_t> cut_out(Model& model, const std::function<bool(const Node&)>& chosen) {
  Graph& graph = model.graph();
  std::vector<Node*> nodes;
  for (Node& n : graph.nodes())
    if (chosen(n)) nodes.push_back(&n);
  int64_t k = 0;
  for (Node* n : nodes) ONNXTOOL_TRY(cut(graph, *n, "cut." + std::to_string(k++) + "."));
  return k;
}

}  // namespace onnxtool
