#include "libopt/analysis/verify.h"

#include <algorithm>

#include "libopt/analysis/seam_internal.h"
#include "libopt/analysis/tensor_text.h"

namespace onnxtool {
namespace {

using Kind = SchemaFault::Kind;
using Schema = onnx::OpSchema;

std::string counted(int low, int high) {
  if (low == high) return std::to_string(low);
  if (high >= 1000000) return "at least " + std::to_string(low);
  return std::to_string(low) + " to " + std::to_string(high);
}

// The formal parameter that stands for place i; nullptr behind the last.
const Schema::FormalParameter* formal(const std::vector<Schema::FormalParameter>& all, size_t i) {
  if (i < all.size()) return &all[i];
  return !all.empty() && all.back().GetOption() == Schema::Variadic ? &all.back() : nullptr;
}

class Verifier {
 public:
  Verifier(const NodeHeader& node, const Schema& schema) : node_(node), schema_(schema) {}

  std::vector<SchemaFault> run() {
    arguments(node_.inputs, schema_.inputs(), schema_.min_input(), schema_.max_input(), "input",
              Kind::kInputCount, Kind::kMissingInput);
    arguments(node_.outputs, schema_.outputs(), schema_.min_output(), schema_.max_output(),
              "output", Kind::kOutputCount, Kind::kMissingOutput);
    attributes();
    // What is left of onnx's own rules: counts that only some operators allow.
    if (faults_.empty()) {
      const Status status = seam::guarded("schema", [&] { schema_.Verify(stand_in()); });
      if (!status.ok()) add(Kind::kOther, status.error().message.substr(sizeof "schema: " - 1));
    }
    return std::move(faults_);
  }

 private:
  void add(Kind kind, std::string message, std::string hint = {}) {
    faults_.push_back({kind, std::move(message), std::move(hint)});
  }

  void arguments(std::span<const std::string_view> given,
                 const std::vector<Schema::FormalParameter>& formals, int low, int high,
                 const std::string& what, Kind count, Kind missing) {
    const int n = static_cast<int>(given.size());
    if (n < low || n > high)
      add(count, std::to_string(n) + " " + what + "s, expected " + counted(low, high));
    for (size_t i = 0; i < given.size(); ++i) {
      const auto* f = formal(formals, i);
      if (given[i].empty() && f && i < formals.size() && f->GetOption() == Schema::Single)
        add(missing,
            "required " + what + " " + std::to_string(i) + " ('" + f->GetName() + "') is left out");
    }
  }

  void attributes() {
    for (const AttributeHeader& a : node_.attributes) {
      const auto found = schema_.attributes().find(std::string(a.name));
      if (found == schema_.attributes().end()) {
        // These two operators take any.
        if (a.name.starts_with("__") || node_.op_type == "FlexAttention" ||
            node_.op_type == "LayerNormalization")
          continue;
        std::string known;
        for (const auto& [name, unused] : schema_.attributes())
          known += (known.empty() ? "" : ", ") + name;
        add(Kind::kUnknownAttribute,
            "attribute '" + std::string(a.name) + "' is not one of this operator's",
            known.empty() ? "it has none" : "it has " + known);
      } else if (static_cast<int>(a.kind) != static_cast<int>(found->second.type)) {
        add(Kind::kAttributeType, "attribute '" + std::string(a.name) + "' is of type " +
                                      attribute_kind_name(static_cast<int>(a.kind)) +
                                      ", expected " +
                                      attribute_kind_name(static_cast<int>(found->second.type)));
      }
    }
    for (const auto& [name, expected] : schema_.attributes())
      if (expected.required &&
          std::ranges::none_of(node_.attributes,
                               [&](const AttributeHeader& a) { return a.name == name; }))
        add(Kind::kMissingAttribute, "required attribute '" + name + "' is missing");
  }

