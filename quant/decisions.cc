#include "quant/decisions.h"

namespace onnxtool {

std::string counted(const std::map<std::string, int>& counts, const std::string& otherwise) {
  std::string list;
  for (const auto& [reason, count] : counts)
    list += (list.empty() ? "" : "; ") + std::to_string(count) + " x " + reason;
  return list.empty() ? otherwise : list;
}

Error nothing_quantized(const std::string& what, const std::vector<NodeDecision>& decisions,
                        const std::string& otherwise, std::string hint) {
  std::map<std::string, int> counts;
  for (const NodeDecision& d : decisions) ++counts[d.node->op_type() + ": " + d.reason];
  return {ErrorCode::kNegative, what + ": " + counted(counts, otherwise), std::move(hint)};
}

}  // namespace onnxtool
