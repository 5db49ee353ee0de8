// The graph: nodes and values with stable integer ids, uses kept in both directions.
//
// A graph owns its nodes and values. A node inside a subgraph may read values of the graphs around
// it; such reads are uses of the outer value. Nodes are kept in an order in which producers stand
// before users (load sorts; edits insert beside an anchor and keep it so). Passes edit through
// rewrite/rewriter.h only.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "libopt/ir/attribute.h"
#include "libopt/ir/tensor.h"
#include "libopt/ir/types.h"

namespace onnxtool {

class Graph;
class Model;
class Node;
class Value;

using Properties = std::vector<std::pair<std::string, std::string>>;  // key, value

/// One reading of a value: input `index` of `user`.
struct Use {
  Node* user;
  int index;
  bool operator==(const Use&) const = default;
};

/// A named result: a graph input, an initializer, or a node's output.
class Value {
 public:
  int id() const { return id_; }
  const std::string& name() const { return name_; }
  const ValueType& type() const { return type_; }
  void set_type(ValueType type) { type_ = std::move(type); }
  Graph& graph() const { return *graph_; }
  /// The node that makes it; nullptr for graph inputs and initializers.
  Node* producer() const { return producer_; }
  int producer_index() const { return producer_index_; }
  const std::vector<Use>& uses() const { return uses_; }
  /// Graph outputs count as one use more each.
  bool has_one_use() const { return uses_.size() + static_cast<size_t>(output_count_) == 1; }
  bool unused() const { return uses_.empty() && output_count_ == 0; }
  bool is_graph_output() const { return output_count_ > 0; }
  bool is_graph_input() const { return is_input_; }
  /// The tensor when nothing can change it: an initializer that is no graph input (an initializer
  /// that is one also is a default which callers override), or a Constant node's tensor.
  const Tensor* constant() const;
  /// The initializer's tensor, default of a graph input included.
  const Tensor* initializer() const { return has_initializer_ ? &initializer_ : nullptr; }

  std::string doc;
  Properties metadata;
  std::string unknown_fields;   // of its ValueInfoProto
  bool has_value_info = false;  // stood in graph.value_info (outputs and inputs apart)

 private:
  friend class Graph;
  int id_ = 0;
  std::string name_;
  ValueType type_;
  Graph* graph_ = nullptr;
  Node* producer_ = nullptr;
  int producer_index_ = -1;
  std::vector<Use> uses_;
  int output_count_ = 0;
  bool is_input_ = false;
  bool has_initializer_ = false;
  bool initializer_is_sparse_ = false;
  Tensor initializer_;
};

/// One application of an operator.
class Node {
 public:
  int id() const { return id_; }
  const std::string& op_type() const { return op_type_; }
  const std::string& domain() const { return domain_; }  // "" is ai.onnx
  const std::string& name() const { return name_; }
  const std::string& overload() const { return overload_; }
  bool is(std::string_view op, std::string_view domain = "") const {
    return op_type_ == op && domain_ == domain;
  }
  Graph& graph() const { return *graph_; }
  /// The opset version that the model imports for this node's domain (0: none).
  int opset() const;

  int num_inputs() const { return static_cast<int>(inputs_.size()); }
  int num_outputs() const { return static_cast<int>(outputs_.size()); }
  bool has_input(int i) const { return i < num_inputs() && inputs_[static_cast<size_t>(i)]; }
  bool has_output(int i) const { return i < num_outputs() && outputs_[static_cast<size_t>(i)]; }
  /// Must be present.
  Value& input(int i) const { return *inputs_[static_cast<size_t>(i)]; }
  Value& output(int i) const { return *outputs_[static_cast<size_t>(i)]; }
  const std::vector<Value*>& inputs() const { return inputs_; }    // nullptr: absent
  const std::vector<Value*>& outputs() const { return outputs_; }  // nullptr: absent

  const std::vector<Attribute>& attributes() const { return attributes_; }
  const Attribute* attribute(std::string_view name) const;
  /// The attribute's payload, or `fallback` when absent or of another kind.
  template <class T>
  T attr(std::string_view name, T fallback) const {
    const Attribute* a = attribute(name);
    const T* v = a ? a->get<T>() : nullptr;
    return v ? *v : fallback;
  }
  void set_attribute(Attribute attribute);
  void remove_attribute(std::string_view name);
  /// Calls f for every subgraph in its attributes.
  void for_each_subgraph(const std::function<void(Graph&)>& f) const;

  Node* next() const { return next_; }
  Node* prev() const { return prev_; }
  /// `node 'conv1' (Conv)`, or `node #12 (Conv)` where it has no name.
  std::string describe() const;

  std::string doc;
  Properties metadata;
  std::string unknown_fields;

