#include "calib/compare/gates.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "calib/compare/floating.h"
#include "libopt/ir/selector.h"

namespace onnxtool {
namespace {

constexpr std::string_view kAccuracyDrop = "accuracy-drop";

// Operators whose name alone says that codes are computed with.
bool is_quantized(const Node& n) {
  constexpr std::string_view kOps[] = {"QuantizeLinear",
                                       "DequantizeLinear",
                                       "DynamicQuantizeLinear",
                                       "ConvInteger",
                                       "MatMulInteger",
                                       "MatMulNBits",
                                       "QGemm",
                                       "QAttention",
                                       "MatMulIntegerToFloat",
                                       "DynamicQuantizeMatMul",
                                       "DynamicQuantizeLSTM",
                                       "MatMulBnb4",
                                       "GatherBlockQuantized"};
  const std::string& op = n.op_type();
  return op.starts_with("QLinear") ||
         std::find(std::begin(kOps), std::end(kOps), op) != std::end(kOps);
}

struct Census {
  bool quantized = false;
  uint64_t half_weights = 0, wide_weights = 0;  // elements
  uint64_t half_results = 0, wide_results = 0;  // nodes' outputs

  void add(const Graph& graph) {
    const auto count = [](DataType t, uint64_t n, uint64_t& half, uint64_t& wide) {
      if (is_half(t))
        half += n;
      else if (is_float(t))
        wide += n;
    };
    for (const Value* v : graph.initializers())
      count(v->initializer()->dtype(), static_cast<uint64_t>(v->initializer()->count()),
            half_weights, wide_weights);
    for (const Node& n : graph.nodes()) {
      quantized |= is_quantized(n);
      const Tensor* constant =
          n.is("Constant") && n.has_output(0) ? n.output(0).constant() : nullptr;
      if (constant)
        count(constant->dtype(), static_cast<uint64_t>(constant->count()), half_weights,
              wide_weights);
      else if (n.num_outputs() && n.has_output(0))
        count(n.output(0).type().dtype, 1, half_results, wide_results);
      n.for_each_subgraph([this](Graph& g) { add(g); });
    }
  }
};

std::vector<std::string> metric_names() {
  std::vector<std::string> out{std::string(kAccuracyDrop)};
  for (const Metric m : all_metrics()) out.emplace_back(info(m).name);
  return out;
}

std::string number(double v) {
  char buffer[32];
  const auto [end, error] = std::to_chars(buffer, buffer + sizeof buffer, v);
  return {buffer, end};
}

// The limits that can make a difference, both included.
std::pair<double, double> bounds_of(const Gate& g) {
  constexpr double kInf = std::numeric_limits<double>::infinity();
  if (!g.metric) return {-100, 100};  // points may be gained
  const MetricInfo& m = info(*g.metric);
  if (*g.metric == Metric::kCosine) return {-1, 1};
  if (m.unit == "share") return {0, 1};
  if (m.unit == "dB") return {-kInf, kInf};
  return {0, kInf};
}

Status check_limit(const Gate& g, const std::string& text) {
  const auto [lowest, highest] = bounds_of(g);
  if (g.limit >= lowest && g.limit <= highest) return {};
  const bool share = g.metric && info(*g.metric).unit == "share";
  const std::string range = std::isinf(highest)
                                ? "at least " + number(lowest)
                                : "from " + number(lowest) + " to " + number(highest);
  return Error{ErrorCode::kUsage,
               "--gate " + text + ": the limit is " + number(g.limit) + ", expected " + range,
               share && g.limit > 1 && g.limit <= 100
                   ? "it is a share of the whole: write " + number(g.limit / 100)
                   : ""};
}

// By type alone: whether a metric can have a value.
bool is_defined(Metric metric, DataType type) {
  if (metric == Metric::kMismatches || metric == Metric::kOutside) return true;
  if (metric == Metric::kMaxAbs) return type != DataType::kString;
  return is_any_float(type);
}

Status check_gate(const Gate& g, const std::vector<OutputInfo>& outputs) {
  if (g.output.empty()) return {};
  const std::string text = "--gate " + g.output + ":" + g.text() + ": ";
  std::vector<std::string> names;
  for (const OutputInfo& o : outputs) {
    names.push_back(o.name);
    if (o.name != g.output) continue;
    if (o.dtype == DataType::kUndefined || is_defined(*g.metric, o.dtype)) return {};
    return Error{ErrorCode::kUsage,
                 text + "output '" + g.output + "' is " + std::string(name(o.dtype)) +
                     ", for which there is no " + std::string(info(*g.metric).name),
                 "integers have max-abs and mismatch, strings mismatch"};
  }
  constexpr size_t kShown = 10;
  std::string list;
  for (size_t i = 0; i < std::min(names.size(), kShown); ++i)
    list += (i ? ", '" : "'") + names[i] + "'";
  if (names.size() > kShown) list += " and " + std::to_string(names.size() - kShown) + " more";
  const auto close = close_candidates(g.output, names);
  return Error{ErrorCode::kUsage, text + "there is no output '" + g.output + "'",
               (close.empty() ? "" : "did you mean '" + close[0] + "'? ") +
                   (list.empty() ? "there are no outputs" : "outputs are " + list)};
}

class Judge {
 public:
  Judge(const ModelComparison& comparison, const GateRules& rules,
        const std::vector<DataType>& types)
      : c_(comparison), rules_(rules), types_(types) {}

