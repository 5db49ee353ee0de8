// Type and shape inference, node by node, by onnx's own inference functions over our graph.

#include <algorithm>
#include <list>

#include "libopt/analysis/functions.h"
#include "libopt/analysis/merge_types.h"
#include "libopt/analysis/standard_schemas.h"
#include "libopt/analysis/type_inference.h"
#include "libopt/ir/symbols.h"
#include "onnx/shape_inference/implementation.h"

namespace onnxtool {
namespace {

Error contradiction(const Value& value, const ValueType& inferred) {
  return Error{ErrorCode::kBadModel,
               "value '" + value.name() + "' is declared as " + format_type(value.type()) +
                   ", but inferred as " + format_type(inferred),
               {}};
}

Status merge_into(Value& value, const ValueType& inferred, bool strict) {
  const bool is_promise =
      value.is_graph_output() && &value.graph() == &value.graph().model().graph();
  ValueType merged = value.type();
  if (!merge_types(merged, inferred, {is_promise, !strict})) return contradiction(value, inferred);
  value.set_type(std::move(merged));
  return {};
}

// An error inside a subgraph, on its way through onnx's code to the node that holds the subgraph.
class SubgraphError final : public std::exception {
 public:
  explicit SubgraphError(Error error) : error(std::move(error)) {}
  const char* what() const noexcept override { return error.message.c_str(); }
  Error error;
};

// A subgraph, as If, Loop, Scan and SequenceMap infer it.
class SubgraphInferencer final : public onnx::GraphInferencer {
 public:
  SubgraphInferencer(TypeInference& run, Graph& graph) : run_(run), graph_(graph) {}
  SubgraphInferencer(const SubgraphInferencer&) = delete;
  SubgraphInferencer& operator=(const SubgraphInferencer&) = delete;
  ~SubgraphInferencer() override { restore_names(); }

  std::vector<const onnx::TypeProto*> doInferencing(
      const std::vector<const onnx::TypeProto*>& input_types,
      const std::vector<const onnx::TensorProto*>&) override {
    // Inputs with an initializer need not be fed (IR 3 lists them all).
    if (input_types.size() > graph_.inputs().size())
      throw onnx::InferenceError("subgraph '" + graph_.name + "' has " +
                                 std::to_string(graph_.inputs().size()) + " inputs, but is given " +
                                 std::to_string(input_types.size()));
    for (size_t i = 0; i < input_types.size(); ++i)
      if (input_types[i])
        raise(merge_into(*graph_.inputs()[i], seam::from_proto(*input_types[i], run_.strict()),
                         run_.strict()));
    if (!run_.strict()) set_names_aside();
    Status inferred = run_.infer(graph_);
    if (!run_.reporting()) raise(std::move(inferred));
    types_.assign(graph_.outputs().size(), {});
    std::vector<const onnx::TypeProto*> out;
    for (size_t i = 0; i < types_.size(); ++i) {
      seam::to_proto(graph_.outputs()[i]->type(), types_[i]);
      out.push_back(&types_[i]);
    }
    return out;
  }

 private:
  static void raise(Status status) {
    if (!status.ok()) throw SubgraphError(std::move(status).error());
  }
  // What a branch or body calls the extents of its results is for itself: outside the name may mean
  // another extent, and hides what follows from the inputs.
  void set_names_aside() {
    if (!declared_.empty()) return;
    for (Value* v : graph_.outputs()) {
      declared_.push_back(v->type());
      if (&v->graph() != &graph_ || !v->producer() || !v->type().shape) continue;
      ValueType type = v->type();
      for (Dim& d : *type.shape) d.symbol.clear();
      v->set_type(std::move(type));
    }
  }
  void restore_names() {
    for (size_t i = 0; i < declared_.size(); ++i) {
      Value& v = *graph_.outputs()[i];
      const auto& declared = declared_[i].shape;
      if (&v.graph() != &graph_ || !declared || v.type().rank() != declared_[i].rank()) continue;
      ValueType type = v.type();
      for (size_t axis = 0; axis < declared->size(); ++axis)
        if (Dim& d = (*type.shape)[axis]; !d.value && !(*declared)[axis].symbol.empty())
          d.symbol = (*declared)[axis].symbol;
      v.set_type(std::move(type));
    }
  }

