#include "libopt/rewrite/near_misses.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "libopt/rewrite/driver.h"

namespace onnxtool {
namespace {

// More inputs than that say nothing about a near miss.
constexpr size_t kShownInputs = 4;

std::string describe(const Value& v) {
  std::string text = "'" + v.name() + "': " + format_type(v.type());
  if (v.constant())
    text += " constant";
  else if (v.producer())
    text += " from " + v.producer()->op_type();
  else if (v.initializer())
    text += " input with a default";
  else if (v.is_graph_input())
    text += " input";
  const size_t reads = v.uses().size();
  if (reads > 1) text += fmt::format(", read {} times", reads);
  if (v.is_graph_output()) text += ", an output";
  return text;
}

std::string inputs_of(const Node& node) {
  std::vector<std::string> parts;
  for (const Value* v : node.inputs()) {
    if (parts.size() == kShownInputs) {
      parts.push_back("...");
      break;
    }
    if (v) parts.push_back(describe(*v));
  }
  return fmt::format("{}", fmt::join(parts, "; "));
}

}  // namespace

std::vector<NearMiss> find_near_misses(Model& model, std::span<const PassInfo* const> passes,
                                       const PassContext& context, const WantedMiss& wanted) {
  std::map<std::string_view, size_t> place;
  for (size_t i = 0; i < passes.size(); ++i) place.emplace(passes[i]->name, i);
  std::vector<NearMiss> found;
  std::set<std::tuple<std::string_view, const Node*, std::string_view>> known;
  PassContext listening = context;
  listening.on_near_miss = [&](const PassInfo& pass, const Node& node, const char* reason) {
    // Every sweep offers every node again.
    if (!wanted(pass, node) || !known.emplace(pass.name, &node, reason).second) return;
    found.push_back({pass.name, node.describe(), reason, inputs_of(node)});
  };
  run_passes(model, passes, listening);
  std::ranges::stable_sort(found, {}, [&](const NearMiss& n) { return place[n.pass]; });
  return found;
}

}  // namespace onnxtool