 private:
  friend class Graph;
  int id_ = 0;
  std::string op_type_, domain_, name_, overload_;
  Graph* graph_ = nullptr;
  std::vector<Value*> inputs_, outputs_;
  std::vector<Attribute> attributes_;
  Node* prev_ = nullptr;
  Node* next_ = nullptr;
};

/// Nodes in order, iterable; removing the current node during iteration is safe.
template <class N>
class NodeRange {
 public:
  struct Iterator {
    N* node;
    N* following;
    N& operator*() const { return *node; }
    Iterator& operator++() {
      node = following;
      following = node ? node->next() : nullptr;
      return *this;
    }
    bool operator!=(const Iterator& o) const { return node != o.node; }
  };
  explicit NodeRange(N* first) : first_(first) {}
  Iterator begin() const { return {first_, first_ ? first_->next() : nullptr}; }
  Iterator end() const { return {nullptr, nullptr}; }

 private:
  N* first_;
};

class Graph {
 public:
  /// A main graph or function body (parent == nullptr), or the subgraph of a node of `parent`.
  Graph(Model* model, Graph* parent) : model_(model), parent_(parent) {}
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  Model& model() const { return *model_; }
  Graph* parent() const { return parent_; }

  NodeRange<Node> nodes() const { return NodeRange<Node>(first_); }
  size_t num_nodes() const { return num_nodes_; }
  const std::vector<Value*>& inputs() const { return inputs_; }
  const std::vector<Value*>& outputs() const { return outputs_; }
  /// Every value with an initializer, in creation order.
  std::vector<Value*> initializers() const;
  /// All live values in id order.
  std::vector<Value*> values() const;
  /// In this graph only; nullptr when there is none.
  Value* find(std::string_view name) const;
  /// Ids are below this bound.
  int value_id_bound() const { return static_cast<int>(values_.size()); }
  int node_id_bound() const { return static_cast<int>(nodes_.size()); }
  /// By id below the bound; nullptr: removed.
  Node* node(int id) const { return nodes_[static_cast<size_t>(id)].get(); }

  // --- edits; uses and names stay right. For io and the rewriter, not for passes. ---
  /// The name must be new in this graph; empty: one is made from `hint`.
  Value& add_value(std::string name, std::string_view hint = "value");
  Value& add_initializer(Tensor tensor, std::string name, std::string_view hint = "constant");
  void set_initializer(Value& value, Tensor tensor);
  void clear_initializer(Value& value);
  void add_input(Value& value);
  void remove_input(Value& value);
  void add_output(Value& value);
  void set_output(size_t index, Value& value);
  /// Before `anchor`, or at the end when it is nullptr. Outputs get fresh values (absent where the
  /// given name is empty... pass existing values through set_output_value).
  Node& add_node(std::string op_type, std::string domain, std::string name,
                 std::vector<Value*> inputs, std::vector<Value*> outputs,
                 std::vector<Attribute> attributes = {}, Node* anchor = nullptr);
  void set_input(Node& node, int index, Value* value);
  void resize_inputs(Node& node, int count);
  void set_op(Node& node, std::string op_type, std::string domain);
  void set_node_name(Node& node, std::string name) { node.name_ = std::move(name); }
  void set_overload(Node& node, std::string overload) { node.overload_ = std::move(overload); }
  /// Detaches output `index`; the value stays without producer until it is used elsewhere or
  /// erased.
  void set_output_value(Node& node, int index, Value* value);
  /// Every use, in subgraphs too; graph outputs only where `outputs_too`.
  void replace_uses(Value& from, Value& to, bool outputs_too = false);
  void rename(Value& value, std::string name);
  /// Its outputs must be unused; they go with it.
  void remove_node(Node& node);
  /// Must have no producer and no use.
  void erase_value(Value& value);
  void move_before(Node& node, Node* anchor);
  /// A name not used in this graph, its parents or its subgraphs, made of `hint`.
  std::string fresh_name(std::string_view hint);
  /// Claims a name that a subgraph or its parent uses, so that fresh_name avoids it.
  void reserve_name(std::string name);
  /// Claims all names that `other` claims: a copy makes the same fresh names as its original.
  void reserve_names_of(const Graph& other) { reserved_ = other.reserved_; }

  std::string name, doc;
  Properties metadata;
  std::vector<std::string>
      opaque_fields;  // whole fields kept verbatim: sparse initializers, quantization annotations
  std::string unknown_fields;

 private:
  void link_before(Node& node, Node* anchor);
  void unlink(Node& node);
  void drop_use(Value& value, Node& user, int index);

  Model* model_;
  Graph* parent_;
  std::vector<std::unique_ptr<Node>> nodes_;    // by id; null: removed
  std::vector<std::unique_ptr<Value>> values_;  // by id; null: erased
  std::unordered_map<std::string, Value*> by_name_;
  std::unordered_map<std::string, int> reserved_;  // name -> next suffix to try
  std::vector<Value*> inputs_, outputs_;
  Node* first_ = nullptr;
  Node* last_ = nullptr;
  size_t num_nodes_ = 0;
};

}  // namespace onnxtool