  Result<std::vector<GateResult>> run() {
    bool by_accuracy = false;
    for (const Gate& g : rules_.given) {
      if (g.metric) continue;
      by_accuracy = true;
      out_.push_back({g, "", false, c_.accuracy.drop(), c_.accuracy.judge_drop(g.limit)});
    }
    std::vector<bool> used(rules_.given.size(), false);
    for (size_t i = 0; i < c_.outputs.size(); ++i) {
      // Accuracy stands for the scores, but NaN and other shapes are no matter of right answers.
      bool judged = by_accuracy && i == 0 && !c_.outputs[i].second.settled();
      bool by_band = false;
      for (size_t k = 0; k < rules_.given.size(); ++k) {
        if (!is_for(rules_.given[k], i)) continue;
        judge_output(rules_.given[k], i, false);
        judged = used[k] = true;
        by_band |= rules_.given[k].metric == Metric::kOutside;
      }
      if (!judged)
        judge_output(default_gate(types_[i], rules_.reference, rules_.test, rules_.band_given), i,
                     true);
      else if (rules_.band_given && !by_band && is_any_float(types_[i]))
        judge_output({"", Metric::kOutside, 0}, i, false);
    }
    for (size_t k = 0; k < used.size(); ++k)
      if (const Gate& g = rules_.given[k];
          g.metric && g.output.empty() && !used[k] && !c_.outputs.empty())
        return Error{ErrorCode::kUsage,
                     "--gate " + g.text() + ": no output has " + std::string(info(*g.metric).name),
                     "it would judge nothing"};
    return std::move(out_);
  }

 private:
  const std::string& name_of(size_t i) const { return c_.outputs[i].first; }

  // A gate without an output is for all that have its metric, and for those of which nothing is
  // known because nothing was compared.
  bool is_for(const Gate& g, size_t i) const {
    if (!g.metric) return false;
    if (!g.output.empty()) return g.output == name_of(i);
    const OutputMetrics& m = c_.outputs[i].second;
    return is_defined(*g.metric, types_[i]) && (m.value(*g.metric) || !m.total().all.any());
  }

  void judge_output(const Gate& g, size_t i, bool by_default) {
    const OutputMetrics& m = c_.outputs[i].second;
    out_.push_back({g, name_of(i), by_default, m.value(*g.metric), m.judge(*g.metric, g.limit)});
  }