  TypeInference& run_;
  Graph& graph_;
  std::vector<onnx::TypeProto> types_;
  std::vector<ValueType> declared_;  // of the outputs
};

class InferenceContext final : public onnx::InferenceContext {
 public:
  InferenceContext(TypeInference& run, Node& node)
      : run_(run), facts_(run, node), data_(facts_.num_inputs()) {}

  const onnx::NodeProto& proto() const { return facts_.proto(); }

  const onnx::AttributeProto* getAttribute(const std::string& name) const override {
    const onnx::AttributeProto* a = facts_.attribute(name);
    if (!a || run_.strict() || name != "axes" || !facts_.node().is("Squeeze")) return a;
    // Below opset 11 onnx's function goes through the axes in the order in which they stand, and
    // finds no further one behind the largest; nothing says that they are sorted.
    sorted_axes_ = *a;
    std::ranges::sort(*sorted_axes_->mutable_ints());
    return &*sorted_axes_;
  }
  size_t getNumInputs() const override { return facts_.num_inputs(); }
  const onnx::TypeProto* getInputType(size_t i) const override { return facts_.input_type(i); }
  bool hasInput(size_t i) const override { return i < facts_.num_inputs() && facts_.input(i); }
  size_t getNumOutputs() const override { return facts_.num_outputs(); }
  onnx::TypeProto* getOutputType(size_t i) override { return &facts_.output_type(i); }
  bool hasOutput(size_t i) override {
    return i < facts_.num_outputs() && facts_.node().has_output(static_cast<int>(i));
  }
  const onnx::SparseTensorProto* getInputSparseData(size_t) const override { return nullptr; }
  std::string getDisplayName() const override { return facts_.node().describe(); }

  const onnx::TensorProto* getInputData(size_t i) const override {
    const Value* value = facts_.input(i);
    if (!value) return nullptr;
    if (data_[i]) return &*data_[i];
    // What a caller may override, and what an outer graph holds: onnx takes the first and does not
    // look at the second.
    if (run_.strict() && &value->graph() != &facts_.node().graph()) return nullptr;
    const bool is_default = run_.strict() && value->initializer();
    const std::optional<Tensor> tensor =
        is_default ? std::optional(*value->initializer()) : known_tensor(*value);
    if (!tensor || tensor->size_bytes() > seam::kMaxCopiedBytes ||
        tensor->count() > kMaxTrackedElements)
      return nullptr;
    data_[i] = seam::tensor_proto(*tensor);
    return &*data_[i];
  }
  const onnx::TensorShapeProto* getSymbolicInput(size_t i) const override {
    const Value* value = facts_.input(i);
    return value && is_list(value->type()) ? run_.elements(*value) : nullptr;
  }
  onnx::GraphInferencer* getGraphAttributeInferencer(const std::string& name) override {
    const Attribute* a = facts_.node().attribute(name);
    const auto* graph = a ? a->get<std::unique_ptr<Graph>>() : nullptr;
    if (!graph) throw onnx::InferenceError("attribute '" + name + "' holds no graph");
    return &subgraphs_.emplace_back(run_, **graph);
  }

