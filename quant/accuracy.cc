#include "quant/accuracy.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <set>

#include "libopt/ir/code_type.h"
#include "quant/equalize.h"

namespace onnxtool {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
// A comparison runs two models on each sample.
constexpr int64_t kModels = 2;
// The search may cost this many times calibration and one evaluation.
constexpr int64_t kBudgetFactor = 3;
// Samples of the instrumented run, and the fewest that a trial is worth.
constexpr int64_t kSensitivitySamples = 16, kFewestTrialSamples = 4;
// What few samples must promise beyond the target where all samples have not seen the rungs.
// Fewer samples than rungs are judged on must promise up to so many times as much.
constexpr double kSafeDb = 1, kSafeKl = 1.25, kMostCare = 2;
// A rung leaves this to the search for layers, which is sure to help, or what that takes at most.
constexpr int64_t kSearchRuns = 128;
// Samples on which a rung is judged, and what seems to be enough once more.
constexpr int64_t kRungSamples = 8, kSecondLookSamples = 32;

class Search {
 public:
  Search(Quantizer& quantizer, Quantizer::Output& out, const AccuracyTarget& target,
         const AccuracyData& data)
      : quantizer_(quantizer), out_(out), data_(data), quiet_(data.run) {
    result_.target = target;
    quiet_.progress = nullptr;
    const int64_t evaluation = kModels * data.judged.size();
    // Choosing a calibrator is part of calibration.
    const int64_t calibration =
        data.calibration_samples +
        kModels * static_cast<int64_t>(out.trials.size()) *
            std::min(affordable_samples(quantizer.placement()), data.judged.size());
    result_.budget = kBudgetFactor * (calibration + evaluation);
    // The file that is written is evaluated once more.
    result_.runs = calibration + evaluation;
  }

  Result<AccuracySearch> run() {
    ONNXTOOL_ASSIGN(result_.before, measure(out_, data_.judged, 0));
    result_.after = base_ = result_.before;
    result_.met = target().met(result_.before);
    if (result_.met) return std::move(result_);
    ONNXTOOL_TRY(climb());
    if (result_.met) ONNXTOOL_TRY(take_back());
    if (result_.met) return std::move(result_);
    if (sensitivity_samples() < 1) {
      result_.cut_off = true;
      return std::move(result_);
    }
    ONNXTOOL_TRY(rank(quantizer_, out_));
    choose_trial_samples();
    // With no layer left, nothing would be quantized.
    if (ranked_.size() > 1) ONNXTOOL_TRY(find_enough(ranked_.size() - 1));
    if (wanted_ > 0) ONNXTOOL_TRY(verify());
    return std::move(result_);
  }

 private:
  const AccuracyTarget& target() const { return result_.target; }

  Result<double> measure(const Quantizer::Output& out, const SampleSource& samples,
                         int64_t layers_in_float) {
    ComparisonOptions options;
    options.labelled = target().kind == AccuracyTarget::Kind::kDrop;
    options.metrics.kl = target().kind == AccuracyTarget::Kind::kKl;
    ONNXTOOL_ASSIGN(const ModelComparison compared,
                    compare_models(data_.original, out.model->graph(), samples, quiet_, options));
    const double value = accuracy_of(compared, target());
    result_.runs += kModels * samples.size();
    result_.trials.push_back({layers_in_float, samples.size(), value});
    return value;
  }

  bool affords(int64_t samples) const { return result_.runs + kModels * samples <= result_.budget; }

  // One full evaluation is kept for the end.
  int64_t left() const { return result_.budget - result_.runs - kModels * data_.judged.size(); }
  int64_t sensitivity_samples() const { return std::min(kSensitivitySamples, left() / kModels); }

  struct Change {
    AccuracyRung rung;
    QuantizeOptions options;
  };

