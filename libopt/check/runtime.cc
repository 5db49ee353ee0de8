// Findings about where the model shall run: versions, operators outside of the standard.
#include <algorithm>
#include <map>
#include <set>
#include <unordered_set>

#include "libopt/analysis/verify.h"
#include "libopt/check/family.h"

namespace onnxtool::check {
namespace {

bool is_allowed(const std::vector<std::string>& allowed, const outline::Node& node) {
  const std::string domain(node.domain), op = domain + ":" + std::string(node.op_type);
  return std::ranges::any_of(allowed, [&](const std::string& a) { return a == domain || a == op; });
}

// Declarations of what no node of the graph has are not looked at.
void check_declared_types(const outline::Graph& graph, const std::string& place, Findings& out) {
  std::unordered_set<std::string_view> names;
  for (const outline::Node& n : graph.nodes)
    for (const auto* list : {&n.inputs, &n.outputs}) names.insert(list->begin(), list->end());
  for (const auto* list : {&graph.inputs, &graph.outputs, &graph.value_info})
    for (const outline::ValueInfo& v : *list)
      if (v.type && v.type->kind == outline::Type::Case::kTensor && v.type->element == 0 &&
          (list != &graph.value_info || names.contains(v.name)))
        out.add(RuleId::kRuntimeType, place,
                "value '" + std::string(v.name) + "' is declared without an element type",
                v.offset);
  for (size_t i = 0; i < graph.nodes.size(); ++i)
    for (const outline::Attribute& a : graph.nodes[i].attributes)
      for (const auto& g : a.graphs)
        check_declared_types(*g, describe(graph.nodes[i], i) + ": " + std::string(a.name), out);
}

}  // namespace

void check_runtime(const OutlineView& view, Findings& out) {
  const RuntimeRelease* r = view.options.runtime;
  for (const outline::OpsetImport& o : view.model.opsets) {
    const int64_t known = newest_opset(o.domain);
    const std::string shown = "opset " + std::to_string(o.version) +
                              (o.domain.empty() ? "" : " of " + std::string(o.domain));
    if (known && o.version > known)
      out.add(RuleId::kNewOpset, "",
              shown + " is imported, the newest that is known is " + std::to_string(known));
    const auto limit = r ? r->newest(o.domain) : std::nullopt;
    if (limit && o.version > *limit)
      out.add(
          RuleId::kRuntimeOpset, "",
          shown + " is imported, " + std::string(r->name) + " supports " + std::to_string(*limit));
  }
  if (r && view.model.graph) check_declared_types(*view.model.graph, "", out);
  const int64_t ir = view.model.ir_version.value_or(0);
  if (r && ir > r->ir_version)
    out.add(RuleId::kRuntimeIrVersion, "",
            "ir_version is " + std::to_string(ir) + ", " + std::string(r->name) + " supports " +
                std::to_string(r->ir_version));
}

void check_operators(const OutlineView& view, Findings& out) {
  const auto& allowed = view.options.allowed_ops;
  std::map<std::string, size_t> custom;
  std::set<std::pair<std::string_view, std::string_view>> functions;
  for (const outline::Function& f : view.model.functions) functions.emplace(f.domain, f.name);
  const auto visit = [&](const outline::Node& n, const std::string& place, int) {
    if (is_experimental(n.op_type, n.domain))
      out.add(RuleId::kExperimentalOperator, place, "no opset ever had this operator", n.offset);
    if (is_standard_domain(n.domain)) return;
    if (functions.contains({n.domain, n.op_type})) return;
    if (allowed.empty())
      ++custom[std::string(n.domain) + "." + std::string(n.op_type)];
    else if (!is_allowed(allowed, n))
      out.add(RuleId::kOperatorNotAllowed, place,
              "operators of '" + std::string(n.domain) + "' are not allowed", n.offset);
  };
  if (view.model.graph) for_each_node(view.model.graph->nodes, visit);
  for (const outline::Function& f : view.model.functions) for_each_node(f.nodes, visit);
  if (custom.empty()) return;
  std::string list;
  for (const auto& [op, count] : custom)
    list += (list.empty() ? "" : ", ") + std::to_string(count) + " " + op;
  out.add(RuleId::kCustomOperator, "", "outside of the standard: " + list);
}

}  // namespace onnxtool::check