  const ModelComparison& c_;
  const GateRules& rules_;
  const std::vector<DataType>& types_;
  std::vector<GateResult> out_;
};

}  // namespace

std::string_view name(ModelKind kind) {
  return kind == ModelKind::kFloat ? "float" : kind == ModelKind::kHalf ? "float16" : "int8";
}

ModelKind kind_of(const Model& model) {
  Census c;
  c.add(model.graph());
  for (const Function& f : model.functions) c.add(*f.body);
  if (c.quantized) return ModelKind::kQuantized;
  const bool weights = c.half_weights + c.wide_weights > 0;
  return (weights ? c.half_weights > c.wide_weights : c.half_results > c.wide_results)
             ? ModelKind::kHalf
             : ModelKind::kFloat;
}

std::string Gate::text() const {
  return std::string(metric ? info(*metric).name : kAccuracyDrop) + "=" + number(limit);
}

Result<Gate> parse_gate(const std::string& text) {
  const auto bad = [&](const std::string& what, const std::string& hint) {
    return Error{ErrorCode::kUsage, "--gate " + text + ": " + what, hint};
  };
  const size_t equals = text.rfind('=');
  const std::string form = "write [OUTPUT:]METRIC=LIMIT, as in sqnr=30";
  if (equals == std::string::npos || equals == 0)
    return bad("expected [OUTPUT:]METRIC=LIMIT", form);
  Gate gate;
  const char *from = text.data() + equals + 1, *to = text.data() + text.size();
  const auto [end, error] = std::from_chars(from, to, gate.limit);
  if (error != std::errc() || end != to || !std::isfinite(gate.limit))
    return bad("'" + std::string(from, to) + "' is no number", form);
  const std::string left = text.substr(0, equals);
  const size_t colon = left.rfind(':');
  const std::string metric = colon == std::string::npos ? left : left.substr(colon + 1);
  if (colon != std::string::npos) gate.output = left.substr(0, colon);
  if (metric == kAccuracyDrop) {
    if (colon != std::string::npos)
      return bad("accuracy is of the model, not of an output", "write accuracy-drop=POINTS");
    ONNXTOOL_TRY(check_limit(gate, text));
    return gate;
  }
  gate.metric = find_metric(metric);
  if (gate.metric) {
    ONNXTOOL_TRY(check_limit(gate, text));
    return gate;
  }
  std::string known, close;
  for (const std::string& n : metric_names()) known += (known.empty() ? "" : ", ") + n;
  for (const std::string& n : close_candidates(metric, metric_names()))
    close += (close.empty() ? "did you mean '" : "' or '") + n;
  return bad("no metric '" + metric + "'", close.empty() ? "known: " + known : close + "'?");
}

Status check_gates(const std::vector<Gate>& gates, const std::vector<OutputInfo>& outputs) {
  for (const Gate& g : gates) ONNXTOOL_TRY(check_gate(g, outputs));
  return {};
}

Band default_band(ModelKind a, ModelKind b) {
  return a == ModelKind::kHalf || b == ModelKind::kHalf ? Band{1e-3, 1e-2} : Band{};
}

Gate default_gate(DataType type, ModelKind a, ModelKind b, bool band_given) {
  if (type == DataType::kBool || type == DataType::kString) return {"", Metric::kMismatches, 0};
  if (!is_any_float(type)) return {"", Metric::kMaxAbs, 1};
  const bool quantized = a == ModelKind::kQuantized || b == ModelKind::kQuantized;
  if (quantized && !band_given) return {"", Metric::kSqnr, 20};
  // A step of theirs is far more than a band for floats allows.
  if (bits_of(type) <= 8 && !band_given) return {"", Metric::kUlp, 1};
  return {"", Metric::kOutside, 0};
}

Result<std::vector<GateResult>> judge(const ModelComparison& comparison, const GateRules& rules,
                                      const std::vector<DataType>& types) {
  return Judge(comparison, rules, types).run();
}

std::string expectation(const Gate& g) {
  if (!g.metric) return "at most " + number(g.limit) + " points";
  const MetricInfo& m = info(*g.metric);
  const std::string unit = m.unit.empty() || m.unit == "share" ? "" : " " + std::string(m.unit);
  if (*g.metric == Metric::kGain) return "1 within " + number(g.limit);
  return (m.higher_is_better ? "at least " : "at most ") + number(g.limit) + unit;
}

}  // namespace onnxtool
