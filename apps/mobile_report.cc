#include "apps/mobile_report.h"

#include <fmt/format.h>

#include <algorithm>

#include "apps/flags.h"
#include "libopt/ort/mobile.h"
#include "libopt/ort/prepare.h"

namespace onnxtool {
namespace {

std::set<std::string> stop_ops(const MobileFlags& flags) {
  if (flags.stop_option->count() == 0) return kNnapiStopOps;
  std::set<std::string> ops;
  for (size_t at = 0; at <= flags.nnapi_stop_ops.size();) {
    const size_t end = std::min(flags.nnapi_stop_ops.find(',', at), flags.nnapi_stop_ops.size());
    if (end > at) ops.insert(flags.nnapi_stop_ops.substr(at, end - at));
    at = end + 1;
  }
  return ops;
}

int64_t largest(const Partition& p) {
  size_t most = 0;
  for (const auto& part : p.parts) most = std::max(most, part.size());
  return static_cast<int64_t>(most);
}

std::vector<Scalar> row(std::string_view provider, const char* shapes, const MobilePartitions& p) {
  return {std::string(provider),        std::string(shapes),
          std::string(name(p.verdict)), int64_t{p.partition.taken},
          int64_t{p.partition.nodes},   static_cast<int64_t>(p.partition.parts.size()),
          largest(p.partition)};
}

Table verdicts(const std::vector<MobileUsability>& all) {
  Table t{"providers",
          "",
          {{"provider", "provider", ""},
           {"shapes", "shapes", ""},
           {"verdict", "worth a try", ""},
           {"supported", "takes", ""},
           {"nodes", "of nodes", ""},
           {"partitions", "partitions", ""},
           {"largest", "largest", ""}},
          {}};
  for (const MobileUsability& u : all) {
    t.rows.push_back(row(u.provider, "as they are", u.as_is));
    if (u.if_fixed) t.rows.push_back(row(u.provider, "if fixed", *u.if_fixed));
  }
  return t;
}

Table obstacles(const std::vector<MobileUsability>& all) {
  Table t{"obstacles",
          "Left to the CPU",
          {{"provider", "provider", ""},
           {"operator", "operator", ""},
           {"nodes", "nodes", ""},
           {"reason", "because of", ""}},
          {}};
  for (const MobileUsability& u : all)
    for (const auto& [key, nodes] : u.as_is.obstacles)
      t.rows.push_back(
          {std::string(u.provider), key.first, int64_t{nodes}, std::string(describe(key.second))});
  return t;
}

Table conditions(const std::vector<MobileUsability>& all) {
  Table t{
      "conditions",
      "Taken on conditions that are not checked",
      {{"provider", "provider", ""}, {"operator", "operator", ""}, {"condition", "condition", ""}},
      {}};
  for (const MobileUsability& u : all)
    for (const auto& [op, condition] : (u.if_fixed ? *u.if_fixed : u.as_is).conditions)
      t.rows.push_back({std::string(u.provider), op, condition});
  return t;
}

/// What to change, in the order of what it gains.
std::vector<std::string> advice(const Model& model, const std::vector<MobileUsability>& all) {
  std::vector<std::string> notes;
  std::string gained;
  for (const MobileUsability& u : all)
    if (u.if_fixed && u.if_fixed->verdict > u.as_is.verdict)
      gained += (gained.empty() ? "" : ", ") + std::string(u.provider);
  if (!gained.empty())
    notes.push_back(fmt::format(
        "fixed shapes of the inputs ({}) would help with {} (onnxtool optimize --input-shape)",
        fmt::join(dynamic_inputs(model), ", "), gained));
  for (const MobileUsability& u : all)
    for (const auto& [key, nodes] : u.as_is.obstacles)
      if (key.second == MobileObstacle::kVersion)
        notes.push_back(fmt::format(
            "{} takes {} of a newer opset only: raise it with onnxtool optimize --opset",
            u.provider, key.first));
  if (std::ranges::all_of(all,
                          [](const MobileUsability& u) { return u.best() == MobileVerdict::kNo; }))
    notes.push_back("the CPU provider will be fastest");
  if (all.front().as_is.partition.nodes_in_subgraphs > 0)
    notes.push_back(fmt::format("{} nodes stand in subgraphs, which not every provider enters",
                                all.front().as_is.partition.nodes_in_subgraphs));
  return notes;
}

}  // namespace

void add_mobile_flags(CLI::App& command, MobileFlags& flags, const std::string& group) {
  add_switch(
      command, flags.check,
      {"--check-mobile", "", "Say what NNAPI, CoreML and XNNPACK would take of the model", group});
  flags.stop_option = add_text(command, flags.nnapi_stop_ops,
                               {"--nnapi-stop-ops", "OPS",
                                "Operators, separated by commas, that NNAPI gets neither nor what "
                                "is behind them (default: NonMaxSuppression)",
                                group});
}

Status check_mobile_flags(const MobileFlags& flags) {
  if (flags.check || flags.stop_option->count() == 0) return {};
  return Error{ErrorCode::kUsage, "--nnapi-stop-ops without --check-mobile", "add --check-mobile"};
}

Section mobile_section(const Model& model, const MobileFlags& flags) {
  const std::unique_ptr<Model> copy = model.clone();
  Section s{"mobile", "Providers of phones", {}, {}, {}, false};
  if (const Status prepared = prepare_operators(*copy); !prepared.ok())
    s.notes.push_back("types are incomplete: " + prepared.error().message);
  const std::vector<MobileUsability> all = check_mobile(*copy, stop_ops(flags));
  for (std::string& note : advice(*copy, all)) s.notes.push_back(std::move(note));
  s.tables = {verdicts(all), obstacles(all), conditions(all)};
  std::erase_if(s.tables, [](const Table& t) { return t.rows.empty(); });
  return s;
}

}  // namespace onnxtool
