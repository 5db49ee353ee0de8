// Findings about where the model shall run: versions, operators outside of the standard.
#include <algorithm>
#include <map>
#include <set>

#include "libopt/analysis/verify.h"
#include "libopt/check/family.h"

namespace onnxtool::check {
namespace {

bool is_allowed(const std::vector<std::string>& allowed, const outline::Node& node) {
  const std::string domain(node.domain), op = domain + ":" + std::string(node.op_type);
  return std::ranges::any_of(allowed, [&](const std::string& a) { return a == domain || a == op; });
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
    const int64_t limit = !r                                          ? 0
                          : o.domain.empty() || o.domain == "ai.onnx" ? r->opset
                          : o.domain == "ai.onnx.ml"                  ? r->ml_opset
                                                                      : 0;
    if (limit && o.version > limit)
      out.add(
          RuleId::kRuntimeOpset, "",
          shown + " is imported, " + std::string(r->name) + " supports " + std::to_string(limit));
  }
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
