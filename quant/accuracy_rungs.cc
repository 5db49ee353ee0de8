#include "quant/accuracy_rungs.h"

#include <algorithm>

#include "libopt/ir/code_type.h"
#include "quant/accuracy_layers.h"

namespace onnxtool {
namespace {

// A rung leaves this to the search for layers, which is sure to help, or what that takes at most.
constexpr int64_t kSearchRuns = 128;
// Samples on which a rung is judged, and what seems to be enough once more.
constexpr int64_t kRungSamples = 8, kSecondLookSamples = 32;

// As --override has it; empty: layers cannot have it alone.
std::string override_of(const AccuracyRung& rung) {
  if (rung.setting == "weights") return "weights=" + rung.to;
  if (rung.setting == "activation-type") return rung.setting + "=" + rung.to;
  return {};
}

}  // namespace

AccuracyRungs::AccuracyRungs(Quantizer& quantizer, Quantizer::Output& out, double value,
                             AccuracyMeter& meter)
    : quantizer_(quantizer), out_(out), meter_(meter), value_(value), samples_(meter.all()) {}

// What the options leave to be had without leaving integers, one at a time.
std::optional<AccuracyRungs::Change> AccuracyRungs::next_change() const {
  const QuantizeOptions& now = quantizer_.options();
  const auto change = [&](const char* setting, std::string_view from, std::string_view to) {
    Change c{{setting, std::string(from), std::string(to)}, now};
    c.options.in_float.clear();
    return tried_.contains(setting) ? std::nullopt : std::optional(std::move(c));
  };
  if (now.ort_compat || quantizer_.has_given_ranges()) return std::nullopt;
  if (!now.calibrator.automatic)
    if (auto c = change("calibrator", name(now.calibrator.calibrator), "auto")) {
      c->options.calibrator.automatic = true;
      return c;
    }
  if (!now.per_channel && !now.no_opset_change)
    if (auto c = change("weights", "per-tensor", "per-channel")) {
      c->options.per_channel = true;
      return c;
    }
  const DataType wide = is_8bit(now.activation_type)
                            ? is_signed(now.activation_type) ? DataType::kInt16 : DataType::kUint16
                            : DataType::kUndefined;
  if (std::ranges::find(now.target->data_types, wide) != now.target->data_types.end())
    if (auto c = change("activation-type", wide == DataType::kInt16 ? "s8" : "u8",
                        wide == DataType::kInt16 ? "s16" : "u16")) {
      c->options.activation_type = wide;
      return c;
    }
  return std::nullopt;
}

// Runs of one sample that a change takes at most, besides comparisons and calibration.
int64_t AccuracyRungs::cost_of(const Change& c) const {
  if (!c.options.calibrator.automatic) return 0;
  return 2 * std::ssize(tried_calibrators(c.options)) * meter_.at_most(kRungSamples);
}

bool AccuracyRungs::affords(int64_t runs) const {
  const int64_t search = least_runs(meter_, quantizer_.placement().nodes.size());
  return runs + std::min(kSearchRuns, search) <= meter_.left();
}

// nullopt: it cannot be had, as where the opset cannot be raised or the budget has no calibration
// left, which is no reason to give up.
std::optional<Quantizer> AccuracyRungs::made_by(const Change& c, int64_t comparisons) {
  const AccuracyData& data = meter_.data();
  auto made = data.remake(c.options, &quantizer_);
  if (made.ok()) return *std::move(made);
  if (!data.recalibrates || !affords(data.calibration_samples + cost_of(c) + comparisons))
    return std::nullopt;
  meter_.spend(data.calibration_samples);
  made = data.remake(c.options, nullptr);
  return made.ok() ? std::optional(*std::move(made)) : std::nullopt;
}

Status AccuracyRungs::climb() {
  if (!meter_.data().remake) return {};
  const SpreadSamples some(meter_.data().judged, meter_.at_most(kRungSamples));
  FewAndAll start{0, value_};
  double before = value_;
  while (auto change = next_change()) {
    const bool is_first = rungs_.empty();
    const int64_t comparisons = meter_.runs_for((is_first ? 2 : 1) * some.size());
    tried_.insert(change->rung.setting);
    if (!affords(cost_of(*change) + comparisons)) continue;
    if (is_first) {
      ONNXTOOL_ASSIGN(start.few, meter_.measure(out_, some.size()));
      before = start.few;
    }
    auto made = made_by(*change, meter_.runs_for(some.size()));
    change->rung.samples = some.size();
    change->rung.before = before;
    rungs_.push_back(change->rung);
    if (!made) continue;
    ONNXTOOL_ASSIGN(Quantizer::Output candidate, made->emit(&some, meter_.run()));
    meter_.spend(runs_of(candidate.trials));
    ONNXTOOL_ASSIGN(const double value, meter_.measure(candidate, some.size()));
    AccuracyRung& rung = rungs_.back();
    rung.after = value;
    rung.kept = meter_.target().better(value, before);
    if (!rung.kept) continue;
    before = value;
    candidate.trials.insert(candidate.trials.begin(), out_.trials.begin(), out_.trials.end());
    below_.emplace(Below{std::move(quantizer_), std::move(out_)});
    out_ = std::move(candidate);
    quantizer_ = *std::move(made);
    value_ = carried_over(value, start, meter_.target());
    samples_ = some.size();
    if (!meter_.target().met(value_)) continue;
    ONNXTOOL_ASSIGN(const bool likely, is_likely());
    if (!likely) continue;
    ONNXTOOL_TRY(measure_on_all());
    if (met_) return {};
    start = {value, value_};
  }
  if (measured()) return {};
  ONNXTOOL_ASSIGN(const bool worth_it, is_worth_a_last_look(before));
  if (worth_it) ONNXTOOL_TRY(measure_on_all());
  return {};
}

// No layer should go back to float since a few samples misjudge what all layers have, which they do
// by decibels: a look at all is worth it where the budget has enough for the layers after it, and
// where more samples say that it will do.
Result<bool> AccuracyRungs::is_worth_a_last_look(double on_few) {
  const int64_t all = meter_.runs_for(meter_.all());
  const size_t layers = quantizer_.placement().nodes.size();
  if (2 * all + least_runs(meter_, layers, kSecondLookSamples) <= meter_.left()) return true;
  const int64_t more = meter_.at_most(kSecondLookSamples);
  if (samples_ >= more || !meter_.target().met(on_few)) return false;
  if (!affords(meter_.runs_for(more) + all)) return false;
  return is_likely();
}

Status AccuracyRungs::measure_on_all() {
  ONNXTOOL_ASSIGN(value_, meter_.measure(out_, meter_.all()));
  samples_ = meter_.all();
  met_ = meter_.target().met(value_);
  return {};
}

// Whether a rung that seems to be enough is worth a look at all samples, which takes about what the
// search has left: a few can be off by decibels.
Result<bool> AccuracyRungs::is_likely() {
  const int64_t more = meter_.at_most(kSecondLookSamples);
  if (more == meter_.all()) return true;
  if (!affords(meter_.runs_for(more))) return false;
  ONNXTOOL_ASSIGN(value_, meter_.measure(out_, more));
  samples_ = more;
  return meter_.target().met(with_care(value_, more, meter_.target()));
}

Status AccuracyRungs::take_back() {
  AccuracyRung& rung = rungs_.back();
  const std::string wish = override_of(rung);
  if (wish.empty() || instrumented_samples(meter_) < 1) return {};
  ONNXTOOL_ASSIGN(const RankedLayers ranked, rank_layers(below_->quantizer, below_->out, meter_));
  // Made once for all of them, so that the opset is there.
  QuantizeOptions options = below_->quantizer.options();
  const Overrides given = options.overrides;
  const auto with = [&](const std::vector<RankedLayer>& layers) -> Result<Overrides> {
    std::vector<std::string> texts;
    for (const RankedLayer& l : layers) texts.push_back("tensor:" + l.result + ":" + wish);
    ONNXTOOL_ASSIGN(const Overrides more, Overrides::parse(texts));
    Overrides all = given;
    all.append(more);
    return all;
  };
  ONNXTOOL_ASSIGN(options.overrides, with(ranked.layers));
  auto made = meter_.data().remake(options, &below_->quantizer);
  if (!made.ok()) return {};
  const ChangedLayers give =
      [&](const std::vector<RankedLayer>& layers) -> Result<Quantizer::Output> {
    ONNXTOOL_ASSIGN(Overrides overrides, with(layers));
    return made->emit_with(std::move(overrides), out_.calibrator);
  };
  LayerSearch search(ranked.layers, ranked.layers.size(), give,
                     {out_, value_, samples_, /*in_float=*/false}, meter_);
  ONNXTOOL_TRY(search.find());
  if (!search.found() || search.chosen().size() == ranked.layers.size()) return {};
  ONNXTOOL_ASSIGN(Quantizer::Output candidate, give(search.chosen()));
  ONNXTOOL_ASSIGN(const double value, meter_.measure(candidate, meter_.all()));
  if (!meter_.target().met(value)) return {};
  value_ = value;
  rung.layers = search.chosen();
  candidate.trials = std::move(out_.trials);
  out_ = std::move(candidate);
  quantizer_ = *std::move(made);
  return {};
}

}  // namespace onnxtool
