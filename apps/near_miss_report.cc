#include "apps/near_miss_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "apps/flags.h"
#include "passes/pass.h"

namespace onnxtool {

Result<Explanation> Explanation::parse(bool wanted, const std::string& what) {
  Explanation e;
  e.wanted_ = wanted;
  if (what.empty()) return e;
  if (what.starts_with("op:") || what.starts_with("name:")) {
    ONNXTOOL_ASSIGN(e.nodes_, Selector::parse({what}));
    return e;
  }
  e.pass_ = find_pass(what);
  if (e.pass_) return e;
  std::vector<std::string> known;
  for (const PassInfo* p : all_passes()) known.emplace_back(p->name);
  const std::string hint = did_you_mean(what, known);
  return Error{
      ErrorCode::kUsage, fmt::format("--explain: there is no pass '{}'", what),
      hint.empty() ? "give a pass (docs/passes.md lists them), op:TYPE or name:GLOB" : hint};
}

Section Explanation::section(Model& model, std::span<const PassInfo* const> passes,
                             const PassContext& context) const {
  const auto asked = [this](const PassInfo& pass, const Node& node) {
    return (!pass_ || &pass == pass_) && (nodes_.empty() || nodes_.matches(node));
  };
  const std::vector<NearMiss> misses = find_near_misses(model, passes, context, asked);
  const bool everything = !pass_ && nodes_.empty();
  Section s{"near_misses", "Near misses", {}, {}, {}, false};
  Table by_reason{"by_reason",
                  "",
                  {{"pass", "pass", ""}, {"reason", "reason", ""}, {"nodes", "nodes", ""}},
                  {},
                  0,
                  /*for_people=*/everything};
  Table all{"nodes",
            "",
            {{"pass", "pass", ""},
             {"node", "node", ""},
             {"reason", "reason", ""},
             {"inputs", "inputs", ""}},
            {},
            0,
            /*for_people=*/!everything};
  std::map<std::pair<std::string, std::string>, int64_t> counts;
  for (const NearMiss& m : misses) {
    ++counts[{std::string(m.pass), m.reason}];
    all.rows.push_back({std::string(m.pass), m.node, m.reason, m.found});
  }
  std::vector<std::pair<std::pair<std::string, std::string>, int64_t>> ranked(counts.begin(),
                                                                              counts.end());
  std::ranges::stable_sort(ranked, std::greater(), [](const auto& r) { return r.second; });
  for (auto& [key, count] : ranked) by_reason.rows.push_back({key.first, key.second, count});
  if (misses.empty())
    s.notes.push_back("no pass came close to anything more");
  else if (everything)
    s.notes.push_back("--explain=PASS, --explain=op:TYPE or --explain=name:GLOB shows the nodes");
  if (!misses.empty()) s.tables = {std::move(by_reason), std::move(all)};
  return s;
}

}  // namespace onnxtool