  onnx::NodeProto stand_in() const {
    onnx::NodeProto proto;
    proto.set_op_type(std::string(node_.op_type));
    proto.set_domain(std::string(node_.domain));
    for (const std::string_view name : node_.inputs) proto.add_input(std::string(name));
    for (const std::string_view name : node_.outputs) proto.add_output(std::string(name));
    for (const AttributeHeader& a : node_.attributes) {
      auto& out = *proto.add_attribute();
      out.set_name(std::string(a.name));
      out.set_type(static_cast<onnx::AttributeProto::AttributeType>(a.kind));
      if (a.is_reference) out.set_ref_attr_name("outer");
      if (a.has_value) add_value(out);
    }
    return proto;
  }

  static void add_value(onnx::AttributeProto& a) {
    switch (a.type()) {
      case onnx::AttributeProto::TENSOR: a.mutable_t(); break;
      case onnx::AttributeProto::GRAPH: a.mutable_g(); break;
      case onnx::AttributeProto::SPARSE_TENSOR: a.mutable_sparse_tensor(); break;
      case onnx::AttributeProto::TYPE_PROTO: a.mutable_tp(); break;
      case onnx::AttributeProto::FLOATS: a.add_floats(0); break;
      case onnx::AttributeProto::INTS: a.add_ints(0); break;
      case onnx::AttributeProto::STRINGS: a.add_strings(""); break;
      case onnx::AttributeProto::TENSORS: a.add_tensors(); break;
      case onnx::AttributeProto::GRAPHS: a.add_graphs(); break;
      case onnx::AttributeProto::SPARSE_TENSORS: a.add_sparse_tensors(); break;
      case onnx::AttributeProto::TYPE_PROTOS: a.add_type_protos(); break;
      default: break;  // scalars count as given
    }
  }

  const NodeHeader& node_;
  const Schema& schema_;
  std::vector<SchemaFault> faults_;
};

}  // namespace

bool is_standard_domain(std::string_view domain) {
  return domain.empty() || domain == "ai.onnx" || domain == "ai.onnx.ml" ||
         domain == "ai.onnx.preview.training";
}

bool is_experimental(std::string_view op_type, std::string_view domain) {
  constexpr std::string_view kNames[] = {"ATen",
                                         "Affine",
                                         "ConstantFill",
                                         "Crop",
                                         "DynamicSlice",
                                         "GRUUnit",
                                         "GivenTensorFill",
                                         "ImageScaler",
                                         "ParametricSoftplus",
                                         "Scale",
                                         "ScaledTanh"};
  return (domain.empty() || domain == "ai.onnx") &&
         std::ranges::find(kNames, op_type) != std::end(kNames);
}

int newest_opset(std::string_view domain) {
  if (domain == "ai.onnx") domain = "";
  const auto& ranges = onnx::OpSchemaRegistry::DomainToVersionRange::Instance().Map();
  const auto found = ranges.find(std::string(domain));
  return found == ranges.end() ? 0 : found->second.second;
}

int newest_ir_version() { return onnx::IR_VERSION; }

std::vector<SchemaFault> verify_node(const NodeHeader& node, int opset) {
  if (is_experimental(node.op_type, node.domain)) return {};
  if (const Schema* schema = seam::standard_schema(node.op_type, node.domain, opset)) {
    if (schema->deprecated())
      return {{Kind::kDeprecated,
               "the operator is deprecated since opset " + std::to_string(schema->since_version()),
               {}}};
    return Verifier(node, *schema).run();
  }
  if (!is_standard_domain(node.domain)) return {};
  // It may come later, or have been dropped, or never have been.
  const Schema* newest =
      seam::standard_schema(node.op_type, node.domain, newest_opset(node.domain));
  std::string hint =
      newest ? "it is there from opset " + std::to_string(newest->since_version()) + " on"
             : "is it a custom operator whose domain was lost?";
  return {{Kind::kUnknownOperator, "opset " + std::to_string(opset) + " has no such operator",
           std::move(hint)}};
}

}  // namespace onnxtool