 private:
  TypeInference& run_;
  mutable NodeFacts facts_;
  mutable std::vector<std::optional<onnx::TensorProto>> data_;
  mutable std::optional<onnx::AttributeProto> sorted_axes_;
  std::list<SubgraphInferencer> subgraphs_;
};

// Behind an operator that nobody knows types are missing, and onnx's functions complain of that.
bool has_untyped_input(const Node& node) {
  return std::ranges::any_of(node.inputs(), [](const Value* v) {
    return v && (v->type().kind == ValueType::Kind::kUnknown ||
                 (v->type().is_tensor() && v->type().dtype == DataType::kUndefined));
  });
}

// Letters, with at most one ellipsis.
bool is_einsum_term(std::string term) {
  if (const size_t at = term.find("..."); at != std::string::npos) term.erase(at, 3);
  return std::ranges::all_of(
      term, [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); });
}

// onnx's function for Einsum does not return from an equation with any other character in it.
void check_einsum(const onnx::InferenceContext& context) {
  const auto* attribute = context.getAttribute("equation");
  std::string equation = attribute ? attribute->s() : std::string();
  std::erase(equation, ' ');
  std::string_view left = equation;
  bool valid = true;
  if (const size_t arrow = equation.find("->"); arrow != std::string::npos) {
    valid = is_einsum_term(equation.substr(arrow + 2));
    left = left.substr(0, arrow);
  }
  for (size_t start = 0; start <= left.size();) {
    const size_t end = std::min(left.find(',', start), left.size());
    valid = valid && is_einsum_term(std::string(left.substr(start, end - start)));
    start = end + 1;
  }
  if (!valid) throw onnx::InferenceError("equation '" + attribute->s() + "' is not valid");
}

// Inference functions rely on counts and attributes. onnx's own Verify would do, but it also
// refuses what runtimes run: attributes of older versions, results that nobody named, deprecated
// operators.
void require_what_inference_reads(const onnx::OpSchema& schema, const onnx::NodeProto& node) {
  for (int i = 0; i < schema.min_input(); ++i) {
    const auto& declared =
        schema.inputs()[std::min<size_t>(static_cast<size_t>(i), schema.inputs().size() - 1)];
    const bool single = declared.GetOption() == onnx::OpSchema::Single;
    if (i >= node.input_size() || (single && node.input(i).empty()))
      throw onnx::InferenceError("required input " + std::to_string(i) + " is left out");
  }
  for (const auto& [name, expected] : schema.attributes()) {
    const onnx::AttributeProto* found = nullptr;
    for (const auto& a : node.attribute())
      if (a.name() == name) found = &a;
    if (!found && expected.required)
      throw onnx::InferenceError("attribute '" + name + "' is missing");
    if (found && found->type() != expected.type && found->ref_attr_name().empty())
      throw onnx::InferenceError("attribute '" + name + "' has another type than the operator's");
  }
}

// Which axes a Slice with inputs cuts; nullopt: that is not known.
std::optional<std::vector<int64_t>> cut_axes(const Node& slice, int64_t rank) {
  std::vector<int64_t> axes;
  if (slice.has_input(3)) {
    const auto given = known_tensor(slice.input(3));
    if (!given) return std::nullopt;
    axes = given->to_ints();
  } else {
    const auto& starts = slice.input(1).type().shape;
    if (!starts || starts->size() != 1 || starts->front().value.value_or(rank + 1) > rank)
      return std::nullopt;
    for (int64_t i = 0; i < *starts->front().value; ++i) axes.push_back(i);
  }
  for (int64_t& a : axes)
    if (a < 0) a += rank;
  return axes;
}

// onnx's function for Slice-10 leaves the name of an extent on the axis that is cut.
void forget_cut_names(const Node& slice, onnx::TypeProto& result) {
  if (!result.has_tensor_type() || !result.tensor_type().has_shape()) return;
  auto& shape = *result.mutable_tensor_type()->mutable_shape();
  const auto axes = cut_axes(slice, shape.dim_size());
  for (int i = 0; i < shape.dim_size(); ++i)
    if (shape.dim(i).has_dim_param() && (!axes || std::ranges::count(*axes, i)))
      shape.mutable_dim(i)->clear_dim_param();
}

// A value has one shape a run, so a name for it can be followed; in bodies of loops it has many.
void name_dims(Value& value) {
  if (!value.type().is_tensor() || !value.type().shape) return;
  ValueType type = value.type();
  for (size_t axis = 0; axis < type.shape->size(); ++axis) {
    Dim& d = (*type.shape)[axis];
    if (!d.value && d.symbol.empty())
      d.symbol =
          std::string(kInventedDim) + std::to_string(value.id()) + "." + std::to_string(axis);
  }
  value.set_type(std::move(type));
}

}  // namespace

