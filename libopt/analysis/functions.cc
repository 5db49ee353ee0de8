#include "libopt/analysis/functions.h"

#include <set>
#include <string>

#include "libopt/analysis/seam_internal.h"
#include "libopt/io/decode.h"
#include "libopt/io/encode.h"
#include "onnx/defs/function.h"

namespace onnxtool {
namespace {

// Which definitions will do: all, or those whose operators are the same in the node's opset.
enum class Wanted { kAny, kSameInOpset };

// The body for this node, in the newest form that its opset has; false: there is none.
bool build(const onnx::OpSchema& schema, const Node& node, Wanted wanted,
           onnx::FunctionProto& out) {
  if (schema.HasFunction()) {
    const auto* fixed = schema.GetFunction(node.opset(), wanted == Wanted::kSameInOpset);
    if (fixed) out = *fixed;
    if (fixed || wanted == Wanted::kSameInOpset) return fixed;
  }
  if (!schema.HasContextDependentFunction()) return false;
  std::vector<onnx::TypeProto> types(static_cast<size_t>(node.num_inputs()));
  for (int i = 0; i < node.num_inputs(); ++i)
    if (node.has_input(i)) seam::to_proto(node.input(i).type(), types[static_cast<size_t>(i)]);
  // Whole: a body may take in the nodes of an attribute's graph.
  onnx::NodeProto proto;
  const bool parsed = proto.ParseFromString(encode_node(node).flatten());
  ONNXTOOL_CHECK(parsed);
  const onnx::FunctionBodyBuildContextImpl context(proto, types);
  return schema.BuildContextDependentFunction(context, out, node.opset());
}

// The body for a node without the last results may not make them, and lists them all the same.
void drop_unmade_outputs(onnx::FunctionProto& f) {
  std::set<std::string> made(f.input().begin(), f.input().end());
  for (const auto& n : f.node()) made.insert(n.output().begin(), n.output().end());
  while (f.output_size() > 0 && !made.contains(f.output(f.output_size() - 1)))
    f.mutable_output()->RemoveLast();
}

class Bytes final : public Storage {
 public:
  explicit Bytes(std::string s) : text(std::move(s)) {}
  std::string text;
};

Result<std::unique_ptr<Model>> definition(const Node& node, Wanted wanted) {
  const auto* schema = seam::standard_schema(node.op_type(), node.domain(), node.opset());
  if (!schema) return std::unique_ptr<Model>();
  onnx::ModelProto proto;
  bool found = false;
  ONNXTOOL_TRY(seam::guarded(
      node.describe(), [&] { found = build(*schema, node, wanted, *proto.add_functions()); }));
  if (!found) return std::unique_ptr<Model>();
  drop_unmade_outputs(*proto.mutable_functions(0));
  // The same name could be that of another function; nobody calls this one by it.
  proto.mutable_functions(0)->set_name(node.op_type());
  proto.mutable_functions(0)->set_domain(node.domain());
  // The function lists its attributes; the operator knows their defaults.
  for (const auto& [name, attribute] : schema->attributes())
    if (attribute.default_value.type() != onnx::AttributeProto::UNDEFINED)
      *proto.mutable_functions(0)->add_attribute_proto() = attribute.default_value;
  proto.set_ir_version(onnx::Version::IR_VERSION);
  proto.mutable_graph()->set_name("function");
  if (wanted == Wanted::kSameInOpset)
    for (auto& import : *proto.mutable_functions(0)->mutable_opset_import())
      if (import.domain() == node.domain()) import.set_version(node.opset());
  for (const auto& import : proto.functions(0).opset_import()) *proto.add_opset_import() = import;
  const auto storage = std::make_shared<const Bytes>(proto.SerializeAsString());
  return decode_model({std::as_bytes(std::span(storage->text)), storage, nullptr});
}

}  // namespace

const Function* called_function(const Node& node) {
  for (const Function& f : node.graph().model().functions)
    if (f.name == node.op_type() && f.domain == node.domain() && f.overload == node.overload())
      return &f;
  return nullptr;
}

Result<std::unique_ptr<Model>> standard_function(const Node& node) {
  return definition(node, Wanted::kAny);
}

Result<std::unique_ptr<Model>> runtime_function(const Node& node) {
  return definition(node, Wanted::kSameInOpset);
}

}  // namespace onnxtool
