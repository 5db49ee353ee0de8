#include "apps/quantize_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "quant/weight_plan.h"

namespace onnxtool {
namespace {

// Below this an output has an error of a third of its values and more.
constexpr double kPoorSqnrDb = 10;

}  // namespace

Section model_section(const std::string& path, const Model& original, const QuantizeMethod& method,
                      const SavedFiles* saved, const std::string& output) {
  Section s{"model", "Model", {}, {}, {}, false};
  const int64_t before = bytes_on_disk(original, path);
  s.fields.push_back({"input", "input", path, ""});
  if (saved) s.fields.push_back({"output", "output", output, ""});
  if (saved && !saved->data_path.empty())
    s.fields.push_back({"external_data", "external data", saved->data_path, ""});
  if (before) s.fields.push_back({"input_bytes", "size before", before, "bytes"});
  if (saved) {
    const auto after = static_cast<int64_t>(saved->model_bytes + saved->data_bytes);
    s.fields.push_back({"output_bytes", "size after", after, "bytes"});
    if (before)
      s.fields.push_back({"output_percent", "relative size",
                          100 * static_cast<double>(after) / static_cast<double>(before), "%"});
  }
  // People see one line, programs two numbers.
  const auto changed = [&](const std::string& key, const std::string& label, auto before,
                           auto after) {
    s.fields.push_back(
        {key, label,
         before == after ? fmt::format("{}", after) : fmt::format("{} -> {}", before, after), "",
         Audience::kPeople});
    s.fields.push_back(
        {key + "_before", "", static_cast<int64_t>(before), "", Audience::kPrograms});
    s.fields.push_back({key + "_after", "", static_cast<int64_t>(after), "", Audience::kPrograms});
  };
  const Preparation& p = method.preparation();
  changed("opset", "opset", p.opset_before, p.opset_after);
  changed("ir_version", "IR version", p.ir_before, p.ir_after);
  changed("nodes", "nodes after folding", p.nodes_before, p.nodes_after);
  s.notes = method.preparation_notes();
  return s;
}

NodeTables node_tables(const std::vector<NodeDecision>& decisions) {
  NodeTables out;
  std::map<std::string, int64_t> floats;
  out.nodes = {"nodes",
               "",
               {{"node", "node", ""},
                {"op", "op", ""},
                {"integer", "integer", ""},
                {"kernel", "kernel", ""},
                {"reason", "reason", ""}},
               {},
               0};
  for (const NodeDecision& d : decisions) {
    ++(d.integer ? out.quantized : out.in_float);
    if (!d.integer) ++floats[d.node->op_type() + ": " + d.reason];
    out.nodes.rows.push_back(
        {d.node->name().empty() && d.node->num_outputs() && d.node->has_output(0)
             ? d.node->output(0).name()
             : d.node->name(),
         d.node->op_type(), d.integer, std::string(d.kernel), std::string(d.reason)});
  }
  out.nodes.for_people = false;
  out.why = {"float_reasons",
             "in float because",
             {{"count", "nodes", ""}, {"reason", "operator and reason", ""}},
             {},
             12};
  std::vector<std::pair<int64_t, std::string>> ranked;
  for (const auto& [reason, count] : floats) ranked.emplace_back(-count, reason);
  std::sort(ranked.begin(), ranked.end());
  for (const auto& [count, reason] : ranked) out.why.rows.push_back({-count, reason});
  return out;
}

Section static_section(const Quantizer& q, const Quantizer::Output* out) {
  Section s{"quantization", "Quantization", {}, {}, {}, false};
  NodeTables tables = node_tables(out ? out->decisions : q.placement().decisions);
  s.fields.push_back({"integer_nodes", "nodes on integers", tables.quantized, ""});
  s.fields.push_back({"float_nodes", "nodes in float", tables.in_float, ""});
  if (out) {
    std::string predicted;
    for (const auto& [op, count] : out->emitted.predicted.integer_operators)
      predicted += fmt::format("{}{} {}", predicted.empty() ? "" : ", ", count, op);
    predicted +=
        fmt::format("{}{} QuantizeLinear, {} DequantizeLinear", predicted.empty() ? "" : ", ",
                    out->emitted.predicted.quantize, out->emitted.predicted.dequantize);
    s.fields.push_back({"predicted_graph", "predicted graph", predicted, "", Audience::kPeople});
    s.fields.push_back(
        {"calibrator", "calibrator",
         q.has_given_ranges() ? "none: ranges are given" : std::string(name(out->calibrator)), ""});
    Table trials{"trials",
                 "calibrators tried",
                 {{"calibrator", "calibrator", ""}, {"sqnr_db", "SQNR", "dB"}},
                 {},
                 0};
    for (const CalibratorTrial& t : out->trials)
      trials.rows.push_back({std::string(name(t.calibrator)), t.sqnr_db});
    if (!trials.rows.empty()) s.tables.push_back(std::move(trials));
    Table counts{"predicted", "", {{"op", "operator", ""}, {"count", "count", ""}}, {}, 0};
    for (const auto& [op, count] : out->emitted.predicted.integer_operators)
      counts.rows.push_back({op, int64_t{count}});
    counts.rows.push_back(
        {std::string("QuantizeLinear"), int64_t{out->emitted.predicted.quantize}});
    counts.rows.push_back(
        {std::string("DequantizeLinear"), int64_t{out->emitted.predicted.dequantize}});
    counts.for_people = false;  // they have the line above
    s.tables.push_back(std::move(counts));
    s.notes = out->emitted.notes;
  } else if (const PairReport pairs =
                 expected_pairs(q.placement(), q.options(), q.prepared().opset(""));
             pairs.layers > 0) {
    s.notes.push_back(pairs.text());
  }
  s.tables.push_back(std::move(tables.why));
  s.tables.push_back(std::move(tables.nodes));
  if (out) {
    Table tensors{"tensors",
                  "",
                  {{"tensor", "tensor", ""},
                   {"min", "min", ""},
                   {"max", "max", ""},
                   {"scale", "scale", ""},
                   {"zero_point", "zero point", ""},
                   {"expected_sqnr_db", "expected SQNR", "dB"}},
                  {},
                  0};
    tensors.for_people = false;
    for (const CalibratedTensor& t : out->tensors) {
      const bool known = !std::isnan(t.expected_sqnr_db);
      tensors.rows.push_back({t.name, t.range.min, t.range.max, static_cast<double>(t.params.scale),
                              int64_t{t.params.zero_point},
                              known ? Scalar(t.expected_sqnr_db) : Scalar()});
    }
    s.tables.push_back(std::move(tensors));
  }
  return s;
}

Section accuracy_section(const ModelComparison& c, const std::string& data, bool labelled) {
  Section s{"accuracy", "Accuracy against the float model", {}, {}, {}, false};
  s.fields.push_back({"data", "compared on", fmt::format("{} samples of {}", c.samples, data), ""});
  if (labelled && c.accuracy.images()) {
    const auto n = static_cast<double>(c.accuracy.images());
    s.fields.push_back({"float_accuracy_percent", "float accuracy",
                        100 * static_cast<double>(c.accuracy.reference_correct()) / n, "%"});
    s.fields.push_back({"int8_accuracy_percent", "int8 accuracy",
                        100 * static_cast<double>(c.accuracy.test_correct()) / n, "%"});
    s.fields.push_back({"lost", "images lost", static_cast<int64_t>(c.accuracy.lost().size()), ""});
    s.fields.push_back({"won", "images won", static_cast<int64_t>(c.accuracy.won().size()), ""});
  }
  Table outputs{"outputs",
                "outputs",
                {{"output", "output", ""},
                 {"sqnr_db", "SQNR", "dB"},
                 {"worst_sample_db", "worst sample", "dB"},
                 {"max_abs", "max abs error", ""},
                 {"cosine", "cosine", ""},
                 {"agreement_percent", "same top-1", "%"}},
                {},
                20};
  const auto scalar = [](std::optional<double> v) { return v ? Scalar(*v) : Scalar(); };
  for (const auto& [output, m] : c.outputs) {
    const auto agreement = m.value(Metric::kArgmax);
    outputs.rows.push_back({output, scalar(m.value(Metric::kSqnr)),
                            scalar(m.value(Metric::kSqnrMin)), scalar(m.value(Metric::kMaxAbs)),
                            scalar(m.value(Metric::kCosine)),
                            agreement ? Scalar(100 * *agreement) : Scalar()});
    if (const auto sqnr = m.value(Metric::kSqnr); sqnr && *sqnr < kPoorSqnrDb)
      s.notes.push_back(fmt::format(
          "warning: output '{}' is at {:.2f} dB: little is left of the float model's values; "
          "--exclude leaves the layers with the largest error in float",
          output, *sqnr));
  }
  s.tables.push_back(std::move(outputs));
  return s;
}

Section layers_section(std::vector<LayerError> sorted, int64_t samples) {
  Section s{"layers", "Layers with the largest error", {}, {}, {}, false};
  Table t{"layers",
          fmt::format("SQNR so far, on {} samples", samples),
          {{"tensor", "tensor", ""}, {"sqnr_db", "SQNR", "dB"}},
          {},
          5};
  // A layer that nothing is known of (NaN) comes last.
  const auto rank = [](const LayerError& l) {
    return std::isnan(l.sqnr_db) ? std::numeric_limits<double>::max() : l.sqnr_db;
  };
  std::stable_sort(sorted.begin(), sorted.end(),
                   [&](const LayerError& a, const LayerError& b) { return rank(a) < rank(b); });
  for (const LayerError& l : sorted) t.rows.push_back({l.name, l.sqnr_db});
  s.tables.push_back(std::move(t));
  return s;
}

}  // namespace onnxtool
