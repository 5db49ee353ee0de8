#include "apps/diff_layers.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "libopt/analysis/align.h"
#include "libopt/ir/code_type.h"

namespace onnxtool {
namespace {

struct Layers {
  std::vector<LayerPair> pairs;
  std::vector<AlignedValues::By> by;
  int64_t candidates = 0;  // floating results of the reference
};

Layers align(const Graph& reference, const Graph& test) {
  Layers out;
  // Results whose type is not known may be floats.
  const auto may_be_floats = [](const Value& v) {
    return is_float(v.type().dtype) || v.type().dtype == DataType::kUndefined;
  };
  for (const Node& n : reference.nodes())
    for (const Value* v : n.outputs())
      out.candidates += v && !v->constant() && is_float(v->type().dtype);
  for (const AlignedValues& a : align_values(reference, test)) {
    if (a.reference->constant() || a.test->constant() || !may_be_floats(*a.reference)) continue;
    const CodeParams codes = code_params(*a.test);
    const bool coded = is_8bit(a.test->type().dtype);
    if (!may_be_floats(*a.test) && !(coded && codes.scale > 0)) continue;
    out.pairs.push_back({a.reference, a.test, codes});
    out.by.push_back(a.by);
  }
  return out;
}

// A layer that could not be compared is no divergence.
double rank(double db) { return std::isnan(db) ? INFINITY : db; }

std::optional<size_t> first_below(const std::vector<LayerError>& errors, double limit) {
  for (size_t i = 0; i < errors.size(); ++i)
    if (rank(errors[i].sqnr_db) < limit) return i;
  return std::nullopt;
}

std::vector<size_t> worst_first(const std::vector<LayerError>& errors) {
  std::vector<size_t> order(errors.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return rank(errors[a].sqnr_db) < rank(errors[b].sqnr_db);
  });
  return order;
}

std::string operator_of(const LayerPair& p) {
  return p.reference->producer() ? p.reference->producer()->op_type() : "";
}

std::string describe(const LayerPair& p, const LayerError& e) {
  return fmt::format("'{}' ({}), {}", e.name, operator_of(p), format_with_unit(e.sqnr_db, "dB"));
}

// Along the layers; one without any error is a gap.
Curve error_curve(const std::vector<LayerError>& own, const std::vector<LayerError>& so_far) {
  Curve curve{"SQNR by layer", "dB", {}, {}};
  for (const LayerError& e : own.empty() ? so_far : own) curve.places.push_back(e.name);
  const auto add = [&](const std::string& label, const std::vector<LayerError>& errors) {
    if (errors.empty()) return;
    curve.series.push_back({label, {}});
    for (const LayerError& e : errors) curve.series.back().values.push_back(e.sqnr_db);
  };
  add("own", own);
  add("so far", so_far);
  return curve;
}

}  // namespace

double layer_limit(const LayerRequest& r) {
  if (r.limit) return *r.limit;
  if (r.reference == ModelKind::kQuantized || r.test == ModelKind::kQuantized) return 20;
  return r.reference == ModelKind::kHalf || r.test == ModelKind::kHalf ? 40 : 60;
}

