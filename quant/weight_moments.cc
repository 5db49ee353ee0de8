#include "quant/weight_moments.h"

#include <algorithm>
#include <set>
#include <tuple>

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

  size_t size_bytes() const { return bytes_; }
  void add(const Value* weight, std::span<const WeightSite> sites) {
    pass.sites.insert(pass.sites.end(), sites.begin(), sites.end());
    const bool all =
        std::ranges::all_of(sites, [&](const WeightSite& s) { return measurable(s, *measured_); });
    if (!all) return;
    std::set<size_t> inputs;
    for (const WeightSite& s : sites) inputs.insert(input_of(s));
    pass.inputs_of[weight].assign(inputs.begin(), inputs.end());
  }

  MomentPass pass;

 private:
  size_t input_of(const WeightSite& s) {
    const Value* value = measured_->find(s.node->input(0).name());
    const bool columns = s.node->attr<int64_t>("transA", 0) != 0;
    const auto [it, fresh] = known_.emplace(std::tuple(value, columns, s.depth), known_.size());
    if (fresh) {
      pass.inputs.push_back(
          {value, measured_->find(s.node->output(0).name())->producer(), s.depth});
      bytes_ += static_cast<size_t>(s.depth * s.depth) * sizeof(float);
    }
    return it->second;
  }

  const Graph* measured_;
  std::map<std::tuple<const Value*, bool, int64_t>, size_t> known_;
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
    builder.add(s.weight, mine.mapped());
    if (builder.size_bytes() < kPassBytes) continue;
    out.push_back(std::move(builder.pass));
    builder = PassBuilder(measured);
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
  for (const auto& [weight, inputs] : pass.inputs_of) {
    const auto [it, fresh] = made.emplace(inputs, nullptr);
    if (fresh) {
      InputMoments sum = moments[inputs[0]];
      for (size_t i = 1; i < inputs.size(); ++i) sum.add(moments[inputs[i]]);
      if (auto factor = factor_moments(sum))
        it->second = std::make_shared<const GptqFactor>(*std::move(factor));
    }
    if (it->second) out[weight] = it->second;
  }
  return out;
}

}  // namespace onnxtool
