// Inference through calls of the model's functions: each body once for all calls that are alike.
#include <map>

#include "libopt/analysis/functions.h"
#include "libopt/analysis/type_inference.h"
#include "libopt/io/encode.h"

namespace onnxtool {
namespace {

// How deep functions may call one another; no exporter nests them so.
constexpr size_t kMaxCallDepth = 64;

}  // namespace

using onnx::TensorShapeProto;

int TypeInference::opset_of(const Node& node) const {
  if (calls_.empty()) return node.opset();
  for (const OpsetImport& o : calls_.back().function->opsets)
    if (o.domain == node.domain()) return static_cast<int>(o.version);
  return 0;
}

void TypeInference::bind_attributes(onnx::NodeProto& node) const {
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
class TypeInference::Body {
 public:
  Body(TypeInference& run, Graph& body) : run_(run) { collect(body); }
  Body(const Body&) = delete;
  Body& operator=(const Body&) = delete;
  ~Body() {
    for (auto& [value, type] : types_) {
      value->set_type(std::move(type));
      run_.elements_.erase(value);
    }
  }

 private:
  void collect(Graph& graph) {
    run_.expanded_ += graph.num_nodes();
    for (Value* v : graph.values()) {
      types_.emplace_back(v, v->type());
      run_.elements_.erase(v);
    }
    for (Node& n : graph.nodes()) n.for_each_subgraph([&](Graph& sub) { collect(sub); });
  }
  TypeInference& run_;
  std::vector<std::pair<Value*, ValueType>> types_;
};

void TypeInference::call(const Function& function, const Node& node,
                         onnx::InferenceContext& context) {
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
  if (found == made_.end()) {
    // Less is known then of calls that are all different. check() refuses such models before.
    if (!strict() && expanded_ > kMaxExpandedNodes) return;
    found = made_.emplace(key, infer_body(std::move(call), node)).first;
  }
  const Made& made = found->second;
  if (!made.fault.empty()) throw onnx::InferenceError(made.fault);
  for (size_t i = 0; i < made.types.size(); ++i) {
    *context.getOutputType(i) = made.types[i];
    if (made.elements[i] && node.has_output(static_cast<int>(i)))
      set_elements(node.output(static_cast<int>(i)), TensorShapeProto(*made.elements[i]));
  }
}

// All that inference of a body depends on, as bytes.
std::string TypeInference::key_of(const Call& call, const Node& node) {
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

TypeInference::Made TypeInference::infer_body(Call call, const Node& node) {
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

}  // namespace onnxtool