Result<LayersFound> layers_section(const Graph& reference, const Graph& test,
                                   const InputPairing& inputs, const SampleSource& source,
                                   const RunOptions& run, const LayerRequest& request) {
  Layers layers = align(reference, test);
  if (layers.pairs.empty())
    return Error{ErrorCode::kMismatch, "--per-layer: no layers of the two models correspond",
                 "layers are found by names, then by structure: are these versions of one model?"};
  const bool local = request.mode != "cumulative", cumulative = request.mode != "local";
  std::vector<LayerError> so_far, own;
  LayerOptions options;
  options.test_kernel_sets = request.test_kernel_sets;
  if (cumulative) {
    ONNXTOOL_ASSIGN(so_far,
                    compare_layers(reference, test, layers.pairs, &inputs, source, run, options));
  }
  if (local) {
    options.mode = LayerMode::kLocal;
    ONNXTOOL_ASSIGN(own,
                    compare_layers(reference, test, layers.pairs, &inputs, source, run, options));
  }
  const double limit = layer_limit(request);
  const auto& judged = local ? own : so_far;
  Section s{"layers",
            local ? "Layers, each fed the reference's values"
                  : "Layers, with the error that has grown up to there",
            {},
            {},
            {},
            false};
  const auto structural = static_cast<int64_t>(
      std::count(layers.by.begin(), layers.by.end(), AlignedValues::By::kStructure));
  const auto count = static_cast<int64_t>(layers.pairs.size());
  s.fields.push_back(
      {"compared", "layers compared",
       fmt::format("{} of {} ({} by name, {} by structure)", count,
                   std::max(layers.candidates, count), count - structural, structural),
       "", Audience::kPeople});
  if (const int64_t left = layers.candidates - count; left > 0)
    s.notes.push_back(
        fmt::format("{} of {} layers of the reference were not compared: no value of the test "
                    "model was found that stands for them",
                    left, layers.candidates));
  s.fields.push_back({"by_name", "", count - structural, "", Audience::kPrograms});
  s.fields.push_back({"by_structure", "", structural, "", Audience::kPrograms});
  s.fields.push_back(
      {"reference_layers", "", std::max(layers.candidates, count), "", Audience::kPrograms});
  const auto first = first_below(judged, limit);
  s.fields.push_back({"first_divergence", "first divergence",
                      first ? Scalar(describe(layers.pairs[*first], judged[*first]))
                            : Scalar(fmt::format("none below {:g} dB", limit)),
                      "", Audience::kPeople});
  s.fields.push_back({"first_divergence", "", first ? Scalar(judged[*first].name) : Scalar(), "",
                      Audience::kPrograms});
  const auto order = worst_first(judged);
  s.fields.push_back({"worst", "largest error", describe(layers.pairs[order[0]], judged[order[0]]),
                      "", Audience::kPeople});
  s.fields.push_back({"worst", "", judged[order[0]].name, "", Audience::kPrograms});
  s.fields.push_back({"limit_db", "", limit, "", Audience::kPrograms});
  Table people{
      "worst_layers", "largest errors", {{"layer", "layer", ""}, {"op", "op", ""}}, {}, 10};
  if (local) people.columns.push_back({"local_db", "own", "dB"});
  if (cumulative) people.columns.push_back({"cumulative_db", "so far", "dB"});
  people.columns.push_back({"max_abs", "max abs error", ""});
  Table programs{"layers", "", people.columns, {}, 0, false};
  for (const char* key : {"test_value", "by", "elements", "non_finite"})
    programs.columns.push_back({key, "", ""});
  const auto row = [&](size_t i) {
    std::vector<Scalar> r = {judged[i].name, operator_of(layers.pairs[i])};
    if (local) r.push_back(own[i].sqnr_db);
    if (cumulative) r.push_back(so_far[i].sqnr_db);
    r.push_back(judged[i].max_abs);
    return r;
  };
  // People need not see what is equal.
  for (const size_t i : order)
    if (rank(judged[i].sqnr_db) < INFINITY) people.rows.push_back(row(i));
  for (size_t i = 0; i < judged.size(); ++i) {
    programs.rows.push_back(row(i));
    programs.rows.back().insert(
        programs.rows.back().end(),
        {layers.pairs[i].test->name(),
         std::string(layers.by[i] == AlignedValues::By::kName        ? "name"
                     : layers.by[i] == AlignedValues::By::kStructure ? "structure"
                                                                     : "provenance"),
         static_cast<int64_t>(judged[i].compared), static_cast<int64_t>(judged[i].non_finite)});
  }
  s.tables.push_back(std::move(people));
  s.tables.push_back(std::move(programs));
  s.figures.push_back(error_curve(own, so_far));
  return LayersFound{std::move(s), std::move(layers.pairs), first};
}

}  // namespace onnxtool
