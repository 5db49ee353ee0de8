// Type and shape inference, node by node, by onnx's own inference functions over our graph.

#include <algorithm>
#include <deque>
#include <limits>
#include <list>
#include <map>
#include <unordered_map>

#include "libopt/analysis/functions.h"
#include "libopt/analysis/seam.h"
#include "libopt/analysis/seam_internal.h"
#include "libopt/io/encode.h"
#include "libopt/ir/constant.h"
#include "libopt/ir/model.h"
#include "libopt/support/checked.h"
#include "onnx/shape_inference/implementation.h"

namespace onnxtool {
namespace {

// Shapes travel as small integer tensors; longer ones are data.
constexpr int64_t kMaxTrackedElements = 1024;
// How far back infer_node() looks for where a shape comes from.
constexpr int kMaxTrackedNodes = 64;

// How deep functions may call one another; no exporter nests them so.
constexpr size_t kMaxCallDepth = 64;

using onnx::TensorShapeProto;

// --- merging what is inferred into what is declared ----------------------------------------------

Error contradiction(const Value& value, const ValueType& inferred) {
  return Error{ErrorCode::kBadModel,
               "value '" + value.name() + "' is declared as " + format_type(value.type()) +
                   ", but inferred as " + format_type(inferred),
               {}};
}

bool is_invented(const std::string& symbol) { return symbol.starts_with(kInventedDim); }

struct MergeRules {
  // A main graph's output keeps a declared symbol where a number is inferred: its type is a promise
  // to callers.
  bool keep_symbols;
  // Zero is what some exporters write for an extent that they do not know.
  bool zero_is_unknown;
};

// Whether the two can be the same type; merges into `declared`.
bool merge(ValueType& declared, const ValueType& inferred, const MergeRules& rules) {
  if (inferred.kind == ValueType::Kind::kUnknown) return true;
  if (declared.kind == ValueType::Kind::kUnknown) {
    std::string denotation = std::move(declared.denotation);
    declared = inferred;
    declared.denotation = std::move(denotation);
    return true;
  }
  if (declared.kind != inferred.kind) return false;
  if (inferred.dtype != DataType::kUndefined) {
    if (declared.dtype == DataType::kUndefined) declared.dtype = inferred.dtype;
    if (declared.dtype != inferred.dtype) return false;
  }
  if (inferred.element) {
    ValueType element = declared.element ? *declared.element : ValueType();
    if (!merge(element, *inferred.element, rules)) return false;
    declared.element = std::make_shared<const ValueType>(std::move(element));
  }
  if (!inferred.shape) return true;
  if (!declared.shape) {
    declared.shape = inferred.shape;
    return true;
  }
  if (declared.shape->size() != inferred.shape->size()) return false;
  for (size_t i = 0; i < declared.shape->size(); ++i) {
    Dim& d = (*declared.shape)[i];
    const Dim& other = (*inferred.shape)[i];
    if (d.value) {
      if (other.value && *other.value != *d.value && !(rules.zero_is_unknown && *d.value == 0))
        return false;
      if (other.value) d.value = other.value;
    } else if (d.symbol.empty() || is_invented(d.symbol) || (other.value && !rules.keep_symbols)) {
      d.value = other.value;
      d.symbol = other.symbol;
    }
  }
  return true;
}

Status merge_into(Value& value, const ValueType& inferred, bool strict) {
  const bool is_promise =
      value.is_graph_output() && &value.graph() == &value.graph().model().graph();
  ValueType merged = value.type();
  if (!merge(merged, inferred, {is_promise, !strict})) return contradiction(value, inferred);
  value.set_type(std::move(merged));
  return {};
}

// --- inference
// ------------------------------------------------------------------------------------

// An error inside a subgraph, on its way through onnx's code to the node that holds the subgraph.
class SubgraphError final : public std::exception {
 public:
  explicit SubgraphError(Error error) : error(std::move(error)) {}
  const char* what() const noexcept override { return error.message.c_str(); }
  Error error;
};

// The tensor that inference may take as the value's content. Before IR 4 callers could not override
// initializers, though all of them stood among the graph inputs.
std::optional<Tensor> known_tensor(const Value& value) {
  if (const Tensor* t = value.constant()) return *t;
  if (value.initializer() && value.graph().model().ir_version < 4) return *value.initializer();
  return value.producer() ? constant_of(*value.producer()) : std::nullopt;
}

// What onnx's functions take elements of: nothing with more than one axis.
bool is_list(const ValueType& type) { return type.rank().value_or(2) <= 1; }

// What one run of inference shares between nodes.
class Session {
 public:
  Session() = default;
  /// As infer_strictly().
  explicit Session(const TypeFault& fault) : fault_(&fault) {}
  bool strict() const { return fault_ != nullptr; }
  /// Whether faults go to whoever asked, so that nothing has to be reported again further out. A
  /// function's body fails as a whole, at its call.
  bool reporting() const { return strict() && calls_.empty(); }
  Status infer(Node& node);
  Status infer(Graph& graph);
  /// infer(), with a name for every extent of the main graph that has none.
  Status infer_naming(Graph& graph);
  /// What is known of an integer tensor's elements (a scalar has one), or nullptr.
  const TensorShapeProto* elements(const Value& value, int depth = 0);
  void set_elements(const Value& value, TensorShapeProto elements) {
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
    std::vector<std::optional<TensorShapeProto>> elements;
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

  const TypeFault* fault_ = nullptr;
  // An entry without content: looked for and not found.
  std::unordered_map<const Value*, std::optional<TensorShapeProto>> elements_;
  std::unordered_map<std::string, Made> made_;  // by function, input types and attributes
  std::vector<Call> calls_;  // local functions whose bodies are being inferred, outermost first
};

// What both of onnx's contexts ask of a node.
class NodeFacts {
 public:
  NodeFacts(const Session& session, const Node& node)
      : node_(node), proto_(seam::node_proto(node)) {
    session.bind_attributes(proto_);
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

// A subgraph, as If, Loop, Scan and SequenceMap infer it.
class SubgraphInferencer final : public onnx::GraphInferencer {
 public:
  SubgraphInferencer(Session& session, Graph& graph) : session_(session), graph_(graph) {}

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
        raise(merge_into(*graph_.inputs()[i], seam::from_proto(*input_types[i], session_.strict()),
                         session_.strict()));
    Status inferred = session_.infer(graph_);
    if (!session_.reporting()) raise(std::move(inferred));
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
  Session& session_;
  Graph& graph_;
  std::vector<onnx::TypeProto> types_;
};

class InferenceContext final : public onnx::InferenceContext {
 public:
  InferenceContext(Session& session, Node& node)
      : session_(session), facts_(session, node), data_(facts_.num_inputs()) {}

  const onnx::NodeProto& proto() const { return facts_.proto(); }

  const onnx::AttributeProto* getAttribute(const std::string& name) const override {
    return facts_.attribute(name);
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
    if (session_.strict() && &value->graph() != &facts_.node().graph()) return nullptr;
    const bool is_default = session_.strict() && value->initializer();
    const std::optional<Tensor> tensor =
        is_default ? std::optional(*value->initializer()) : known_tensor(*value);
    if (!tensor || tensor->size_bytes() > seam::kMaxCopiedBytes ||
        tensor->count() > kMaxTrackedElements)
      return nullptr;
    data_[i] = seam::tensor_proto(*tensor);
    return &*data_[i];
  }
  const TensorShapeProto* getSymbolicInput(size_t i) const override {
    const Value* value = facts_.input(i);
    return value && is_list(value->type()) ? session_.elements(*value) : nullptr;
  }
  onnx::GraphInferencer* getGraphAttributeInferencer(const std::string& name) override {
    const Attribute* a = facts_.node().attribute(name);
    const auto* graph = a ? a->get<std::unique_ptr<Graph>>() : nullptr;
    if (!graph) throw onnx::InferenceError("attribute '" + name + "' holds no graph");
    return &subgraphs_.emplace_back(session_, **graph);
  }

 private:
  Session& session_;
  mutable NodeFacts facts_;
  mutable std::vector<std::optional<onnx::TensorProto>> data_;
  std::list<SubgraphInferencer> subgraphs_;
};

class PropagationContext final : public onnx::DataPropagationContext {
 public:
  PropagationContext(Session& session, const Node& node, int depth)
      : session_(session), facts_(session, node), depth_(depth) {
    for (int i = 0; i < node.num_outputs(); ++i)
      if (node.has_output(i))
        seam::to_proto(node.output(i).type(), facts_.output_type(static_cast<size_t>(i)));
  }
  const onnx::AttributeProto* getAttribute(const std::string& name) const override {
    return facts_.attribute(name);
  }
  size_t getNumInputs() const override { return facts_.num_inputs(); }
  const onnx::TypeProto* getInputType(size_t i) const override { return facts_.input_type(i); }
  size_t getNumOutputs() const override { return facts_.num_outputs(); }
  const onnx::TypeProto* getOutputType(size_t i) const override { return &facts_.output_type(i); }
  const TensorShapeProto* getInputData(size_t i) override {
    const Value* value = facts_.input(i);
    return value && is_list(value->type()) ? session_.elements(*value, depth_ + 1) : nullptr;
  }
  void addOutputData(size_t i, TensorShapeProto&& elements) override {
    if (i < facts_.num_outputs() && facts_.node().has_output(static_cast<int>(i)) &&
        elements.dim_size() <= kMaxTrackedElements)
      session_.set_elements(facts_.node().output(static_cast<int>(i)), std::move(elements));
  }

 private:
  Session& session_;
  mutable NodeFacts facts_;
  int depth_;
};

bool is_trackable(const ValueType& type) {
  return type.is_tensor() &&
         (type.dtype == DataType::kInt64 || type.dtype == DataType::kInt32 ||
          type.dtype == DataType::kBool) &&
         (is_list(type) || (type.rank() == 2 && type.static_dims()));
}

// Propagation computes in 64 bits: beyond a narrower type's range the operator itself would wrap.
bool fits(const TensorShapeProto& elements, DataType dtype) {
  return dtype == DataType::kInt64 || std::ranges::all_of(elements.dim(), [](const auto& d) {
           return d.dim_value() >= std::numeric_limits<int32_t>::min() &&
                  d.dim_value() <= std::numeric_limits<int32_t>::max();
         });
}

// Whether a trackable value's type has that many elements, where it tells: a declared matrix is
// indexed by its extents, whatever the value turns out to hold.
bool is_whole(const ValueType& type, int64_t elements) {
  return is_list(type) || checked_product(*type.static_dims()) == elements;
}

const TensorShapeProto* Session::elements(const Value& value, int depth) {
  if (strict()) return nullptr;
  if (const auto found = elements_.find(&value); found != elements_.end())
    return found->second ? &*found->second : nullptr;
  if (!is_trackable(value.type())) return nullptr;
  elements_[&value] = std::nullopt;
  if (const std::optional<Tensor> t = known_tensor(value); t && t->dtype() == value.type().dtype) {
    if (t->count() > kMaxTrackedElements || !is_whole(value.type(), t->count())) return nullptr;
    TensorShapeProto shape;
    for (const int64_t v : t->to_ints()) shape.add_dim()->set_dim_value(v);
    set_elements(value, std::move(shape));
  } else if (const Node* producer = value.producer();
             producer && producer->num_outputs() == 1 && depth < kMaxTrackedNodes) {
    const auto* schema =
        seam::standard_schema(producer->op_type(), producer->domain(), opset_of(*producer));
    if (producer->is("Size"))
      count_elements(*producer);
    else if (seam::computes_elements(*producer))
      compute(*producer, depth);
    else if (schema && schema->has_data_propagation_function() && is_list(value.type()))
      propagate(*producer, *schema, depth);
    auto& found = elements_[&value];
    if (found && (!is_whole(value.type(), found->dim_size()) ||
                  !fits(*found, value.type().dtype)))
      found.reset();
  }
  auto& known = elements_[&value];
  if (!known && value.type().rank() == 1 &&
      value.type().shape->front().value.value_or(kMaxTrackedElements + 1) <= kMaxTrackedElements) {
    // So many elements, each unknown: a Reshape by it still has a known rank.
    known.emplace();
    for (int64_t i = 0; i < *value.type().shape->front().value; ++i) known->add_dim();
  }
  return known ? &*known : nullptr;
}

// onnx's function for Size knows vectors only.
void Session::count_elements(const Node& size) {
  const auto dims = size.has_input(0) ? size.input(0).type().static_dims() : std::nullopt;
  const auto count = dims ? checked_product(*dims) : std::nullopt;
  if (!count) return;
  TensorShapeProto elements;
  elements.add_dim()->set_dim_value(*count);
  set_elements(size.output(0), std::move(elements));
}

void Session::compute(const Node& node, int depth) {
  auto made = seam::elements_of(node, [&](const Value& v) { return elements(v, depth + 1); });
  if (made && made->dim_size() <= kMaxTrackedElements)
    set_elements(node.output(0), *std::move(made));
}

void Session::propagate(const Node& node, const onnx::OpSchema& schema, int depth) {
  PropagationContext context(*this, node, depth);
  // It only makes inference sharper; a shape that it cannot follow is no fault of the model.
  [[maybe_unused]] const Status ignored =
      seam::guarded(node.describe(), [&] { schema.GetDataPropagationFunction()(context); });
}

// --- local functions
// ------------------------------------------------------------------------------

int Session::opset_of(const Node& node) const {
  if (calls_.empty()) return node.opset();
  for (const OpsetImport& o : calls_.back().function->opsets)
    if (o.domain == node.domain()) return static_cast<int>(o.version);
  return 0;
}

void Session::bind_attributes(onnx::NodeProto& node) const {
  if (calls_.empty()) return;
  auto& attributes = *node.mutable_attribute();
  for (int i = attributes.size() - 1; i >= 0; --i) {
    if (attributes[i].ref_attr_name().empty()) continue;
    const std::string name = attributes[i].name();
    if (const auto given = calls_.back().attributes.find(attributes[i].ref_attr_name());
        given != calls_.back().attributes.end()) {
      attributes[i] = given->second;
      attributes[i].set_name(name);
    } else {
      attributes.DeleteSubrange(i, 1);  // the caller leaves it out, and so does the body
    }
  }
}

// Types of a body's values, put back when the call is over: another call has others.
class Session::Body {
 public:
  Body(Session& session, Graph& body) : session_(session) { collect(body); }
  Body(const Body&) = delete;
  Body& operator=(const Body&) = delete;
  ~Body() {
    for (auto& [value, type] : types_) {
      value->set_type(std::move(type));
      session_.elements_.erase(value);
    }
  }

 private:
  void collect(Graph& graph) {
    for (Value* v : graph.values()) {
      types_.emplace_back(v, v->type());
      session_.elements_.erase(v);
    }
    for (Node& n : graph.nodes()) n.for_each_subgraph([&](Graph& sub) { collect(sub); });
  }
  Session& session_;
  std::vector<std::pair<Value*, ValueType>> types_;
};

void Session::call(const Function& function, const Node& node, onnx::InferenceContext& context) {
  if (calls_.size() >= kMaxCallDepth)
    throw onnx::InferenceError("functions call one another too deep");
  for (const Call& c : calls_)
    if (c.function == &function)
      throw onnx::InferenceError("function '" + function.name + "' calls itself");
  Call call{&function, {}};
  for (const Attribute& a : function.attribute_defaults) {
    onnx::AttributeProto& proto = call.attributes[a.name];
    const bool parsed = proto.ParseFromString(encode_attribute(a).flatten());
    ONNXTOOL_CHECK(parsed);
  }
  for (const Attribute& a : node.attributes())
    if (const auto* given = context.getAttribute(a.name)) call.attributes[a.name] = *given;

  // Calls with the same inputs are inferred once: functions that call the next one twice would take
  // twice as long with each level.
  const std::string key = key_of(call, node);
  auto found = made_.find(key);
  if (found == made_.end()) found = made_.emplace(key, infer_body(std::move(call), node)).first;
  const Made& made = found->second;
  if (!made.fault.empty()) throw onnx::InferenceError(made.fault);
  for (size_t i = 0; i < made.types.size(); ++i) {
    *context.getOutputType(i) = made.types[i];
    if (made.elements[i] && node.has_output(static_cast<int>(i)))
      set_elements(node.output(static_cast<int>(i)), TensorShapeProto(*made.elements[i]));
  }
}

// All that inference of a body depends on, as bytes.
std::string Session::key_of(const Call& call, const Node& node) {
  std::string key = std::to_string(reinterpret_cast<uintptr_t>(call.function));
  const auto add = [&](const google::protobuf::MessageLite& part) {
    const std::string bytes = part.SerializeAsString();
    key += ' ' + std::to_string(bytes.size()) + ':' + bytes;
  };
  for (const Value* v : node.inputs()) {
    key += ';';
    if (!v) continue;
    onnx::TypeProto type;
    seam::to_proto(v->type(), type);
    add(type);
    if (const TensorShapeProto* known = elements(*v)) add(*known);
  }
  for (const auto& [name, attribute] : std::map(call.attributes.begin(), call.attributes.end())) {
    key += '|' + name;
    add(attribute);
  }
  return key;
}

Session::Made Session::infer_body(Call call, const Node& node) {
  Graph& body = *call.function->body;
  const std::string name = call.function->name;
  const Body restored(*this, body);
  for (size_t i = 0; i < body.inputs().size() && static_cast<int>(i) < node.num_inputs(); ++i) {
    if (!node.has_input(static_cast<int>(i))) continue;
    const Value& given = node.input(static_cast<int>(i));
    body.inputs()[i]->set_type(given.type());
    if (const TensorShapeProto* known = elements(given))
      set_elements(*body.inputs()[i], TensorShapeProto(*known));
  }
  calls_.push_back(std::move(call));
  const Status inferred = infer(body);
  calls_.pop_back();
  Made made;
  // Else what does not fit inside leaves less to be known outside.
  if (strict() && !inferred.ok())
    made.fault = "in function '" + name + "': " + inferred.error().message;
  for (const Value* v : body.outputs()) {
    seam::to_proto(v->type(), made.types.emplace_back());
    const TensorShapeProto* known = elements(*v);
    made.elements.push_back(known ? std::optional(*known) : std::nullopt);
  }
  return made;
}

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

// Where the condition is known, what the taken branch makes says more than what both have in
// common.
void Session::take_branch(Node& node) {
  const TensorShapeProto* condition = node.has_input(0) ? elements(node.input(0)) : nullptr;
  if (!condition || condition->dim_size() != 1 || !condition->dim(0).has_dim_value()) return;
  const Attribute* a =
      node.attribute(condition->dim(0).dim_value() ? "then_branch" : "else_branch");
  const auto* branch = a ? a->get<std::unique_ptr<Graph>>() : nullptr;
  if (!branch) return;
  const auto& made = (*branch)->outputs();
  for (size_t i = 0; i < made.size() && i < node.outputs().size(); ++i) {
    if (!node.outputs()[i]) continue;
    ValueType merged = node.outputs()[i]->type();
    if (merge(merged, made[i]->type(), {/*keep_symbols=*/true, /*zero_is_unknown=*/true}))
      node.outputs()[i]->set_type(std::move(merged));
  }
}

Status Session::infer(Node& node) {
  const auto* schema = seam::standard_schema(node.op_type(), node.domain(), opset_of(node));
  const auto* function = schema ? nullptr : called_function(node);
  const auto* foreign =
      schema || function ? nullptr : seam::find_foreign(node.op_type(), node.domain());
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
        } else if (schema->HasFunction()) {
          const onnx::ShapeInferenceOptions options{strict(), strict() ? 1 : 0, false};
          onnx::shape_inference::InferShapeForFunctionNode(
              *schema->GetFunction(), onnx::OpSchemaRegistry::Instance(), context, options);
        }
        schema->CheckInputOutputType(context);
      } else if (function) {
        call(*function, node, context);
      } else {
        foreign->infer(context);
      }
    } catch (SubgraphError& e) {
      inner = std::move(e.error);
    }
  });
  if (!status.ok()) return has_untyped_input(node) && !strict() ? Status() : std::move(status);
  if (inner) return std::move(*inner).at(node.describe());
  for (int i = 0; i < node.num_outputs(); ++i) {
    if (!node.has_output(i)) continue;
    const ValueType inferred =
        seam::from_proto(*context.getOutputType(static_cast<size_t>(i)), strict());
    Status merged = merge_into(node.output(i), inferred, strict());
    if (!merged.ok()) return std::move(merged).error().at(node.describe());
  }
  if (schema && !strict() && node.num_outputs() == 1 && node.has_output(0)) {
    // It only adds to what is known: where the two contradict each other, onnx's word counts.
    if (const auto type =
            seam::sharper_type(node, [this](const Value& v) { return elements(v); })) {
      ValueType merged = node.output(0).type();
      if (merge(merged, *type, {/*keep_symbols=*/true, /*zero_is_unknown=*/true}))
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
bool Session::is_unknown(const Node& node) const {
  return !seam::standard_schema(node.op_type(), node.domain(), opset_of(node)) &&
         !called_function(node);
}

Status Session::infer(Graph& graph) {
  Status first;
  bool certain = true;
  for (Node& node : graph.nodes()) {
    Status status = infer(node);
    certain = certain && !(strict() && is_unknown(node));
    if (status.ok() || (!certain && has_untyped_input(node))) continue;
    if (reporting()) (*fault_)(node, status.error(), certain);
    if (first.ok() && certain) first = std::move(status);
  }
  return first;
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

Status Session::infer_naming(Graph& graph) {
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

// Makes the extents that `which` says unknown ones, in subgraphs too.
template <class F>
void forget_dims(Graph& graph, const F& which) {
  for (Value* v : graph.values()) {
    const auto& shape = v->type().shape;
    if (!shape || std::ranges::none_of(*shape, which)) continue;
    ValueType type = v->type();
    for (Dim& d : *type.shape)
      if (which(d)) d.value.reset(), d.symbol.clear();
    v->set_type(std::move(type));
  }
  for (Node& n : graph.nodes()) n.for_each_subgraph([&](Graph& sub) { forget_dims(sub, which); });
}

}  // namespace

Status infer_node(Node& node) { return Session().infer(node); }
Status infer_graph(Graph& graph) { return Session().infer(graph); }
Status infer_graph_naming_dims(Graph& graph) { return Session().infer_naming(graph); }
void infer_strictly(Graph& graph, const TypeFault& fault) {
  // To onnx an extent below 0 is that number; to all others who see the graph it is unknown.
  [[maybe_unused]] const Status reported = Session(fault).infer(graph);
  forget_dims(graph, [](const Dim& d) { return d.value && *d.value < 0; });
}

void forget_invented_dims(Graph& graph) {
  forget_dims(graph, [](const Dim& d) { return is_invented(d.symbol); });
}

std::optional<std::vector<Dim>> symbolic_elements(const Value& value) {
  Session session;
  const auto dims = value.type().static_dims();
  const TensorShapeProto* elements = dims && dims->size() <= 1 ? session.elements(value) : nullptr;
  if (!elements || elements->dim_size() != (dims->empty() ? 1 : dims->front())) return std::nullopt;
  std::vector<Dim> out;
  for (const auto& d : elements->dim())
    out.push_back(d.has_dim_value() ? Dim::of(d.dim_value()) : Dim::named(d.dim_param()));
  return out;
}

std::optional<std::vector<int64_t>> known_elements(const Value& value) {
  const auto elements = symbolic_elements(value);
  if (!elements) return std::nullopt;
  std::vector<int64_t> out;
  for (const Dim& d : *elements) {
    if (!d.value) return std::nullopt;
    out.push_back(*d.value);
  }
  return out;
}

}  // namespace onnxtool
