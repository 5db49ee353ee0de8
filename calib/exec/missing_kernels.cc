#include "calib/exec/missing_kernels.h"

#include <fmt/ranges.h>

#include <vector>

#include "calib/exec/attention_groups.h"
#include "calib/exec/native_ops.h"
#include "libopt/ir/operator_name.h"
#include "libopt/ir/selector.h"

namespace onnxtool {
namespace {

// Every kernel that a model's nodes may ask for.
template <class F>
void for_each_kernel(std::span<const KernelSet* const> sets, F&& f) {
  for (const KernelSet* set : sets)
    for (const KernelInfo* k : set->kernels)
      if (k->domain != kPlanDomain) f(*k);
}

// The element types of every kernel of the operator; empty: it has none, or one that takes any.
std::set<std::string> types_of(std::string_view op, std::string_view domain,
                               std::span<const KernelSet* const> sets) {
  std::set<std::string> types;
  for_each_kernel(sets, [&](const KernelInfo& k) {
    if (k.op != op || k.domain != domain) return;
    for (const DataType t : k.types) types.insert(std::string(name(t)));
  });
  return types;
}

std::vector<std::string> all_names(std::span<const KernelSet* const> sets) {
  std::set<std::string> names;
  for_each_kernel(sets, [&](const KernelInfo& k) { names.insert(operator_name(k.op, k.domain)); });
  for (const NativeOperator& n : native_operators()) names.insert(operator_name(n.op, n.domain));
  return {names.begin(), names.end()};
}

}  // namespace

void MissingKernels::add(const Node& node) {
  std::string s = operator_name(node);
  s += " (opset " + std::to_string(node.opset());
  if (node.num_inputs() > 0 && node.has_input(0) && node.input(0).type().is_tensor())
    s += ", " + std::string(name(node.input(0).type().dtype));
  const std::string place = node.describe();
  first_nodes_.emplace(s + ")", place.substr(0, place.rfind(" (")));
  operators_.emplace(node.domain(), node.op_type());
}

Error MissingKernels::error(std::span<const KernelSet* const> sets) const {
  std::vector<std::string> missing, hints;
  for (const auto& [op, node] : first_nodes_) missing.push_back(op + " of " + node);
  for (const auto& [domain, op] : operators_) {
    const std::string whole = operator_name(op, domain);
    const std::set<std::string> types = types_of(op, domain, sets);
    const std::vector<std::string> close =
        types.empty() ? close_candidates(whole, all_names(sets)) : std::vector<std::string>();
    if (!types.empty())
      hints.push_back(fmt::format("{} runs on {}", whole, fmt::join(types, ", ")));
    else if (!close.empty())
      hints.push_back(fmt::format("{} is close to {}", whole, fmt::join(close, ", ")));
  }
  if (hints.empty())
    hints.push_back("a model runs only with all of its operators: replace these by standard ones");
  return {ErrorCode::kUnsupported, fmt::format("no kernel for {}", fmt::join(missing, ", ")),
          fmt::format("{}", fmt::join(hints, "; "))};
}

}  // namespace onnxtool
