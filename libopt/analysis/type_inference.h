// One run of inference, which three files share: infer.cc begins it, infer_elements.cc follows what
// shapes are computed of, infer_functions.cc goes into the model's functions.
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "libopt/analysis/seam.h"
#include "libopt/analysis/seam_internal.h"
#include "libopt/ir/model.h"

namespace onnxtool {

/// Shapes travel as small integer tensors; longer ones are data.
inline constexpr int64_t kMaxTrackedElements = 1024;
/// How far back infer_node() looks for where a shape comes from.
inline constexpr int kMaxTrackedNodes = 64;

/// The tensor that inference may take as the value's content. Before IR 4 callers could not
/// override initializers, though all of them stood among the graph inputs.
std::optional<Tensor> known_tensor(const Value& value);

/// What onnx's functions take elements of: nothing with more than one axis.
inline bool is_list(const ValueType& type) { return type.rank().value_or(2) <= 1; }

/// Whether elements of such a value are followed.
bool is_trackable(const ValueType& type);

/// What one run of inference shares between nodes.
class TypeInference {
 public:
  TypeInference() = default;
  /// As infer_strictly().
  explicit TypeInference(const TypeFault& fault) : fault_(&fault) {}
  bool strict() const { return fault_ != nullptr; }
  /// Whether faults go to whoever asked, so that nothing has to be reported again further out. A
  /// function's body fails as a whole, at its call.
  bool reporting() const { return strict() && calls_.empty(); }
  Status infer(Node& node);
  Status infer(Graph& graph);
  /// infer(), with a name for every extent of the main graph that has none.
  Status infer_naming(Graph& graph);
  /// What is known of an integer tensor's elements (a scalar has one), or nullptr.
  const onnx::TensorShapeProto* elements(const Value& value, int depth = 0);
  void set_elements(const Value& value, onnx::TensorShapeProto elements) {
    elements_[&value] = std::move(elements);
  }
  /// Inside a function's body: attributes that stand for the caller's become those.
  void bind_attributes(onnx::NodeProto& node) const;

 private:
  class Body;
  struct Call {
    const Function* function;
    std::unordered_map<std::string, onnx::AttributeProto> attributes;
  };
  /// What a call came to: its body's output types, and their elements where known.
  struct Made {
    std::vector<onnx::TypeProto> types;
    std::vector<std::optional<onnx::TensorShapeProto>> elements;
    std::string fault;  // why a strict call fails; empty: it does not
  };
  Made infer_body(Call call, const Node& node);
  std::string key_of(const Call& call, const Node& node);
  void call(const Function& function, const Node& node, onnx::InferenceContext& context);
  int opset_of(const Node& node) const;
  void propagate(const Node& node, const onnx::OpSchema& schema, int depth);
  void count_elements(const Node& size);
  void compute(const Node& node, int depth);
  void take_branch(Node& node);

  bool is_unknown(const Node& node) const;
  void check_types(const onnx::OpSchema& schema, onnx::InferenceContext& context);

  const TypeFault* fault_ = nullptr;
  // An entry without content: looked for and not found.
  std::unordered_map<const Value*, std::optional<onnx::TensorShapeProto>> elements_;
  std::unordered_map<std::string, Made> made_;  // by function, input types and attributes
  std::unordered_set<std::string> fitting_;     // of check_types()
  uint64_t expanded_ = 0;                       // nodes of bodies so far, at each call that counts
  bool forbidden_ = false;   // why infer(node) failed: a type that the operator does not take
  std::vector<Call> calls_;  // local functions whose bodies are being inferred, outermost first
};

/// What both of onnx's contexts ask of a node.
class NodeFacts {
 public:
  NodeFacts(const TypeInference& run, const Node& node)
      : node_(node), proto_(seam::node_proto(node)) {
    run.bind_attributes(proto_);
    for (onnx::AttributeProto& a : *proto_.mutable_attribute()) describe_subgraph(a);
    input_types_.resize(static_cast<size_t>(node.num_inputs()));
    for (int i = 0; i < node.num_inputs(); ++i)
      if (node.has_input(i))
        seam::to_proto(node.input(i).type(), input_types_[static_cast<size_t>(i)]);
  }
  const onnx::AttributeProto* attribute(const std::string& name) const {
    for (const auto& a : proto_.attribute())
      if (a.name() == name) return &a;
    return nullptr;
  }
  // Of an input that is there but has no known type: an empty message. Some of onnx's functions
  // read the type of a required input without a look whether there is one.
  const onnx::TypeProto* input_type(size_t i) const {
    return input(i) ? &input_types_[i] : nullptr;
  }
  // A function's body is asked for all its outputs, however few the node takes.
  onnx::TypeProto& output_type(size_t i) {
    while (output_types_.size() <= i) output_types_.emplace_back();
    return output_types_[i];
  }
  const Value* input(size_t i) const {
    if (i >= input_types_.size())
      throw onnx::InferenceError("input " + std::to_string(i) + " is missing");
    return node_.inputs()[i];
  }
  size_t num_inputs() const { return input_types_.size(); }
  size_t num_outputs() const { return node_.outputs().size(); }
  const Node& node() const { return node_; }
  const onnx::NodeProto& proto() const { return proto_; }

 private:
  // Some operators' rules look at a subgraph's inputs and outputs, which the stand-ins lack.
  void describe_subgraph(onnx::AttributeProto& stand_in) const {
    const Attribute* a = node_.attribute(stand_in.name());
    const auto* graph = a ? a->get<std::unique_ptr<Graph>>() : nullptr;
    if (!graph) return;
    const auto describe = [](const Value& v, onnx::ValueInfoProto& info) {
      info.set_name(v.name());
      if (v.type().kind != ValueType::Kind::kUnknown)
        seam::to_proto(v.type(), *info.mutable_type());
    };
    for (const Value* v : (*graph)->inputs()) describe(*v, *stand_in.mutable_g()->add_input());
    for (const Value* v : (*graph)->outputs()) describe(*v, *stand_in.mutable_g()->add_output());
  }

  const Node& node_;
  onnx::NodeProto proto_;
  std::vector<onnx::TypeProto> input_types_;
  std::deque<onnx::TypeProto> output_types_;  // stable addresses
};

}  // namespace onnxtool
