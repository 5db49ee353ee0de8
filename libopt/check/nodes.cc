// Findings about single nodes: the operator's schema, and what attributes must be in any case.
#include <algorithm>

#include "libopt/analysis/verify.h"
#include "libopt/check/family.h"

namespace onnxtool::check {
namespace {

using outline::Attribute;

constexpr RuleId rule_of(SchemaFault::Kind kind) {
  switch (kind) {
    case SchemaFault::Kind::kUnknownOperator: return RuleId::kUnknownOperator;
    case SchemaFault::Kind::kDeprecated: return RuleId::kDeprecatedOperator;
    case SchemaFault::Kind::kInputCount: return RuleId::kInputCount;
    case SchemaFault::Kind::kMissingInput: return RuleId::kMissingInput;
    case SchemaFault::Kind::kOutputCount: return RuleId::kOutputCount;
    case SchemaFault::Kind::kMissingOutput: return RuleId::kMissingOutput;
    case SchemaFault::Kind::kUnknownAttribute: return RuleId::kUnknownAttribute;
    case SchemaFault::Kind::kAttributeType: return RuleId::kAttributeType;
    case SchemaFault::Kind::kMissingAttribute: return RuleId::kMissingAttribute;
    case SchemaFault::Kind::kOther: break;
  }
  return RuleId::kOperatorRule;
}

// False where the attribute's own fields contradict each other.
bool check_attribute(const Attribute& a, const std::string& place, int64_t ir_version,
                     bool in_main_graph, Findings& out) {
  const std::string shown = "attribute '" + std::string(a.name) + "' ";
  if (a.name.empty())
    return out.add(RuleId::kMissingName, place, "an attribute has no name", a.offset), false;
  if (ir_version >= 2 && !a.type)
    return out.add(RuleId::kAttributeType, place, shown + "has no type", a.offset), false;
  if (a.type && (*a.type < 0 || *a.type > 14))
    return out.add(RuleId::kAttributeType, place,
                   shown + "has the unknown type " + std::to_string(*a.type), a.offset),
           false;
  if (a.fields.size() > 1)
    return out.add(RuleId::kAttributeValue, place, shown + "has several values", a.offset), false;
  if (a.type && !a.fields.empty() && static_cast<int64_t>(a.fields[0]) != *a.type)
    return out.add(RuleId::kAttributeType, place,
                   shown + "holds a value of another type than it declares", a.offset),
           false;
  if (!in_main_graph && a.has_ref && !a.fields.empty())
    return out.add(RuleId::kAttributeValue, place, shown + "has a value beside a reference",
                   a.offset),
           false;
  return true;
}

NodeHeader header_of(const outline::Node& node) {
  NodeHeader h{node.op_type, node.domain, node.inputs, node.outputs, {}};
  for (const Attribute& a : node.attributes) {
    const AttributeKind kind = a.type && *a.type >= 0 && *a.type <= 14
                                   ? static_cast<AttributeKind>(*a.type)
                                   : AttributeKind::kUndefined;
    h.attributes.push_back({a.name, kind, !a.fields.empty(), !a.ref.empty()});
  }
  return h;
}

}  // namespace

void check_node(const OutlineView& view, const outline::Node& node, const std::string& place,
                const OpsetMap& opsets, bool in_main_graph, Findings& out) {
  if (node.op_type.empty())
    return out.add(RuleId::kEmptyNode, place, "the node has no op_type", node.offset);
  if (node.inputs.empty() && node.outputs.empty())
    return out.add(RuleId::kEmptyNode, place, "the node has neither inputs nor outputs",
                   node.offset);
  bool sound = true;
  std::unordered_set<std::string_view> given;
  for (const Attribute& a : node.attributes) {
    sound &= check_attribute(a, place, view.model.ir_version.value_or(0), in_main_graph, out);
    if (!given.insert(a.name).second) {
      out.add(RuleId::kDuplicateAttribute, place,
              "attribute '" + std::string(a.name) + "' is given twice", a.offset);
      sound = false;
    }
  }
  auto opset = opsets.find(node.domain);
  if (opset == opsets.end() && node.domain.empty()) opset = opsets.find("ai.onnx");
  if (opset == opsets.end())
    return out.add(RuleId::kNoOpsetImport, place,
                   "domain '" + std::string(node.domain) + "' is not among the opset imports",
                   node.offset);
  if (!sound) return;  // the schema would say the same again
  for (SchemaFault& f : verify_node(header_of(node), static_cast<int>(opset->second)))
    out.add(rule_of(f.kind), place, std::move(f.message), node.offset, std::move(f.hint));
}

}  // namespace onnxtool::check
