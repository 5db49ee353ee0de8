// Findings about the model's header: versions, imports, metadata.
#include <limits>
#include <unordered_map>

#include "libopt/analysis/verify.h"
#include "libopt/check/family.h"

namespace onnxtool::check {

void check_header(const OutlineView& view, Findings& out) {
  const outline::Model& m = view.model;
  const int64_t ir = m.ir_version.value_or(0);
  if (ir == 0) out.add(RuleId::kMissingIrVersion, "", "ir_version is missing or 0");
  if (ir > newest_ir_version())
    out.add(RuleId::kUnknownIrVersion, "",
            "ir_version is " + std::to_string(ir) + ", the newest that is known is " +
                std::to_string(newest_ir_version()));
  if (!m.graph) out.add(RuleId::kMissingGraph, "", "the model has no graph");
  if (ir >= 3 && m.opsets.empty())
    out.add(RuleId::kOpsetImport, "",
            "opset_import is empty, which IR " + std::to_string(ir) + " forbids");
  if (ir > 0 && ir < 3 && !m.opsets.empty())
    out.add(RuleId::kOpsetImport, "",
            "opset_import is given, which IR " + std::to_string(ir) + " does not have");
  for (const outline::OpsetImport& o : m.opsets)
    if (o.version < std::numeric_limits<int>::min() || o.version > std::numeric_limits<int>::max())
      out.add(RuleId::kOpsetImport, "",
              "domain '" + std::string(o.domain) + "' is imported at the impossible version " +
                  std::to_string(o.version));
  std::unordered_map<std::string_view, int64_t> imported;
  for (const outline::OpsetImport& o : m.opsets) {
    const auto [it, fresh] = imported.emplace(o.domain == "ai.onnx" ? "" : o.domain, o.version);
    if (fresh) continue;
    out.add(RuleId::kDuplicateOpsetImport, "",
            "domain '" + std::string(o.domain) + "' is imported at version " +
                std::to_string(it->second) + " and again at " + std::to_string(o.version) +
                ", which counts");
    it->second = o.version;
  }
  std::unordered_set<std::string_view> keys;
  for (const auto& [key, value] : m.metadata)
    if (!keys.insert(key).second)
      out.add(RuleId::kDuplicateMetadata, "",
              "metadata key '" + std::string(key) + "' is given twice");
}

}  // namespace onnxtool::check
