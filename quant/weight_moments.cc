#include "quant/weight_moments.h"

#include <algorithm>
#include <set>
#include <tuple>
#include <utility>

namespace onnxtool {
namespace {

// Of the moments of one pass. With each pass the samples run once more.
constexpr size_t kPassBytes = size_t{768} << 20;
// Deeper products would take gigabytes and hours.
constexpr int64_t kMaxDepth = 16384;

bool measurable(const WeightSite& s, const Graph& measured) {
  return !s.gathers() && s.depth <= kMaxDepth && !s.node->graph().parent() &&
         measured.find(s.node->input(0).name()) && measured.find(s.node->output(0).name());
}

// One weight's sites join the pass.
class PassBuilder {
 public:
  explicit PassBuilder(const Graph& measured) : measured_(&measured) {}

  /// Of all moments, with those of these sites.
  size_t bytes_with(std::span<const WeightSite> sites) const {
    size_t bytes = bytes_;
    if (!all_measurable(sites)) return bytes;
    std::set<Key> fresh;
    for (const WeightSite& s : sites)
      if (const Key key = key_of(s); !known_.contains(key) && fresh.insert(key).second)
        bytes += moment_bytes(s);
    return bytes;
  }

  void add(const Value* weight, std::span<const WeightSite> sites) {
    pass.sites.insert(pass.sites.end(), sites.begin(), sites.end());
    if (!all_measurable(sites)) return;
    std::set<size_t> inputs;
    for (const WeightSite& s : sites) inputs.insert(input_of(s));
    pass.inputs_of[weight].assign(inputs.begin(), inputs.end());
  }

  MomentPass pass;

 private:
  using Key = std::tuple<const Value*, bool, int64_t>;  // value, by columns, depth

  static size_t moment_bytes(const WeightSite& s) {
    return static_cast<size_t>(s.depth * s.depth) * sizeof(float);
  }

  bool all_measurable(std::span<const WeightSite> sites) const {
    return std::ranges::all_of(sites,
                               [&](const WeightSite& s) { return measurable(s, *measured_); });
  }

  Key key_of(const WeightSite& s) const {
    return {measured_->find(s.node->input(0).name()), s.node->attr<int64_t>("transA", 0) != 0,
            s.depth};
  }

  size_t input_of(const WeightSite& s) {
    const Key key = key_of(s);
    const auto [it, fresh] = known_.emplace(key, known_.size());
    if (fresh) {
      pass.inputs.push_back(
          {std::get<0>(key), measured_->find(s.node->output(0).name())->producer(), s.depth});
      bytes_ += moment_bytes(s);
    }
    return it->second;
  }

  const Graph* measured_;
  std::map<Key, size_t> known_;
  size_t bytes_ = 0;
};

}  // namespace

std::vector<MomentPass> moment_passes(const WeightSites& sites, const Graph& measured) {
  std::map<const Value*, std::vector<WeightSite>> by_weight;
  for (const WeightSite& s : sites.sites) by_weight[s.weight].push_back(s);
  std::vector<MomentPass> out;
  PassBuilder builder(measured);
  for (const WeightSite& s : sites.sites) {
    const auto mine = by_weight.extract(s.weight);
    if (mine.empty()) continue;
    if (!builder.pass.inputs.empty() && builder.bytes_with(mine.mapped()) > kPassBytes) {
      out.push_back(std::move(builder.pass));
      builder = PassBuilder(measured);
    }
    builder.add(s.weight, mine.mapped());
  }
  if (!builder.pass.sites.empty()) out.push_back(std::move(builder.pass));
  return out;
}

Result<GptqFactors> factors_of(const MomentPass& pass, const Graph& measured,
                               const WeightCalibration& calibration) {
  GptqFactors out;
  if (pass.inputs.empty()) return out;
  ONNXTOOL_ASSIGN(std::vector<InputMoments> moments,
                  collect_moments(measured, pass.inputs, *calibration.samples, calibration.run));
  std::map<std::vector<size_t>, std::shared_ptr<const GptqFactor>> made;
  for (const auto& [weight, inputs] : pass.inputs_of) made.emplace(inputs, nullptr);
  std::vector<int> readers(moments.size());
  for (const auto& [inputs, factor] : made)
    for (const size_t i : inputs) ++readers[i];
  // Whoever reads them last has them.
  const auto take = [&](size_t i) {
    return --readers[i] > 0 ? InputMoments(moments[i]) : std::exchange(moments[i], {});
  };
  for (auto& [inputs, made_factor] : made) {
    InputMoments sum = take(inputs[0]);
    for (size_t i = 1; i < inputs.size(); ++i) sum.add(take(inputs[i]));
    if (auto factor = factor_moments(sum))
      made_factor = std::make_shared<const GptqFactor>(*std::move(factor));
  }
  for (const auto& [weight, inputs] : pass.inputs_of)
    if (const auto& factor = made.at(inputs)) out[weight] = factor;
  return out;
}

}  // namespace onnxtool