// Where the condition is known, what the taken branch makes says more than what both have in
// common.
void TypeInference::take_branch(Node& node) {
  const onnx::TensorShapeProto* condition = node.has_input(0) ? elements(node.input(0)) : nullptr;
  if (!condition || condition->dim_size() != 1 || !condition->dim(0).has_dim_value()) return;
  const Attribute* a =
      node.attribute(condition->dim(0).dim_value() ? "then_branch" : "else_branch");
  const auto* branch = a ? a->get<std::unique_ptr<Graph>>() : nullptr;
  if (!branch) return;
  const auto& made = (*branch)->outputs();
  for (size_t i = 0; i < made.size() && i < node.outputs().size(); ++i) {
    if (!node.outputs()[i]) continue;
    ValueType merged = node.outputs()[i]->type();
    if (merge_types(merged, made[i]->type(), {/*keep_symbols=*/true, /*zero_is_unknown=*/true}))
      node.outputs()[i]->set_type(std::move(merged));
  }
}

namespace {

// The element types of a node's inputs and outputs, and which schema they are for; nullopt: it has
// others than tensors, or very many.
std::optional<std::string> signature_of(const onnx::OpSchema& schema,
                                        onnx::InferenceContext& context) {
  constexpr size_t kMost = 32;
  const size_t inputs = context.getNumInputs(), outputs = context.getNumOutputs();
  if (inputs + outputs > kMost) return std::nullopt;
  std::string signature = std::to_string(reinterpret_cast<uintptr_t>(&schema));
  const auto add = [&](const onnx::TypeProto* type) {
    const bool known = type && type->value_case() != onnx::TypeProto::VALUE_NOT_SET;
    if (known && !type->has_tensor_type()) return false;
    signature += ',';
    if (known) signature += std::to_string(type->tensor_type().elem_type());
    return true;
  };
  for (size_t i = 0; i < inputs; ++i)
    if (!add(context.getInputType(i))) return std::nullopt;
  signature += '>';
  for (size_t i = 0; i < outputs; ++i)
    if (!add(context.getOutputType(i))) return std::nullopt;
  return signature;
}

}  // namespace

// onnx's check spells each type out and looks it up in sets of names; most nodes are like one
// before.
void TypeInference::check_types(const onnx::OpSchema& schema, onnx::InferenceContext& context) {
  const auto signature = signature_of(schema, context);
  if (signature && fitting_.contains(*signature)) return;
  schema.CheckInputOutputType(context);
  if (signature) fitting_.insert(*signature);
}

Status TypeInference::infer(Node& node) {
  const auto* schema = seam::standard_schema(node.op_type(), node.domain(), opset_of(node));
  const auto* function = schema ? nullptr : called_function(node);
  const auto* foreign =
      schema || function ? nullptr : seam::find_foreign(node.op_type(), node.domain());
  bool forbidden = forbidden_ = false;
  if (!schema && !function && (!foreign || strict())) return {};
  InferenceContext context(*this, node);
  std::optional<Error> inner;
  Status status = seam::guarded(node.describe(), [&] {
    try {
      if (schema) {
        require_what_inference_reads(*schema, context.proto());
        if (node.op_type() == "Einsum") check_einsum(context);
        if (schema->has_type_and_shape_inference_function()) {
          schema->GetTypeAndShapeInferenceFunction()(context);
          if (node.is("Slice") && schema->SinceVersion() == 10 && !strict())
            forget_cut_names(node, *context.getOutputType(0));
        } else if (schema->HasFunction()) {
          const onnx::ShapeInferenceOptions options{strict(), strict() ? 1 : 0, false};
          onnx::shape_inference::InferShapeForFunctionNode(
              *schema->GetFunction(), &seam::standard_schemas(), context, options);
        }
        check_types(*schema, context);
      } else if (function) {
        call(*function, node, context);
      } else {
        foreign->infer(context);
      }
    } catch (SubgraphError& e) {
      inner = std::move(e.error);
    } catch (const onnx::InferenceError&) {
      throw;
    } catch (const std::runtime_error&) {
      forbidden = true;
      throw;
    }
  });
  forbidden_ = forbidden;
  if (!status.ok()) return has_untyped_input(node) && !strict() ? Status() : std::move(status);
  if (inner) return std::move(*inner).at(node.describe());
  for (int i = 0; i < node.num_outputs(); ++i) {
    if (!node.has_output(i)) continue;
    const ValueType inferred =
        seam::from_proto(*context.getOutputType(static_cast<size_t>(i)), strict());
    Status merged = merge_into(node.output(i), inferred, strict());
    if (!merged.ok()) return std::move(merged).error().at(node.describe());
  }
  if ((schema || foreign) && !strict() && node.num_outputs() == 1 && node.has_output(0)) {
    // It only adds to what is known: where the two contradict each other, onnx's word counts.
    if (const auto type =
            seam::sharper_type(node, [this](const Value& v) { return elements(v); })) {
      ValueType merged = node.output(0).type();
      if (merge_types(merged, *type, {/*keep_symbols=*/true, /*zero_is_unknown=*/true}))
        node.output(0).set_type(std::move(merged));
    }
  }
  if (schema && !strict() && node.is("If")) take_branch(node);
  if (schema && node.num_outputs() == 1 && node.has_output(0) &&
      is_trackable(node.output(0).type())) {
    elements_.erase(&node.output(0));
    elements(node.output(0));
  }
  return {};
}

