#include "quant/hoist_activations.h"

#include "libopt/rewrite/rewriter.h"
#include "libopt/rewrite/visit.h"
#include "libopt/target/obstacles.h"
#include "quant/ops/handler.h"
#include "quant/placement.h"

namespace onnxtool {
namespace {

bool arranges(const Node& n) {
  return n.has_input(0) && n.has_output(0) &&
         (n.is("Reshape") || n.is("Flatten") || n.is("Squeeze") || n.is("Unsqueeze") ||
          n.is("Transpose"));
}

// The largest is the same before and after, unless a window holds nothing but padding. With more
// elements it pays where a layer absorbs it.
bool picks_largest(const Node& n) {
  if (!n.is("MaxPool") || !n.has_input(0) || n.has_output(1) ||
      n.attr<int64_t>("ceil_mode", 0) != 0 || dilated_pool(n))
    return false;
  const auto kernel = n.attr<std::vector<int64_t>>("kernel_shape", {});
  const auto pads = n.attr<std::vector<int64_t>>("pads", {});
  for (size_t i = 0; i < pads.size(); ++i)
    if (kernel.empty() || pads[i] >= kernel[i % kernel.size()]) return false;
  return true;
}

// A Clip of old opsets has attributes.
bool is_absorbable(const Node& n) {
  return is_activation(n) && activation_bounds(n) && n.attributes().empty() && n.has_input(0) &&
         n.has_output(0);
}

bool is_inner(const Value& v) { return v.has_one_use() && !v.is_graph_output(); }

// The first of the operators that arrange what `activation` reads, behind one that may absorb it;
// nullptr: there is none.
Node* first_arranger(const Node& activation, const Target& target) {
  Node* first = nullptr;
  bool pools = false;
  for (const Value* v = &activation.input(0); is_inner(*v); v = &first->input(0)) {
    Node* p = v->producer();
    if (!p || &p->graph() != &activation.graph()) return nullptr;
    if (!activations_pass(*p)) {
      const OpHandler* h = find_handler(*p);
      const TargetOp* op = find_target_op(target, *p);
      const bool absorbs = h && h->role != Role::kPassThrough && op && op->fusion != Fusion::kNever;
      return absorbs && (!pools || h->role == Role::kCore) ? first : nullptr;
    }
    pools |= p->is("MaxPool");
    first = p;
  }
  return nullptr;
}

void hoist(Graph& graph, Node& activation, Node& first) {
  Rewriter rw(graph, &first);
  Value& source = first.input(0);
  std::vector<Value*> inputs = {&source};
  for (int i = 1; i < activation.num_inputs(); ++i)
    inputs.push_back(activation.has_input(i) ? &activation.input(i) : nullptr);
  Value& result = activation.output(0);
  Node& before = rw.add_node(activation.op_type(), inputs, {}, 1, result.name());
  before.metadata = activation.metadata;
  before.output(0).set_type(source.type());
  rw.set_input(first, 0, &before.output(0));
  Value& arranged = activation.input(0);
  arranged.set_type(result.type());
  const std::string name = result.name(), node_name = activation.name();
  rw.replace_uses(result, arranged);
  rw.remove(activation);
  graph.set_node_name(before, node_name);
  // It holds what the activation gave.
  if (arranged.name() != name) graph.rename(arranged, name);
}

}  // namespace

bool activations_pass(const Node& node) { return arranges(node) || picks_largest(node); }

void hoist_activations(Graph& graph, const Target& target) {
  visit_nodes(graph, [&](Node& node) {
    if (!is_absorbable(node)) return;
    if (Node* first = first_arranger(node, target)) hoist(graph, node, *first);
  });
}

}  // namespace onnxtool
