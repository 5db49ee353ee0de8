#include "libopt/rewrite/rewriter.h"

#include <algorithm>

#include "libopt/analysis/effects.h"
#include "libopt/analysis/provenance.h"
#include "libopt/analysis/seam.h"
#include "libopt/ir/copy.h"
#include "libopt/ir/reads.h"

namespace onnxtool {
namespace {

// Gives way to `value` in every graph between its own and `reader`: a name there would hide it.
void unshadow(const Value& value, const Graph& reader) {
  for (const Graph* g = &reader; g && g != &value.graph(); g = g->parent())
    if (Value* inner = g->find(value.name()))
      inner->graph().rename(*inner, inner->graph().fresh_name(value.name()));
}

void unshadow(const Value& value) {
  for (const Use& use : value.uses()) unshadow(value, use.user->graph());
}

template <class F>
void for_each_graph_within(const Graph& graph, F&& f) {
  for (Node& n : graph.nodes())
    n.for_each_subgraph([&](Graph& sub) {
      f(sub);
      for_each_graph_within(sub, f);
    });
}

// What a reader of the model sees of an output stays as it was, whatever makes it.
void take_over_output(Value& from, Value& to) {
  Graph& g = from.graph();
  const std::string name = from.name();
  g.rename(from, g.fresh_name(name));
  g.rename(to, name);
  if (from.type().kind != ValueType::Kind::kUnknown) to.set_type(from.type());
  to.doc = std::move(from.doc);
  to.metadata = std::move(from.metadata);
  to.unknown_fields = std::move(from.unknown_fields);
}

}  // namespace

bool may_hold_initializers(const Graph& graph) {
  constexpr int64_t kFirstIrWithFreeInitializers = 4;
  const Model& model = graph.model();
  return model.ir_version >= kFirstIrWithFreeInitializers &&
         (graph.parent() || &graph == &model.graph());
}

Value& Rewriter::add_constant(Tensor tensor, std::string_view hint) {
  ++edits_;
  if (may_hold_initializers(graph_)) return graph_.add_initializer(std::move(tensor), {}, hint);
  Value& value = graph_.add_value({}, hint);
  make_constant(value, std::move(tensor));
  return value;
}

Node& Rewriter::add_node(std::string_view op_type, const std::vector<Value*>& inputs,
                         std::vector<Attribute> attributes, int num_outputs, std::string_view hint,
                         std::string_view domain) {
  ++edits_;
  import(domain);
  const std::string_view name = hint.empty() ? op_type : hint;
  std::vector<Value*> outputs;
  for (int i = 0; i < num_outputs; ++i) outputs.push_back(&graph_.add_value({}, name));
  // Named as what it makes, which nothing else makes: runtimes refuse two nodes of one name.
  std::string node_name = outputs.empty() ? std::string(name) : outputs.front()->name();
  Node& node = graph_.add_node(std::string(op_type), std::string(domain), std::move(node_name),
                               inputs, std::move(outputs), std::move(attributes), anchor_);
  for (const Value* v : inputs)
    if (v) unshadow(*v, graph_);
  if (trace_) trace_->made.push_back(&node);
  return node;
}

void Rewriter::set_input(const Node& node, int index, const Value* value) {
  if (index < node.num_inputs() && node.inputs()[static_cast<size_t>(index)] == value) return;
  ++edits_;
  note_change(node);
  if (node.has_input(index)) loosen(&node.input(index));
  graph_.set_input(mut(node), index, const_cast<Value*>(value));
  if (value) unshadow(*value, node.graph());
}

void Rewriter::resize_inputs(const Node& node, int count) {
  if (count == node.num_inputs()) return;
  ++edits_;
  note_change(node);
  for (int i = count; i < node.num_inputs(); ++i)
    if (node.has_input(i)) loosen(&node.input(i));
  graph_.resize_inputs(mut(node), count);
}

void Rewriter::set_attribute(const Node& node, Attribute attribute) {
  ++edits_;
  note_change(node);
  mut(node).set_attribute(std::move(attribute));
}

void Rewriter::remove_attribute(const Node& node, std::string_view name) {
  if (!node.attribute(name)) return;
  ++edits_;
  note_change(node);
  mut(node).remove_attribute(name);
}

void Rewriter::set_op(const Node& node, std::string_view op_type, std::string_view domain) {
  ++edits_;
  note_change(node);
  import(domain);
  graph_.set_op(mut(node), std::string(op_type), std::string(domain));
}

void Rewriter::replace_uses(const Value& from_value, const Value& to_value) {
  Value& from = mut(from_value);
  Value& to = mut(to_value);
  if (&from == &to) return;
  ++edits_;
  if (to.producer()) note_change(*to.producer());
  loosen(&from);
  if (to.type().kind == ValueType::Kind::kUnknown) to.set_type(from.type());
  Graph& g = from.graph();
  if (from.is_graph_output()) {
    // A subgraph may list an outer value among its outputs; there it has no name to keep.
    for_each_graph_within(g, [&](Graph& sub) {
      for (size_t i = 0; i < sub.outputs().size(); ++i)
        if (sub.outputs()[i] == &from) {
          sub.set_output(i, to);
          unshadow(to, sub);
        }
    });
  }
  if (std::ranges::find(g.outputs(), &from) == g.outputs().end()) {
    g.replace_uses(from, to);
  } else if (to.producer() && &to.graph() == &g && !to.is_graph_output()) {
    take_over_output(from, to);
    g.replace_uses(from, to, /*outputs_too=*/true);
  } else {
    Value& copy = g.add_value({}, from.name());
    copy.set_type(from.type());
    take_over_output(from, copy);
    g.replace_uses(from, to);
    g.replace_uses(from, copy, /*outputs_too=*/true);
    // At the very end: after `to`, wherever that is made, and before no reader.
    g.add_node("Identity", "", {}, {&to}, {&copy});
  }
  unshadow(to);
}

void Rewriter::set_constant(const Value& value, Tensor tensor) {
  ++edits_;
  const ValueType declared = value.type();
  mut(value).graph().set_initializer(mut(value), std::move(tensor));
  if (value.is_graph_input()) mut(value).set_type(declared);
}

void Rewriter::make_constant(const Value& constant, Tensor tensor) {
  ++edits_;
  Value& value = mut(constant);
  Graph& g = value.graph();
  Node* producer = value.producer();
  if (producer) g.set_output_value(*producer, value.producer_index(), nullptr);
  if (may_hold_initializers(g) && !value.is_graph_output()) {
    g.set_initializer(value, std::move(tensor));
  } else {
    if (value.type().kind == ValueType::Kind::kUnknown)
      value.set_type(ValueType::tensor(tensor.dtype(), tensor.dims()));
    std::vector<Attribute> attributes;
    attributes.push_back(Attribute::of("value", NamedTensor{value.name(), std::move(tensor)}));
    // Where nothing made it before, at the front: its readers may stand before the anchor.
    g.add_node("Constant", "", value.name(), {}, {&value}, std::move(attributes),
               producer ? producer : g.nodes().begin().node);
  }
  if (producer && std::ranges::all_of(producer->outputs(), [](const Value* v) { return !v; }))
    erase(*producer);
}

void Rewriter::drop_output(const Node& node, int index) {
  ++edits_;
  Value& value = node.output(index);
  value.graph().set_output_value(mut(node), index, nullptr);
  std::erase(loose_, &value);
  value.graph().erase_value(value);
}

std::vector<Value*> Rewriter::inline_before(const Graph& subgraph,
                                            const std::vector<Value*>& inputs) {
  ++edits_;
  return copy_into(subgraph, graph_, anchor_, inputs);
}

void Rewriter::remove(const Node& node) {
  ++edits_;
  erase(mut(node));
}

void Rewriter::infer_types(const Node& node) {
  // A contradiction is no news here: whoever loaded or checked the model has been told.
  [[maybe_unused]] const Status ignored = infer_node(mut(node));
}

// All operators of com.microsoft are of version 1.
void Rewriter::import(std::string_view domain) {
  Model& model = graph_.model();
  if (!domain.empty() && model.opset(domain) == 0) model.set_opset(domain, 1);
}

void Rewriter::loosen(Value* value) { loose_.push_back(value); }

void Rewriter::erase(Node& node) {
  std::vector<Value*> reads;
  for_each_read(node, [&](Value& v) { reads.push_back(&v); });
  std::erase_if(loose_, [&](const Value* v) { return v->producer() == &node; });
  if (anchor_ == &node) anchor_ = node.next();
  if (trace_) {
    std::erase(trace_->made, &node);
    std::erase(trace_->changed, &node);
    trace_->removed.emplace_back(&node.graph(), node.id());
  }
  node.graph().remove_node(node);
  loose_.insert(loose_.end(), reads.begin(), reads.end());
}

void Rewriter::note_change(const Node& node) {
  if (!trace_ || std::ranges::find(trace_->made, &node) != trace_->made.end()) return;
  trace_->changed.push_back(&node);
}

void Rewriter::sweep() {
  while (!loose_.empty()) {
    Value* value = loose_.back();
    loose_.pop_back();
    if (!value->unused()) continue;
    if (Node* producer = value->producer()) {
      const bool dead = std::ranges::all_of(producer->outputs(),
                                            [](const Value* v) { return !v || v->unused(); });
      if (dead && !may_have_effects(*producer)) erase(*producer);
    } else if (value->initializer() && !value->is_graph_input()) {
      std::erase(loose_, value);
      value->graph().erase_value(*value);
    }
  }
}

}  // namespace onnxtool