// To onnx, which knows nothing of com.microsoft.
bool TypeInference::is_unknown(const Node& node) const {
  return !seam::standard_schema(node.op_type(), node.domain(), opset_of(node)) &&
         !called_function(node);
}

Status TypeInference::infer(Graph& graph) {
  Status first;
  bool certain = true;
  for (Node& node : graph.nodes()) {
    Status status = infer(node);
    certain = certain && !(strict() && is_unknown(node));
    // Behind operators that nobody knows types are guesses, but what the file declares is not.
    const bool sure = certain || forbidden_;
    if (status.ok() || (!sure && has_untyped_input(node))) continue;
    if (reporting()) (*fault_)(node, status.error(), sure);
    if (first.ok() && sure) first = std::move(status);
  }
  return first;
}

Status TypeInference::infer_naming(Graph& graph) {
  for (Value* v : graph.inputs()) name_dims(*v);
  Status first;
  for (Node& node : graph.nodes()) {
    Status status = infer(node);
    if (!status.ok() && first.ok()) first = std::move(status);
    for (Value* v : node.outputs())
      if (v) name_dims(*v);
  }
  return first;
}

namespace {

template <class F>
bool any_dim(const ValueType& type, const F& which) {
  return (type.shape && std::ranges::any_of(*type.shape, which)) ||
         (type.element && any_dim(*type.element, which));
}

template <class F>
ValueType without_dims(ValueType type, const F& which) {
  if (type.shape)
    for (Dim& d : *type.shape)
      if (which(d)) d.value.reset(), d.symbol.clear();
  if (type.element)
    type.element = std::make_shared<const ValueType>(without_dims(*type.element, which));
  return type;
}

// Makes the extents that `which` says unknown ones, in subgraphs too.
template <class F>
void forget_dims(Graph& graph, const F& which) {
  for (Value* v : graph.values())
    if (any_dim(v->type(), which)) v->set_type(without_dims(v->type(), which));
  for (Node& n : graph.nodes()) n.for_each_subgraph([&](Graph& sub) { forget_dims(sub, which); });
}

}  // namespace

Status infer_node(Node& node) { return TypeInference().infer(node); }
Status infer_graph(Graph& graph) { return TypeInference().infer(graph); }
Status infer_graph_naming_dims(Graph& graph) { return TypeInference().infer_naming(graph); }
void infer_strictly(Graph& graph, const TypeFault& fault) {
  // To onnx an extent below 0 is that number; to all others who see the graph it is unknown.
  [[maybe_unused]] const Status reported = TypeInference(fault).infer(graph);
  forget_dims(graph, [](const Dim& d) { return d.value && *d.value < 0; });
}

void forget_invented_dims(Graph& graph) {
  forget_dims(graph, [](const Dim& d) { return is_invented(d.symbol); });
}

}  // namespace onnxtool
