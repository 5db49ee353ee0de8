#include "apps/optimize_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "apps/inspect_walk.h"
#include "apps/models.h"
#include "apps/verification.h"
#include "libopt/analysis/cost.h"
#include "libopt/rewrite/work.h"

namespace onnxtool {

GraphCost graph_cost(const Graph& graph) {
  GraphCost cost;
  WorkCounter work;
  for (const Node& n : graph.nodes()) {
    const auto macs = work.macs(n);
    cost.macs = plus(cost.macs, macs.value_or(0));
    cost.unknown += !macs;
  }
  const ActivationMemory memory = activation_memory(graph);
  cost.peak_bytes = memory.peak_bytes;
  cost.unknown += memory.unknown;
  return cost;
}

Section model_section(const std::string& input, const OptimizeBefore& before, const Model& after,
                      const SavedFiles* saved, const std::string& output) {
  Section s{"model", "Model", {}, {}, {}, false};
  s.fields.push_back({"input", "input", input, ""});
  if (saved) s.fields.push_back({"output", "output", output, ""});
  if (saved && !saved->data_path.empty())
    s.fields.push_back({"external_data", "external data", saved->data_path, ""});
  const auto changed = [&](const std::string& key, const std::string& label, int64_t was,
                           int64_t is, const std::string& unit = "") {
    const auto text = [](int64_t v) { return format_scalar(v, ""); };
    s.fields.push_back({key, label, was == is ? text(is) : text(was) + " -> " + text(is), unit,
                        Audience::kPeople});
    s.fields.push_back({key + "_before", "", was, "", Audience::kPrograms});
    s.fields.push_back({key + "_after", "", is, "", Audience::kPrograms});
  };
  const Census census = count(after);
  changed("nodes", "nodes", before.census.nodes, census.nodes);
  if (before.census.subgraph_nodes)
    changed("subgraph_nodes", "of them in subgraphs", before.census.subgraph_nodes,
            census.subgraph_nodes);
  changed("parameters", "parameters", before.census.parameters, census.parameters);
  if (saved)
    changed("bytes", "size", before.bytes,
            static_cast<int64_t>(saved->model_bytes + saved->data_bytes), "bytes");
  const GraphCost cost = graph_cost(after.graph());
  // Where extents are open on either side the sums say nothing beside each other.
  if (before.cost.unknown == 0 && cost.unknown == 0) {
    if (before.cost.macs) changed("macs", "MACs", before.cost.macs, cost.macs);
    changed("peak_bytes", "peak of activations", before.cost.peak_bytes, cost.peak_bytes, "bytes");
  }
  changed("opset", "opset", before.opset, after.opset(""));
  changed("ir_version", "IR version", before.ir_version, after.ir_version);

  Table ops{"operators",
            "nodes by operator, where they changed",
            {{"op", "operator", ""}, {"before", "before", ""}, {"after", "after", ""}},
            {},
            0};
  std::map<std::string, std::pair<int64_t, int64_t>> counts;
  for (const auto& [op, n] : before.census.by_operator) counts[op].first = n;
  for (const auto& [op, n] : census.by_operator) counts[op].second = n;
  Table all{"all_operators", "", ops.columns, {}, 0, false};
  for (const auto& [op, n] : counts) {
    all.rows.push_back({op, n.first, n.second});
    if (n.first != n.second) ops.rows.push_back(all.rows.back());
  }
  if (!ops.rows.empty()) s.tables.push_back(std::move(ops));
  s.tables.push_back(std::move(all));
  return s;
}

namespace {

// A pass may stand in the pipeline at several places.
std::vector<PassReport> by_pass(const std::vector<PassReport>& reports) {
  std::vector<PassReport> out;
  for (const PassReport& r : reports) {
    const auto known = std::ranges::find(out, r.pass, &PassReport::pass);
    if (known == out.end()) {
      out.push_back(r);
      continue;
    }
    known->fired += r.fired;
    known->time_ms += r.time_ms;
  }
  return out;
}

}  // namespace

Section passes_section(const std::vector<PassReport>& reports, const std::vector<Breach>& dropped) {
  Section s{"passes", "Passes", {}, {}, {}, false};
  const std::vector<PassReport> passes = by_pass(reports);
  Table t{"passes", "", {{"pass", "pass", ""}, {"fired", "fired", ""}}, {}, 0};
  for (const PassReport& p : passes)
    if (p.fired) t.rows.push_back({std::string(p.pass), int64_t{p.fired}});
  if (t.rows.empty())
    s.notes.push_back("nothing to do: no pass found anything");
  else
    s.tables.push_back(std::move(t));
  for (const Breach& d : dropped)
    s.notes.push_back(fmt::format("{} was left out: {}{}", d.pass,
                                  d.node.empty() ? "" : "at " + d.node + " ", d.difference));
  return s;
}

Finding breach_finding(const Breach& breach, const std::string& model) {
  if (breach.pass.empty())
    return {"not-equal", "error",
            "the model converted to another opset computes something else: " + breach.difference,
            model, "nothing was written; leave out --opset, and please report this model"};
  return {"not-equal", "error",
          fmt::format("{} at {} changes what the model computes: {}", breach.pass, breach.node,
                      breach.difference),
          model,
          fmt::format("nothing was written; leave the pass out with --disable {}, and please "
                      "report this model",
                      breach.pass)};
}

Finding unverified_finding(int64_t nodes, const std::string& model) {
  Error e = unverified_error(nodes);
  return {"unverified", "error", std::move(e.message), model, std::move(e.hint)};
}

Section timing_by_pass(const Progress& progress, const std::vector<PassReport>& passes) {
  Section s = timing_section(progress);
  Table t{"passes", "", {{"pass", "pass", ""}, {"time_ms", "time", "ms"}}, {}, 0, false};
  for (const PassReport& p : by_pass(passes)) t.rows.push_back({std::string(p.pass), p.time_ms});
  s.tables.push_back(std::move(t));
  return s;
}

}  // namespace onnxtool
