// Two models side by side, and the constants of one.
#include <tbb/parallel_for.h>

#include <map>

#include "apps/extremes.h"
#include "apps/inspect_report.h"
#include "apps/inspect_walk.h"
#include "libopt/analysis/census.h"
#include "libopt/analysis/cost.h"
#include "libopt/analysis/statistics.h"
#include "libopt/ir/unread.h"
#include "libopt/rewrite/work.h"
#include "libopt/support/sha256.h"
#include "libopt/target/qdq_fusion.h"

namespace onnxtool {
namespace {

struct Figures {
  Census census;
  int64_t macs = 0, unknown_macs = 0, constant_bytes = 0, integer_operators = 0;
  ActivationMemory memory;
};

Figures figures_of(const Model& model, const Target& target) {
  Figures f;
  f.census = count(model);
  WorkCounter work;
  for_each_node(model.graph(), [&](const Node& n) {
    const auto macs = work.macs(n);
    f.macs = plus(f.macs, macs.value_or(0));
    f.unknown_macs += !macs;
  });
  for_each_constant(model.graph(), [&](const std::string&, const Tensor& t, const Value*) {
    f.constant_bytes = plus(f.constant_bytes, stored_bytes(t));
  });
  for (const auto& [op, nodes] : fuse_qdq(model, target).integer_operators)
    f.integer_operators += nodes;
  f.memory = activation_memory(model.graph());
  return f;
}

std::vector<Scalar> row(const std::string& what, int64_t before, int64_t after) {
  const Scalar change =
      before ? Scalar(100.0 * (static_cast<double>(after) / static_cast<double>(before) - 1))
             : Scalar();
  return {what, before, after, change};
}

}  // namespace

Section before_and_after(const Model& before, const Model& after, const Target& target) {
  const Figures a = figures_of(before, target), b = figures_of(after, target);
  Section s{"before_after", "Before and after", {}, {}, {}, false};
  const std::vector<Column> columns = {{"what", "", ""},
                                       {"before", "before", ""},
                                       {"after", "after", ""},
                                       {"change_percent", "change", "%"}};
  Table sums{"sums", "", columns, {}, 0};
  sums.rows = {row("nodes", a.census.nodes, b.census.nodes),
               row("parameters", a.census.parameters, b.census.parameters),
               row("bytes of constants", a.constant_bytes, b.constant_bytes),
               row("MACs", a.macs, b.macs),
               row("peak of activations, bytes", a.memory.peak_bytes, b.memory.peak_bytes),
               row("integer operators", a.integer_operators, b.integer_operators)};
  if (a.unknown_macs || b.unknown_macs)
    s.notes.push_back("MACs of layers with unknown extents are left out; settle them with --dim");
  std::map<std::string, std::pair<int64_t, int64_t>> by_op;
  for (const auto& [op, nodes] : a.census.by_operator) by_op[op].first = nodes;
  for (const auto& [op, nodes] : b.census.by_operator) by_op[op].second = nodes;
  Table ops{"operators", "operators whose number changed", columns, {}, 0};
  ops.columns[0].label = "operator";
  for (const auto& [op, nodes] : by_op)
    if (nodes.first != nodes.second) ops.rows.push_back(row(op, nodes.first, nodes.second));
  s.tables = {std::move(sums), std::move(ops)};
  return s;
}

Section constant_statistics(const Model& model, const InspectLimits& limits) {
  std::vector<std::pair<std::string, Tensor>> constants;
  for_each_constant(model.graph(), [&](const std::string& name, const Tensor& t, const Value*) {
    if (has_statistics(t.dtype())) constants.emplace_back(name, t);
  });
  Section s{"statistics", "Values of constants", {}, {}, {}, false};
  Table t{"constants",
          "",
          {{"name", "name", ""},
           {"type", "type", ""},
           {"min", "min", ""},
           {"max", "max", ""},
           {"mean", "mean", ""},
           {"std", "std", ""},
           {"zeros", "zeros", ""},
           {"nan", "NaN", ""},
           {"infinite", "infinite", ""},
           {"sha256", "sha256", ""}},
          {},
          limits.rows};
  t.rows.resize(constants.size());
  tbb::parallel_for(size_t{0}, constants.size(), [&](size_t i) {
    const auto& [constant, tensor] = constants[i];
    if (unread_data(tensor)) {
      t.rows[i].resize(t.columns.size());
      t.rows[i][0] = constant;
      t.rows[i][1] = std::string(name(tensor.dtype())) + format_dims(tensor.dims());
      return;
    }
    const TensorStatistics n = statistics_of(tensor);
    Sha256 digest;
    digest.add(tensor.bytes());
    const ExactExtremes extremes(tensor, n);
    const auto finite = [&](double v) { return n.finite ? Scalar(v) : Scalar(); };
    t.rows[i] = {constant,       std::string(name(tensor.dtype())) + format_dims(tensor.dims()),
                 extremes.min(), extremes.max(),
                 finite(n.mean), finite(n.std),
                 n.zeros,        n.nan,
                 n.infinite,     digest.hex()};
  });
  s.tables.push_back(std::move(t));
  return s;
}

}  // namespace onnxtool
