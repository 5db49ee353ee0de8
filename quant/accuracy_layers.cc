#include "quant/accuracy_layers.h"

#include <algorithm>
#include <cmath>
#include <set>

namespace onnxtool {
namespace {

// Samples of the instrumented run.
constexpr int64_t kSensitivitySamples = 16;
// The instrumented run needs what both models compute between, so none of it is kept.
constexpr int64_t kModels = 2;

// Trials that double the layers and halve them again, and some to leave out what is not needed.
int64_t trials_for(size_t layers) {
  int64_t trials = 4;
  for (size_t k = 1; k < layers; k *= 2) trials += 2;
  return trials;
}

}  // namespace

int64_t instrumented_samples(const AccuracyMeter& meter) {
  return std::min(kSensitivitySamples, meter.left() / kModels);
}

int64_t least_runs(const AccuracyMeter& meter, size_t layers, int64_t samples) {
  return kModels * meter.at_most(kSensitivitySamples) +
         meter.runs_for(trials_for(layers) * meter.at_most(samples));
}

bool is_quantized(const Quantizer::Output& out) {
  return std::ranges::any_of(out.decisions, &NodeDecision::integer);
}

Result<RankedLayers> rank_layers(const Quantizer& quantizer, const Quantizer::Output& out,
                                 AccuracyMeter& meter) {
  const SpreadSamples some(meter.data().judged, instrumented_samples(meter));
  ONNXTOOL_ASSIGN(const auto errors,
                  compare_layers(quantizer.prepared().graph(), out.model->graph(), out.layers,
                                 nullptr, some, meter.run(), {.mode = LayerMode::kLocal}));
  meter.spend(kModels * some.size());
  std::map<const Value*, double> sqnr;
  for (size_t i = 0; i < errors.size(); ++i) sqnr[out.layers[i].reference] = errors[i].sqnr_db;
  RankedLayers ranked;
  std::set<std::string> cores;
  for (const IntegerNode& n : quantizer.placement().nodes) {
    if (n.handler->role == Role::kPassThrough) continue;
    const std::string& result = n.node->output(0).name();
    if (n.handler->role == Role::kCore) cores.insert(result);
    const auto it = sqnr.find(&n.result());
    if (it == sqnr.end() || std::isnan(it->second)) continue;
    ranked.layers.push_back(
        {n.node->name().empty() ? result : n.node->name(), n.node->op_type(), result, it->second});
  }
  std::ranges::stable_sort(ranked.layers, {}, &RankedLayer::sqnr_db);
  // Nothing stays on integers without a layer that is worth Q and DQ by itself.
  for (const RankedLayer& l : ranked.layers) {
    if (cores.size() == 1 && cores.contains(l.result)) break;
    cores.erase(l.result);
    ++ranked.most_in_float;
  }
  return ranked;
}

LayerSearch::LayerSearch(const std::vector<RankedLayer>& ranked, size_t most, ChangedLayers make,
                         const Start& start, AccuracyMeter& meter)
    : ranked_(ranked), most_(most), make_(std::move(make)), start_(start), meter_(meter) {
  // As many samples a trial as the budget has for all that may be needed.
  const int64_t each = meter_.runs_for(trials_for(ranked_.size()));
  trial_samples_ =
      std::clamp(meter_.left() / each, meter_.at_most(kFewestTrialSamples), meter_.all());
}

// On few samples the target is where the first look on the same few says that it is.
Result<LayerSearch::Verdict> LayerSearch::judge(const std::vector<RankedLayer>& layers) {
  const bool few = trial_samples_ < meter_.all();
  const bool first_look = few && std::isnan(start_on_few_);
  if (!meter_.affords(meter_.runs_for((first_look ? 2 : 1) * trial_samples_ + meter_.all()))) {
    cut_off_ = true;
    return Verdict::kBudgetSpent;
  }
  if (first_look) {
    ONNXTOOL_ASSIGN(start_on_few_, meter_.measure(start_.out, trial_samples_));
  }
  ONNXTOOL_ASSIGN(const Quantizer::Output candidate, make_(layers));
  if (!is_quantized(candidate)) return Verdict::kNothingLeft;
  ONNXTOOL_ASSIGN(
      on_few_, meter_.measure(candidate, trial_samples_, start_.in_float ? std::ssize(layers) : 0));
  double value = on_few_;
  // More samples than those that the first value was expected from say more than it does.
  if (few && start_.samples >= trial_samples_)
    value = carried_over(value, {start_on_few_, start_.value}, meter_.target());
  const double careful = with_care(value, trial_samples_, meter_.target());
  // What all layers have got is taken back once: there is no second look.
  if (few && (start_.samples < meter_.all() || !start_.in_float)) value = careful;
  if (!meter_.target().met(value)) return Verdict::kNotEnough;
  const bool sure = !few || meter_.target().met(careful);
  // Fewer than are enough for sure, and no second look if they turn out not to be.
  if (sure_ && !sure && !affords_two_looks()) return Verdict::kNotEnough;
  sure_ = sure;
  return Verdict::kEnough;
}

// At all samples, after a further trial: where few mislead, more layers are put back and looked at.
bool LayerSearch::affords_two_looks() const {
  return meter_.affords(meter_.runs_for(trial_samples_ + 2 * meter_.all()));
}

std::vector<RankedLayer> LayerSearch::first(size_t k) const {
  return {ranked_.begin(), ranked_.begin() + static_cast<ptrdiff_t>(k)};
}

void LayerSearch::choose_first(size_t k) {
  wanted_ = k;
  chosen_ = first(k);
  const auto known = firsts_on_few_.find(k);
  chosen_on_few_ = known == firsts_on_few_.end() ? kNaN : known->second;
}

Result<LayerSearch::Verdict> LayerSearch::judge_first(size_t k) {
  ONNXTOOL_ASSIGN(const Verdict v, judge(first(k)));
  if (v == Verdict::kEnough || v == Verdict::kNotEnough) firsts_on_few_[k] = on_few_;
  if (v == Verdict::kNothingLeft) most_ = k - 1;
  return v;
}

Status LayerSearch::find() {
  size_t low = 0, high = 0;
  for (size_t k = 1; high == 0 && low < most_;) {
    k = std::min(k, most_);
    ONNXTOOL_ASSIGN(const Verdict v, judge_first(k));
    switch (v) {
      case Verdict::kEnough: high = k; break;
      case Verdict::kNotEnough:
        low = k;
        k *= 2;
        break;
      case Verdict::kNothingLeft: k = (low + k) / 2; break;
      case Verdict::kBudgetSpent:
        // The last look may still find that it is enough.
        choose_first(k);
        return {};
    }
  }
  if (high == 0) {
    choose_first(low);
    return {};
  }
  while (high - low > 1 && (sure_ || affords_two_looks())) {
    const size_t middle = (low + high) / 2;
    ONNXTOOL_ASSIGN(const Verdict v, judge_first(middle));
    if (v == Verdict::kBudgetSpent) break;
    (v == Verdict::kEnough ? high : low) = middle;
  }
  found_ = true;
  choose_first(high);
  return drop_needless();
}

Status LayerSearch::drop_needless() {
  for (size_t i = chosen_.size(); i-- > 1;) {
    if (!affords_two_looks()) break;
    std::vector<RankedLayer> fewer = chosen_;
    fewer.erase(fewer.begin() + static_cast<ptrdiff_t>(i) - 1);
    ONNXTOOL_ASSIGN(const Verdict v, judge(fewer));
    if (v == Verdict::kBudgetSpent) break;
    if (v != Verdict::kEnough) continue;
    chosen_ = std::move(fewer);
    chosen_on_few_ = on_few_;
  }
  return {};
}

bool LayerSearch::choose_more(double value) {
  const size_t next = more_than_chosen(value);
  if (next <= chosen_.size()) return false;
  choose_first(next);
  return true;
}

// As many as a trial on few samples had that are enough if all samples differ from the few as they
// do here; half as many again where no trial says so.
size_t LayerSearch::more_than_chosen(double value) const {
  for (const auto& [k, on_few] : firsts_on_few_)
    if (k > chosen_.size() && !std::isnan(chosen_on_few_) &&
        meter_.target().met(carried_over(on_few, {chosen_on_few_, value}, meter_.target())))
      return k;
  return std::min(wanted_ + std::max<size_t>(1, wanted_ / 2), most_);
}

}  // namespace onnxtool