  // What the options leave to be had without leaving integers, one at a time.
  std::optional<Change> next_change() const {
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
    const DataType wide =
        is_8bit(now.activation_type)
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

  // Runs of one sample that a change takes, besides comparisons and calibration.
  int64_t cost_of(const Change& c) const {
    const int64_t trials = c.options.calibrator.automatic
                               ? static_cast<int64_t>(tried_calibrators(c.options).size())
                               : 0;
    return kModels * trials * std::min(kRungSamples, data_.judged.size());
  }

  // nullopt: it cannot be had, as where the opset cannot be raised or the budget has no calibration
  // left, which is no reason to give up.
  std::optional<Quantizer> made_by(const Change& c, int64_t comparisons) {
    auto made = data_.remake(c.options, &quantizer_);
    if (made.ok()) return *std::move(made);
    if (!data_.recalibrates || !affords_rung(data_.calibration_samples + cost_of(c) + comparisons))
      return std::nullopt;
    result_.runs += data_.calibration_samples;
    made = data_.remake(c.options, nullptr);
    return made.ok() ? std::optional(*std::move(made)) : std::nullopt;
  }

  // One instrumented run, and trials on few samples that double the layers and halve them again.
  static int64_t trials_for(size_t layers) {
    int64_t trials = 4;
    for (size_t k = 1; k < layers; k *= 2) trials += 2;
    return trials;
  }
  bool affords_rung(int64_t runs) const {
    const int64_t all = data_.judged.size();
    const int64_t search = kModels * (std::min(kSensitivitySamples, all) +
                                      trials_for(quantizer_.placement().nodes.size()) *
                                          std::min(kFewestTrialSamples, all));
    return runs + std::min(kSearchRuns, search) <= left();
  }

  bool better(double a, double b) const {
    return target().kind == AccuracyTarget::Kind::kSqnr ? a > b : a < b;
  }

  // Every rung is judged on a few samples, and kept where it is better; what seems to be enough is
  // measured on all.
  Status climb() {
    if (!data_.remake) return {};
    const SpreadSamples some(data_.judged, std::min(kRungSamples, data_.judged.size()));
    double before = result_.before;
    // All samples differ from a few as they did before.
    double few = kNaN;
    const auto expected = [&](double value, double first_few) {
      const double shift = result_.before - first_few;
      return std::isfinite(shift) && target().kind == AccuracyTarget::Kind::kSqnr ? value + shift
                                                                                  : value;
    };
    while (auto change = next_change()) {
      const bool is_first = result_.rungs.empty();
      const int64_t comparisons = kModels * (is_first ? 2 : 1) * some.size();
      tried_.insert(change->rung.setting);
      if (!affords_rung(cost_of(*change) + comparisons)) continue;
      if (is_first) {
        ONNXTOOL_ASSIGN(few, measure(out_, some, 0));
        before = few;
      }
      auto made = made_by(*change, kModels * some.size());
      if (made) result_.runs += cost_of(*change);
      change->rung.samples = some.size();
      change->rung.before = before;
      result_.rungs.push_back(change->rung);
      if (!made) continue;
      ONNXTOOL_ASSIGN(Quantizer::Output candidate, made->emit(&some, quiet_));
      ONNXTOOL_ASSIGN(const double value, measure(candidate, some, 0));
      AccuracyRung& rung = result_.rungs.back();
      rung.after = value;
      rung.kept = better(value, before);
      if (!rung.kept) continue;
      before = value;
      candidate.trials.insert(candidate.trials.begin(), out_.trials.begin(), out_.trials.end());
      below_.emplace(Below{std::move(quantizer_), std::move(out_)});
      out_ = std::move(candidate);
      quantizer_ = *std::move(made);
      base_ = expected(value, few);
      if (!target().met(base_)) continue;
      ONNXTOOL_ASSIGN(const bool likely, second_look());
      if (!likely) continue;
      ONNXTOOL_ASSIGN(base_, measure(out_, data_.judged, 0));
      result_.after = base_;
      result_.met = target().met(base_);
      return {};
    }
    return {};
  }

  // Whether a rung that seems to be enough is worth a look at all samples, which takes about what
  // the search has left: a few can be off by decibels.
  Result<bool> second_look() {
    const SpreadSamples more(data_.judged, std::min(kSecondLookSamples, data_.judged.size()));
    if (more.size() == data_.judged.size()) return true;
    if (!affords_rung(kModels * more.size())) return false;
    ONNXTOOL_ASSIGN(base_, measure(out_, more, 0));
    return target().met(safe(base_, more.size()));
  }

  // The last rung, which is enough with all layers on it, for those alone that need it.
  Status take_back() {
    AccuracyRung& rung = result_.rungs.back();
    const std::string wish = rung.setting == "weights"           ? "weights=" + rung.to
                             : rung.setting == "activation-type" ? rung.setting + "=" + rung.to
                                                                 : "";
    if (wish.empty() || sensitivity_samples() < 1) return {};
    ONNXTOOL_TRY(rank(below_->quantizer, below_->out));
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
    ONNXTOOL_ASSIGN(options.overrides, with(ranked_));
    auto made = data_.remake(options, &below_->quantizer);
    if (!made.ok()) return {};
    give_ = [&](const std::vector<RankedLayer>& layers) -> Result<Quantizer::Output> {
      ONNXTOOL_ASSIGN(Overrides overrides, with(layers));
      return made->emit_with(std::move(overrides), out_.calibrator);
    };
    choose_trial_samples();
    ONNXTOOL_TRY(find_enough(ranked_.size()));
    if (!found_ || chosen_.size() == ranked_.size()) return {};
    ONNXTOOL_ASSIGN(Quantizer::Output candidate, give_(chosen_));
    give_ = nullptr;  // it refers to what is here
    ONNXTOOL_ASSIGN(const double value, measure(candidate, data_.judged, 0));
    if (!target().met(value)) return {};
    result_.after = value;
    rung.layers = chosen_;
    candidate.trials = std::move(out_.trials);
    out_ = std::move(candidate);
    quantizer_ = *std::move(made);
    return {};
  }

  // Layers by the error that each makes by itself, the largest first.
  Status rank(const Quantizer& quantizer, const Quantizer::Output& out) {
    const SpreadSamples some(data_.judged, sensitivity_samples());
    ONNXTOOL_ASSIGN(const auto errors,
                    compare_layers(quantizer.prepared().graph(), out.model->graph(), out.layers,
                                   nullptr, some, quiet_, {.mode = LayerMode::kLocal}));
    result_.runs += kModels * some.size();
    std::map<const Value*, double> sqnr;
    for (size_t i = 0; i < errors.size(); ++i) sqnr[out.layers[i].reference] = errors[i].sqnr_db;
    for (const IntegerNode& n : quantizer.placement().nodes) {
      const auto it = sqnr.find(&n.result());
      if (n.handler->role == Role::kPassThrough || it == sqnr.end() || std::isnan(it->second))
        continue;
      const std::string& result = n.node->output(0).name();
      ranked_.push_back({n.node->name().empty() ? result : n.node->name(), n.node->op_type(),
                         result, it->second});
    }
    std::ranges::stable_sort(ranked_, {}, &RankedLayer::sqnr_db);
    return {};
  }

  // As many samples a trial as the budget has for all that may be needed.
  void choose_trial_samples() {
    const int64_t trials = trials_for(ranked_.size()), all = data_.judged.size();
    trial_samples_ =
        std::clamp(left() / (kModels * trials), std::min(kFewestTrialSamples, all), all);
  }

  Result<Quantizer::Output> without(const std::vector<RankedLayer>& layers) {
    std::set<std::string> results;
    for (const RankedLayer& l : layers) results.insert(l.result);
    return quantizer_.emit_in_float(results, out_.calibrator);
  }

  // On few samples the target is where the first look on the same few says that it is. nullopt: the
  // budget is spent.
  Result<std::optional<bool>> enough(const std::vector<RankedLayer>& layers) {
    const SpreadSamples some(data_.judged, trial_samples_);
    if (!affords(some.size() + data_.judged.size())) {
      result_.cut_off = true;
      return std::optional<bool>();
    }
    const bool few = some.size() < data_.judged.size();
    if (few && std::isnan(few_before_)) {
      ONNXTOOL_ASSIGN(few_before_, measure(out_, some, 0));
    }
    ONNXTOOL_ASSIGN(const Quantizer::Output candidate, give_ ? give_(layers) : without(layers));
    ONNXTOOL_ASSIGN(const double value,
                    measure(candidate, some, give_ ? 0 : static_cast<int64_t>(layers.size())));
    // Points are counted, so few samples say little of them: they are taken as they come.
    const bool shifts = few && target().kind != AccuracyTarget::Kind::kDrop;
    const double shift = shifts && std::isfinite(few_before_ - base_)
                             ? target().kind == AccuracyTarget::Kind::kKl
                                   ? value * (base_ / few_before_ - 1)
                                   : base_ - few_before_
                             : 0;
    const double expected = value + shift;
    on_few_ = value;
    const bool met = target().met(few && below_ ? safe(expected, some.size()) : expected);
    return std::optional<bool>(met && quantizes(candidate));
  }

  // Of a value on some samples, what all of them should have at worst. Points are counted, and
  // stay as they are.
  double safe(double value, int64_t samples) const {
    const double care = std::clamp(kRungSamples / static_cast<double>(samples), 1.0, kMostCare);
    switch (target().kind) {
      case AccuracyTarget::Kind::kSqnr: return value - kSafeDb * care;
      case AccuracyTarget::Kind::kKl: return value * std::pow(kSafeKl, care);
      case AccuracyTarget::Kind::kDrop: break;
    }
    return value;
  }

  // A float model meets every target, and is not what was asked for.
  static bool quantizes(const Quantizer::Output& out) {
    return std::ranges::any_of(out.decisions, &NodeDecision::integer);
  }

  std::vector<RankedLayer> first(size_t k) const {
    return {ranked_.begin(), ranked_.begin() + static_cast<ptrdiff_t>(k)};
  }

  Result<std::optional<bool>> enough_first(size_t k) {
    ONNXTOOL_ASSIGN(const auto ok, enough(first(k)));
    if (ok) firsts_on_few_[k] = on_few_;
    return ok;
  }

  // The fewest of the ranked layers, then without those among them that are not needed after all.
  Status find_enough(size_t most) {
    if (most == 0) return {};
    size_t low = 0, high = 0;
    for (size_t k = 1; high == 0; k = std::min(k * 2, most)) {
      ONNXTOOL_ASSIGN(const auto ok, enough_first(k));
      if (!ok || (!*ok && k == most)) {
        // Nothing that was tried is enough; the last look may still find that more is.
        wanted_ = k;
        chosen_ = first(k);
        return {};
      }
      (*ok ? high : low) = k;
    }
    while (high - low > 1) {
      const size_t middle = (low + high) / 2;
      ONNXTOOL_ASSIGN(const auto ok, enough_first(middle));
      if (!ok) break;
      (*ok ? high : low) = middle;
    }
    wanted_ = high;
    found_ = true;
    chosen_ = first(high);
    chosen_on_few_ = firsts_on_few_.at(high);
    for (size_t i = chosen_.size(); i-- > 1;) {
      // Where few samples mislead, the budget must have room to put more back and look again.
      if (!affords(trial_samples_ + 2 * data_.judged.size())) break;
      std::vector<RankedLayer> fewer = chosen_;
      fewer.erase(fewer.begin() + static_cast<ptrdiff_t>(i) - 1);
      ONNXTOOL_ASSIGN(const auto ok, enough(fewer));
      if (!ok) break;
      if (!*ok) continue;
      chosen_ = std::move(fewer);
      chosen_on_few_ = on_few_;
    }
    return {};
  }

  // On all samples; where few misled, more layers go while the budget lasts.
  Status verify() {
    while (true) {
      ONNXTOOL_ASSIGN(Quantizer::Output candidate, without(chosen_));
      ONNXTOOL_ASSIGN(const double value,
                      measure(candidate, data_.judged, static_cast<int64_t>(chosen_.size())));
      const bool any = quantizes(candidate);
      result_.met = any && target().met(value);
      if (result_.met || (any && better(value, result_.after))) {
        result_.after = value;
        result_.in_float = chosen_;
      }
      if (result_.met) {
        candidate.trials = std::move(out_.trials);
        out_ = std::move(candidate);
        return {};
      }
      if (wanted_ + 1 >= ranked_.size() && chosen_.size() >= wanted_) return {};
      if (!affords(data_.judged.size())) {
        result_.cut_off = true;
        return {};
      }
      wanted_ = more_than_chosen(value);
      chosen_ = first(wanted_);
      chosen_on_few_ = kNaN;
    }
  }

  // How many of the ranked layers to put back where those that were chosen reach `value` on all
  // samples, which is not enough: as many as a trial on few samples had, if all samples differ from
  // the few as they do here; half as many again where no trial says so.
  size_t more_than_chosen(double value) const {
    const double shift = value - chosen_on_few_;
    for (const auto& [k, on_few] : firsts_on_few_)
      if (k > chosen_.size() && target().met(on_few + shift)) return k;
    return std::min(wanted_ + std::max<size_t>(1, wanted_ / 2), ranked_.size() - 1);
  }

  Quantizer& quantizer_;
  Quantizer::Output& out_;
  const AccuracyData& data_;
  RunOptions quiet_;
  AccuracySearch result_;
  struct Below {
    Quantizer quantizer;
    Quantizer::Output out;
  };
  std::optional<Below> below_;  // as all was before the rung that was kept last
  /// The model where some layers have a rung; empty: where they are in float.
  std::function<Result<Quantizer::Output>(const std::vector<RankedLayer>&)> give_;
  std::vector<RankedLayer> ranked_, chosen_;
  std::set<std::string> tried_;  // settings of rungs
  // Of trials, on few samples: of the last one, of the first k of ranked_, of chosen_.
  double on_few_ = kNaN, chosen_on_few_ = kNaN;
  std::map<size_t, double> firsts_on_few_;
  size_t wanted_ = 0;   // how many of ranked_ are needed, as far as few samples tell
  bool found_ = false;  // whether these were enough
  int64_t trial_samples_ = 1;
  double base_ = kNaN;  // with all layers on integers, on all samples; few_before_ on a few
  double few_before_ = kNaN;
};

}  // namespace

std::string_view AccuracyTarget::name() const {
  return kind == Kind::kSqnr ? "sqnr" : kind == Kind::kKl ? "kl" : "drop";
}

std::string_view AccuracyTarget::unit() const {
  return kind == Kind::kSqnr ? "dB" : kind == Kind::kKl ? "" : "points";
}

Result<AccuracyTarget> parse_accuracy_target(const std::string& text) {
  AccuracyTarget t;
  const size_t equals = text.rfind('=');
  const std::string name = text.substr(0, equals);
  const char* const begin = text.data() + (equals == std::string::npos ? 0 : equals + 1);
  const char* const end = text.data() + text.size();
  const auto parsed = std::from_chars(begin, end, t.limit);
  const bool known = name == "sqnr" || name == "kl" || name == "drop";
  if (equals == std::string::npos || !known || parsed.ec != std::errc() || parsed.ptr != end ||
      !std::isfinite(t.limit) || (t.limit < 0 && name != "sqnr"))
    return Error{ErrorCode::kUsage, "--accuracy-target: '" + text + "' is no target",
                 "expected sqnr=DB, kl=NATS or drop=POINTS, as in sqnr=35"};
  t.kind = name == "sqnr" ? AccuracyTarget::Kind::kSqnr
           : name == "kl" ? AccuracyTarget::Kind::kKl
                          : AccuracyTarget::Kind::kDrop;
  return t;
}

double accuracy_of(const ModelComparison& compared, const AccuracyTarget& target) {
  if (target.kind == AccuracyTarget::Kind::kDrop) return compared.accuracy.drop().value_or(kNaN);
  const bool sqnr = target.kind == AccuracyTarget::Kind::kSqnr;
  const double worst = sqnr ? -INFINITY : INFINITY;
  double value = kNaN;
  for (const auto& [name, metrics] : compared.outputs) {
    // Where sizes depend on the data and differ there is nothing to compare; nor is there of
    // integer outputs.
    if (!metrics.failures().empty() && metrics.samples() == 0) continue;
    const auto v = metrics.value(sqnr ? Metric::kSqnr : Metric::kKl);
    if (!v) continue;
    if (std::isnan(*v)) return worst;
    value = std::isnan(value) ? *v : sqnr ? std::min(value, *v) : std::max(value, *v);
  }
  return value;
}

Result<AccuracySearch> reach_accuracy(Quantizer& quantizer, Quantizer::Output& out,
                                      const AccuracyTarget& target, const AccuracyData& data) {
  return Search(quantizer, out, target, data).run();
}

}  // namespace onnxtool
