#include "apps/quantize_accuracy.h"

#include <fmt/format.h>

#include <algorithm>

namespace onnxtool {
namespace {

std::string with_unit(double value, const AccuracyTarget& t) {
  return fmt::format("{:.4g}{}{}", value, t.unit().empty() ? "" : " ", t.unit());
}

Finding missed(const AccuracyTarget& t, double value, const std::string& what) {
  return {"accuracy-target-missed", "error",
          fmt::format("{} is {}, the target is {}", t.name(), with_unit(value, t),
                      with_unit(t.limit, t)),
          "", what};
}

Section search_section(const AccuracySearch& s) {
  Section out{"accuracy_target", "Accuracy target", {}, {}, {}, false};
  const std::string unit(s.target.unit());
  out.fields.push_back({"metric", "metric", std::string(s.target.name()), ""});
  out.fields.push_back({"limit", "target", s.target.limit, unit});
  out.fields.push_back({"met", "met", s.met, ""});
  out.fields.push_back({"before", "all layers on integers", s.before, unit});
  out.fields.push_back({"after", "reached", s.after, unit});
  out.fields.push_back(
      {"layers_in_float", "layers put back", static_cast<int64_t>(s.in_float.size()), ""});
  out.fields.push_back({"runs", "runs of one sample", s.runs, ""});
  out.fields.push_back({"budget", "at most", s.budget, ""});
  if (!s.met) out.fields.push_back({"cut_off", "ended by that", s.cut_off, ""});
  Table rungs{"rungs",
              "before any layer goes back to float",
              {{"setting", "setting", ""},
               {"from", "from", ""},
               {"to", "to", ""},
               {"samples", "samples", ""},
               {"before", "before", unit},
               {"after", "after", unit},
               {"kept", "kept", ""},
               {"layers", "layers", ""}},
              {},
              0};
  Table improved{"improved_layers",
                 "layers that alone got it, by the error that each made without it",
                 {{"setting", "setting", ""},
                  {"layer", "layer", ""},
                  {"op", "op", ""},
                  {"sqnr_db", "SQNR", "dB"}},
                 {},
                 20};
  for (const AccuracyRung& r : s.rungs) {
    rungs.rows.push_back({r.setting, r.from, r.to, r.samples, r.before, r.after, r.kept,
                          r.layers.empty() ? std::string("all") : std::to_string(r.layers.size())});
    for (const RankedLayer& l : r.layers)
      improved.rows.push_back({r.setting, l.layer, l.op, l.sqnr_db});
  }
  if (!rungs.rows.empty()) out.tables.push_back(std::move(rungs));
  if (!improved.rows.empty()) out.tables.push_back(std::move(improved));
  Table layers{"layers",
               "left in float, by the error that each makes on integers",
               {{"layer", "layer", ""}, {"op", "op", ""}, {"sqnr_db", "SQNR", "dB"}},
               {},
               20};
  for (const RankedLayer& l : s.in_float) layers.rows.push_back({l.layer, l.op, l.sqnr_db});
  if (!layers.rows.empty()) out.tables.push_back(std::move(layers));
  Table trials{"trials",
               "",
               {{"layers_in_float", "layers in float", ""},
                {"samples", "samples", ""},
                {"value", "value", unit}},
               {},
               0};
  for (const AccuracyTrial& t : s.trials)
    trials.rows.push_back({t.layers_in_float, t.samples, t.value});
  trials.for_people = false;
  out.tables.push_back(std::move(trials));
  return out;
}

Section correction_section(const Quantizer::Correction& c) {
  Section s{"bias_correction", "Bias correction", {}, {}, {}, false};
  s.fields.push_back({"kept", "kept", c.kept, ""});
  s.fields.push_back({"layers", "layers", c.layers, ""});
  s.fields.push_back({"samples", "samples", c.samples, ""});
  s.fields.push_back({"before_db", "SQNR before", c.before_db, "dB"});
  s.fields.push_back({"after_db", "SQNR after", c.after_db, "dB"});
  return s;
}

Section rounding_section(const Quantizer::Rerounding& r) {
  Section s{"adaround", "AdaRound", {}, {}, {}, false};
  s.fields.push_back({"kept", "kept", r.kept, ""});
  s.fields.push_back({"layers", "layers", static_cast<int64_t>(r.layers.size()), ""});
  s.fields.push_back({"samples", "samples", r.samples, ""});
  s.fields.push_back({"before_db", "SQNR before", r.before_db, "dB"});
  s.fields.push_back({"after_db", "SQNR after", r.after_db, "dB"});
  Table t{"layers",
          "outputs of layers, of the weights' rounding alone",
          {{"result", "layer's result", ""},
           {"nearest_db", "to nearest", "dB"},
           {"chosen_db", "chosen", "dB"}},
          {},
          5};
  std::vector<std::pair<std::string, const RoundedWeights*>> sorted;
  for (const auto& [result, w] : r.layers) sorted.emplace_back(result, &w);
  std::ranges::stable_sort(sorted, {}, [](const auto& l) { return l.second->nearest_db; });
  for (const auto& [result, w] : sorted) t.rows.push_back({result, w->nearest_db, w->chosen_db});
  if (!t.rows.empty()) s.tables.push_back(std::move(t));
  return s;
}

// Of a layer by a name that the given model knows too; preparation may have renamed it.
std::string override_of(const RankedLayer& layer, const Model& original, const std::string& wish) {
  std::string name = original.graph().find(layer.result) ? layer.result : layer.layer;
  const bool by_tensor = name == layer.result;
  // Globs have no escapes: any one character stands for a star.
  std::ranges::replace(name, '*', '?');
  return (by_tensor ? "tensor:" : "name:") + name + ":" + wish;
}

}  // namespace

Result<std::optional<AccuracyTarget>> accuracy_target(const QuantizeFlags& o) {
  std::optional<AccuracyTarget> none;
  if (o.accuracy_target.empty()) return none;
  ONNXTOOL_ASSIGN(const AccuracyTarget target, parse_accuracy_target(o.accuracy_target));
  if (o.verify == "off")
    return Error{ErrorCode::kUsage, "--accuracy-target asks for what --verify off leaves out",
                 "leave out one of them"};
  if (!o.dry_run && !data_given(o) && o.eval.empty())
    return Error{ErrorCode::kUsage, "--accuracy-target needs samples to judge the result on",
                 "add --calib PATH or --eval PATH"};
  if (target.kind == AccuracyTarget::Kind::kDrop && o.eval.empty())
    return Error{ErrorCode::kUsage, "--accuracy-target drop needs labelled samples",
                 "add --eval PATH with class directories or --labels; sqnr and kl need no labels"};
  return std::optional(target);
}

Status QuantizeAccuracy::open() {
  ONNXTOOL_ASSIGN(target_, accuracy_target(o_));
  return {};
}

Status QuantizeAccuracy::improve(Quantizer& quantizer, Quantizer::Output& out,
                                 const QuantizeContext& c, const Remake& remake,
                                 bool recalibrates) {
  const SampleSource* judged = c.eval ? c.eval : c.calibration;
  const char* flag = target_ && !judged                     ? "--accuracy-target"
                     : o_.bias_correction && !c.calibration ? "--bias-correction"
                     : o_.adaround && !c.calibration        ? "--adaround"
                                                            : nullptr;
  if (flag)
    return Error{ErrorCode::kUsage, std::string(flag) + " needs samples", "add --calib PATH"};
  if (o_.adaround) {
    c.progress.stage("round weights");
    ONNXTOOL_ASSIGN(rerounding_, quantizer.round_weights(out, *c.calibration, c.run));
  }
  if (o_.bias_correction) {
    c.progress.stage("correct biases");
    ONNXTOOL_ASSIGN(correction_, quantizer.correct_biases(out, *c.calibration, c.run));
  }
  if (!target_) return {};
  if (target_->kind == AccuracyTarget::Kind::kDrop && !judged->has_labels())
    return Error{
        ErrorCode::kUsage,
        "--accuracy-target drop needs labels, and the samples of " + o_.eval + " have none",
        "use class directories or --labels FILE; sqnr and kl need no labels"};
  c.progress.stage("reach the target");
  ONNXTOOL_ASSIGN(search_,
                  reach_accuracy(quantizer, out, *target_,
                                 {c.original.graph(), *judged,
                                  c.calibration ? c.calibration->size() : judged->size(), c.run,
                                  rerounding_ || correction_ ? Remake() : remake, recalibrates}));
  return {};
}

std::optional<Finding> QuantizeAccuracy::unmet() const {
  if (!search_ || search_->met) return std::nullopt;
  return missed(*target_, search_->after,
                search_->cut_off
                    ? "nothing was written; the search ended with its budget, which grows with the "
                      "samples of --calib: give more of them, allow more loss, or leave the layers "
                      "with the largest error in float with --exclude"
                    : "nothing was written; allow more loss, give more samples with --calib, or "
                      "leave the layers with the largest error in float with --exclude");
}

std::vector<Section> QuantizeAccuracy::sections() const {
  std::vector<Section> out;
  if (rerounding_) out.push_back(rounding_section(*rerounding_));
  if (correction_) out.push_back(correction_section(*correction_));
  if (search_) out.push_back(search_section(*search_));
  return out;
}

std::vector<Setting> QuantizeAccuracy::decided(const Model& original) const {
  std::vector<Setting> out;
  if (!search_) return out;
  out.push_back({"accuracy-target", {}});
  Setting overrides{"override", {}, false, true};
  for (const AccuracyRung& r : search_->rungs) {
    if (!r.kept) continue;
    for (const RankedLayer& l : r.layers)
      overrides.values.push_back(override_of(l, original, r.setting + "=" + r.to));
    if (!r.layers.empty()) continue;
    if (r.setting == "weights") out.push_back({"per-tensor", {}});
    if (r.setting == "activation-type") out.push_back({"activation-type", {r.to}});
  }
  for (const RankedLayer& l : search_->in_float)
    overrides.values.push_back(override_of(l, original, "type=float"));
  if (!overrides.values.empty()) out.push_back(std::move(overrides));
  return out;
}

std::optional<Finding> target_missed(const QuantizeFlags& flags, const ModelComparison& compared) {
  if (flags.accuracy_target.empty()) return std::nullopt;
  const auto target = parse_accuracy_target(flags.accuracy_target);
  if (!target.ok()) return std::nullopt;  // refused before
  const double value = accuracy_of(compared, *target);
  if (target->met(value)) return std::nullopt;
  return missed(*target, value, "nothing was written: the file itself misses the target");
}

}  // namespace onnxtool
