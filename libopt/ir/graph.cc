#include "libopt/ir/graph.h"

#include <algorithm>

#include "libopt/ir/model.h"
#include "libopt/ir/unread.h"

namespace onnxtool {

const Tensor* Value::constant() const {
  const Tensor* t = stored_constant(*this);
  return t && !unread_data(*t) ? t : nullptr;
}

int Node::opset() const { return graph_->model().opset(domain_); }

const Attribute* Node::attribute(std::string_view name) const {
  for (const Attribute& a : attributes_)
    if (a.name == name) return &a;
  return nullptr;
}

void Node::set_attribute(Attribute attribute) {
  for (Attribute& a : attributes_)
    if (a.name == attribute.name) {
      a = std::move(attribute);
      return;
    }
  attributes_.push_back(std::move(attribute));
}

void Node::remove_attribute(std::string_view name) {
  std::erase_if(attributes_, [&](const Attribute& a) { return a.name == name; });
}

void Node::for_each_subgraph(const std::function<void(Graph&)>& f) const {
  for (const Attribute& a : attributes_) {
    if (const auto* g = a.get<std::unique_ptr<Graph>>()) f(**g);
    if (const auto* gs = a.get<std::vector<std::unique_ptr<Graph>>>())
      for (const auto& g : *gs) f(*g);
  }
}

std::string Node::describe() const {
  const std::string op = domain_.empty() ? op_type_ : domain_ + "." + op_type_;
  return name_.empty() ? "node #" + std::to_string(id_) + " (" + op + ")"
                       : "node '" + name_ + "' (" + op + ")";
}

Graph::~Graph() {
  // Subgraphs go first: their nodes are uses of this graph's values, and must not outlive them.
  // No bookkeeping is needed for uses inside one graph, since all of it goes.
  for (auto& node : nodes_)
    if (node) node->attributes_.clear();
  if (!parent_) return;
  for (auto& node : nodes_) {
    if (!node) continue;
    for (size_t i = 0; i < node->inputs_.size(); ++i)
      if (Value* v = node->inputs_[i]; v && v->graph_ != this)
        drop_use(*v, *node, static_cast<int>(i));
  }
  for (Value* v : outputs_)
    if (v->graph_ != this) --v->output_count_;
}

std::vector<Value*> Graph::initializers() const {
  std::vector<Value*> out;
  for (const auto& v : values_)
    if (v && v->has_initializer_) out.push_back(v.get());
  return out;
}

std::vector<Value*> Graph::values() const {
  std::vector<Value*> out;
  for (const auto& v : values_)
    if (v) out.push_back(v.get());
  return out;
}

Value* Graph::find(std::string_view name) const {
  const auto it = by_name_.find(std::string(name));
  return it == by_name_.end() ? nullptr : it->second;
}

Value& Graph::add_value(std::string name, std::string_view hint) {
  if (name.empty()) name = fresh_name(hint);
  auto owned = std::make_unique<Value>();
  Value& v = *owned;
  v.id_ = static_cast<int>(values_.size());
  v.name_ = name;
  v.graph_ = this;
  values_.push_back(std::move(owned));
  const bool inserted = by_name_.emplace(std::move(name), &v).second;
  ONNXTOOL_CHECK(inserted);
  return v;
}

Value& Graph::add_initializer(Tensor tensor, std::string name, std::string_view hint) {
  Value& v = add_value(std::move(name), hint);
  set_initializer(v, std::move(tensor));
  return v;
}

void Graph::set_initializer(Value& value, Tensor tensor) {
  value.initializer_ = std::move(tensor);
  value.has_initializer_ = true;
  value.type_ = ValueType::tensor(value.initializer_.dtype(), value.initializer_.dims());
}

void Graph::clear_initializer(Value& value) {
  value.initializer_ = Tensor();
  value.has_initializer_ = false;
}

void Graph::add_input(Value& value) {
  value.is_input_ = true;
  inputs_.push_back(&value);
}

void Graph::remove_input(Value& value) {
  value.is_input_ = false;
  std::erase(inputs_, &value);
}

void Graph::add_output(Value& value) {
  ++value.output_count_;
  outputs_.push_back(&value);
}

void Graph::set_output(size_t index, Value& value) {
  --outputs_[index]->output_count_;
  outputs_[index] = &value;
  ++value.output_count_;
}

Node& Graph::add_node(std::string op_type, std::string domain, std::string name,
                      std::vector<Value*> inputs, std::vector<Value*> outputs,
                      std::vector<Attribute> attributes, Node* anchor) {
  auto owned = std::make_unique<Node>();
  Node& node = *owned;
  node.id_ = static_cast<int>(nodes_.size());
  node.op_type_ = std::move(op_type);
  node.domain_ = domain == "ai.onnx" ? "" : std::move(domain);
  node.name_ = std::move(name);
  node.graph_ = this;
  node.attributes_ = std::move(attributes);
  nodes_.push_back(std::move(owned));
  node.inputs_ = std::move(inputs);
  for (size_t i = 0; i < node.inputs_.size(); ++i)
    if (node.inputs_[i]) node.inputs_[i]->uses_.push_back({&node, static_cast<int>(i)});
  node.outputs_.resize(outputs.size(), nullptr);
  for (size_t i = 0; i < outputs.size(); ++i)
    set_output_value(node, static_cast<int>(i), outputs[i]);
  link_before(node, anchor);
  return node;
}

void Graph::set_output_value(Node& node, int index, Value* value) {
  Value*& slot = node.outputs_[static_cast<size_t>(index)];
  if (slot) {
    slot->producer_ = nullptr;
    slot->producer_index_ = -1;
  }
  slot = value;
  if (value) {
    ONNXTOOL_CHECK(!value->producer_ && value->graph_ == this);
    value->producer_ = &node;
    value->producer_index_ = index;
  }
}

void Graph::drop_use(Value& value, Node& user, int index) {
  const auto it = std::find(value.uses_.begin(), value.uses_.end(), Use{&user, index});
  ONNXTOOL_CHECK(it != value.uses_.end());
  value.uses_.erase(it);
}

void Graph::set_input(Node& node, int index, Value* value) {
  if (index >= node.num_inputs()) node.inputs_.resize(static_cast<size_t>(index) + 1, nullptr);
  Value*& slot = node.inputs_[static_cast<size_t>(index)];
  if (slot == value) return;
  if (slot) drop_use(*slot, node, index);
  slot = value;
  if (value) value->uses_.push_back({&node, index});
}

void Graph::resize_inputs(Node& node, int count) {
  for (int i = count; i < node.num_inputs(); ++i) set_input(node, i, nullptr);
  node.inputs_.resize(static_cast<size_t>(count), nullptr);
}

void Graph::set_op(Node& node, std::string op_type, std::string domain) {
  node.op_type_ = std::move(op_type);
  node.domain_ = std::move(domain);
}

void Graph::replace_uses(Value& from, Value& to, bool outputs_too) {
  if (&from == &to) return;
  for (const Use& use : from.uses_) {
    use.user->inputs_[static_cast<size_t>(use.index)] = &to;
    to.uses_.push_back(use);
  }
  from.uses_.clear();
  if (!outputs_too) return;
  for (size_t i = 0; i < outputs_.size(); ++i)
    if (outputs_[i] == &from) set_output(i, to);
}

void Graph::rename(Value& value, std::string name) {
  if (value.name_ == name) return;
  by_name_.erase(value.name_);
  value.name_ = std::move(name);
  const bool inserted = by_name_.emplace(value.name_, &value).second;
  ONNXTOOL_CHECK(inserted);
}

void Graph::remove_node(Node& node) {
  for (Value* v : node.outputs_) ONNXTOOL_CHECK(!v || v->unused());
  for (int i = 0; i < node.num_inputs(); ++i) set_input(node, i, nullptr);
  for (int i = 0; i < node.num_outputs(); ++i) {
    Value* v = node.outputs_[static_cast<size_t>(i)];
    if (!v) continue;
    set_output_value(node, i, nullptr);
    erase_value(*v);
  }
  unlink(node);
  nodes_[static_cast<size_t>(node.id_)].reset();
}

void Graph::erase_value(Value& value) {
  ONNXTOOL_CHECK(value.unused() && !value.producer_ && !value.is_input_);
  by_name_.erase(value.name_);
  values_[static_cast<size_t>(value.id_)].reset();
}

void Graph::move_before(Node& node, Node* anchor) {
  unlink(node);
  link_before(node, anchor);
}

void Graph::link_before(Node& node, Node* anchor) {
  node.next_ = anchor;
  node.prev_ = anchor ? anchor->prev_ : last_;
  (node.prev_ ? node.prev_->next_ : first_) = &node;
  (anchor ? anchor->prev_ : last_) = &node;
  ++num_nodes_;
}

void Graph::unlink(Node& node) {
  (node.prev_ ? node.prev_->next_ : first_) = node.next_;
  (node.next_ ? node.next_->prev_ : last_) = node.prev_;
  --num_nodes_;
}

void Graph::reserve_name(std::string name) { reserved_.emplace(std::move(name), 0); }

std::string Graph::fresh_name(std::string_view hint) {
  const auto taken = [&](const std::string& n) {
    for (const Graph* g = this; g; g = g->parent_)
      if (g->by_name_.contains(n) || g->reserved_.contains(n)) return true;
    return false;
  };
  std::string base(hint);
  if (!base.empty() && !taken(base)) {
    // Also claimed all the way up, so that a subgraph's name never shadows an outer one made later.
    for (Graph* g = parent_; g; g = g->parent_) g->reserve_name(base);
    return base;
  }
  int& suffix = reserved_[base];
  std::string candidate;
  do candidate = base + "_" + std::to_string(++suffix);
  while (taken(candidate));
  for (Graph* g = parent_; g; g = g->parent_) g->reserve_name(candidate);
  return candidate;
}

}  // namespace onnxtool
