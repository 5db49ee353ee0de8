// Advice about what exporters leave behind: training mode, frozen extents, nameless and dead nodes.
#include <algorithm>

#include "libopt/analysis/effects.h"
#include "libopt/check/family.h"

namespace onnxtool::check {
namespace {

// A constant boolean input, where it is known.
bool is_true(const Node& node, int input) {
  if (!node.has_input(input)) return false;
  const Tensor* t = node.input(input).constant();
  return t && t->count() == 1 && t->size_bytes() == 1 && t->values<uint8_t>()[0];
}

void check_training(const Node& node, Findings& out) {
  if (!node.domain().empty()) return;
  if (node.op_type() == "BatchNormalization") {
    const bool training = node.opset() >= 14 ? node.attr<int64_t>("training_mode", 0) != 0
                                             : node.num_outputs() > 1 && node.has_output(1);
    if (training)
      out.add(RuleId::kTrainingMode, node.describe(),
              "statistics come from the batch, not from training");
  }
  if (node.op_type() != "Dropout") return;
  const bool training = node.opset() >= 12
                            ? is_true(node, 2)
                            : node.opset() < 7 && node.attr<int64_t>("is_test", 0) == 0;
  if (training) out.add(RuleId::kTrainingMode, node.describe(), "values are dropped at random");
}

// The symbol of a graph input's first extent, which is what batches are.
bool is_batch(const Model& model, const std::string& symbol) {
  return !symbol.empty() && std::ranges::any_of(model.graph().inputs(), [&](const Value* v) {
    const auto& shape = v->type().shape;
    return v->type().is_tensor() && shape && !shape->empty() && shape->front().symbol == symbol;
  });
}

void check_frozen(const Node& node, Findings& out) {
  if (!node.is("Reshape") || !node.has_input(0) || !node.has_input(1)) return;
  const auto& from = node.input(0).type().shape;
  const Tensor* shape = node.input(1).constant();
  if (!from || from->empty() || from->front().value || !shape ||
      shape->dtype() != DataType::kInt64 || shape->count() == 0)
    return;
  if (!is_batch(node.graph().model(), from->front().symbol)) return;
  const std::vector<int64_t> to = shape->values<int64_t>();
  // With a -1 elsewhere the batch may be meant to go there: a head or window split, not a mistake.
  const bool absorbed =
      std::ranges::any_of(to, [](int64_t d) { return d == -1; }) && to.front() != 1;
  if (to.front() <= 0 || absorbed) return;
  out.add(RuleId::kFrozenBatch, node.describe(),
          "the shape " + format_dims(to) + " fixes the first extent, which is '" +
              from->front().symbol + "' in the input");
}

std::string several(size_t n, const std::string& what) {
  return std::to_string(n) + " " + what + (n == 1 ? "" : "s");
}

// Counted over the whole model; one finding each.
struct Counts {
  size_t unnamed = 0, dropout = 0, dead = 0;
  std::string first_unnamed, first_dropout, first_dead;
  static void count(size_t& n, std::string& first, const Node& node) {
    if (n++ == 0) first = node.describe();
  }
};

void walk(const Graph& graph, Counts& counts, std::unordered_map<std::string, size_t>& names,
          Findings& out) {
  for (Node& node : graph.nodes()) {
    check_training(node, out);
    check_frozen(node, out);
    if (node.name().empty())
      Counts::count(counts.unnamed, counts.first_unnamed, node);
    else
      ++names[node.name()];
    if (node.is("Dropout")) Counts::count(counts.dropout, counts.first_dropout, node);
    const bool read =
        std::ranges::any_of(node.outputs(), [](const Value* v) { return v && !v->unused(); });
    if (!read && !may_have_effects(node)) Counts::count(counts.dead, counts.first_dead, node);
    node.for_each_subgraph([&](Graph& g) { walk(g, counts, names, out); });
  }
}

}  // namespace

void check_exporter(const Model& model, Findings& out) {
  Counts counts;
  std::unordered_map<std::string, size_t> names;
  walk(model.graph(), counts, names, out);
  for (const Value* v : model.graph().inputs())
    if (v->unused() && !v->initializer())
      out.add(RuleId::kUnusedInput, "graph input '" + v->name() + "'", "is read by nothing");
  if (counts.unnamed)
    out.add(RuleId::kUnnamedNode, "",
            several(counts.unnamed, "node") + " without a name, first " + counts.first_unnamed);
  if (counts.dropout)
    out.add(RuleId::kDropoutLeft, "",
            several(counts.dropout, "Dropout node") + ", first " + counts.first_dropout);
  if (counts.dead)
    out.add(
        RuleId::kDeadNode, "",
        several(counts.dead, "node") + " whose results nobody reads, first " + counts.first_dead);
  size_t shared = 0;
  std::string example;  // the least, so that it does not depend on the map's order
  for (const auto& [name, count] : names)
    if (count > 1) {
      ++shared;
      if (example.empty() || name < example) example = name;
    }
  // The runtime's rule has named them.
  if (shared && !out.found(RuleId::kRuntimeNodeName))
    out.add(RuleId::kDuplicateNodeName, "",
            several(shared, "name") + " of more than one node, such as '" + example + "'");
}

}  // namespace onnxtool::check
