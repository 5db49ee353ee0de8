// The only way in which passes edit a graph. It keeps uses, names and order right, and it keeps the
// model's contract: graph inputs and outputs never change in name, type or order.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "libopt/ir/model.h"

namespace onnxtool {

struct RewriteTrace;

/// Whether the graph's constants can be initializers: not in function bodies, and not before IR 4,
/// where every initializer had to stand among the graph inputs.
bool may_hold_initializers(const Graph& graph);

/// Edits around one anchor node: new nodes are placed just before it. Constness of what match()
/// found is lifted here, in one place.
class Rewriter {
 public:
  explicit Rewriter(Graph& graph, const Node* anchor = nullptr)
      : graph_(graph), anchor_(const_cast<Node*>(anchor)) {}

  Graph& graph() const { return graph_; }

  /// A fresh constant; its name is made of `hint`. An initializer where the model may have one,
  /// else a Constant node (see make_constant).
  Value& add_constant(Tensor tensor, std::string_view hint = "constant");
  /// A node before the anchor with `num_outputs` fresh outputs, named after `hint`.
  Node& add_node(std::string_view op_type, const std::vector<Value*>& inputs,
                 std::vector<Attribute> attributes = {}, int num_outputs = 1,
                 std::string_view hint = {}, std::string_view domain = {});
  /// New nodes come before this node of the graph instead.
  void place_before(const Node& node) { anchor_ = &mut(node); }
  void set_input(const Node& node, int index, const Value* value);
  void resize_inputs(const Node& node, int count);
  void set_attribute(const Node& node, Attribute attribute);
  void remove_attribute(const Node& node, std::string_view name);
  void set_op(const Node& node, std::string_view op_type, std::string_view domain = {});

  /// Everything that read `from` reads `to`. Where `from` is a graph output, the output keeps its
  /// name: `to` takes it over when it may (made by a node of this graph, no graph output itself),
  /// else an Identity is put between.
  void replace_uses(const Value& from, const Value& to);
  /// The initializer's tensor, changed for all its readers.
  void set_constant(const Value& value, Tensor tensor);
  /// A node's output becomes a constant of the same name: the node loses it. An initializer, but a
  /// Constant node where the value is a graph output (an output that no node makes
  /// is beyond some runtimes) or the IR is older than 4 (initializers had to be graph inputs).
  void make_constant(const Value& value, Tensor tensor);
  /// The output, which nothing may use, becomes absent.
  void drop_output(const Node& node, int index);
  /// The nodes of a subgraph of the anchor before the anchor, with its initializers, reading
  /// `inputs` in the place of the subgraph's; returns what stands for its outputs, which may be
  /// values of this graph. Names of extents are forgotten until types are inferred again.
  std::vector<Value*> inline_before(const Graph& subgraph, const std::vector<Value*>& inputs = {});
  /// The node must be unused by now.
  void remove(const Node& node);
  /// Types of the node's outputs, as far as its operator tells them.
  void infer_types(const Node& node);

  /// Removes what the edits left without use: nodes free of side effects with all that only they
  /// read, and initializers. The driver calls it after each rule that fired; rules need not.
  void sweep();

  /// What the edits do to nodes is noted there (analysis/provenance.h).
  void trace_into(RewriteTrace& trace) { trace_ = &trace; }

  /// Edits made so far: zero means that nothing happened.
  int edits() const { return edits_; }

 private:
  static Node& mut(const Node& n) { return const_cast<Node&>(n); }
  static Value& mut(const Value& v) { return const_cast<Value&>(v); }
  void import(std::string_view domain);
  void loosen(Value* value);
  void erase(Node& node);
  void note_change(const Node& node);

  Graph& graph_;
  Node* anchor_;
  int edits_ = 0;
  RewriteTrace* trace_ = nullptr;
  std::vector<Value*> loose_;  // lost a use; looked at by sweep()
};

}  // namespace onnxtool
