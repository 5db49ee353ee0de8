#include "quant/awq.h"

#include <tbb/parallel_for.h>

#include <algorithm>
#include <cmath>
#include <ranges>
#include <set>
#include <utility>

#include "quant/block_access.h"
#include "quant/channel_scales.h"
#include "quant/dense.h"
#include "quant/input_moments.h"
#include "quant/weight_sites.h"

namespace onnxtool {
namespace {

// Exponents that are tried, and then those so far around the best of them.
constexpr double kExponents[] = {0.25, 0.5, 0.75, 1.0};
constexpr double kRefinement = 0.125;
// Noise must shrink to this share, or to the other one where it takes a Mul at run time.
constexpr double kGain = 0.98, kGainOfMul = 0.9;
// Of the moments that are held at a time; with each pass the samples run once more.
constexpr int64_t kPassBytes = int64_t{768} << 20, kMaxDepth = 16384;
// Channels that hardly occur must not make the others' factors huge.
constexpr double kMaxRatio = 1e4;

std::vector<float> factors_of(const InputMoments& m, double exponent) {
  std::vector<double> s;
  double highest = 0, lowest = INFINITY;
  for (int64_t k = 0; k < m.depth; ++k) highest = std::max(highest, std::sqrt(double{m.at(k)}));
  for (int64_t k = 0; k < m.depth; ++k) {
    const double r = std::max(std::sqrt(double{m.at(k)}), highest / kMaxRatio);
    lowest = std::min(lowest, r);
    s.push_back(std::pow(r, exponent));
  }
  const double middle = std::pow(highest * lowest, exponent / 2);
  std::vector<float> out;
  for (const double v : s) out.push_back(static_cast<float>(v / middle));
  return out;
}

// tr(E M E^T) for E [rows, depth].
double noise_of(const std::vector<float>& e, int64_t rows, const InputMoments& m) {
  std::vector<float> product(e.size());
  multiply(rows, m.depth, m.depth, {e.data(), m.depth, 1}, {m.sums.data(), m.depth, 1},
           product.data(), m.depth);
  double sum = 0;
  for (size_t i = 0; i < e.size(); ++i) sum += static_cast<double>(e[i]) * product[i];
  return sum;
}

// One weight as it would be quantized.
class Trial {
 public:
  Trial(const ProductGroup::Weight& w, const InputMoments& m, int64_t block,
        const WeightOnlyOptions& options)
      : w_(w),
        m_(m),
        block_(block),
        format_(format_of(options, /*table=*/false)),
        layout_(block_layout(options, block)) {
    const std::vector<float> ones(static_cast<size_t>(m.depth), 1);
    signal_ = noise_of(rows_of(scaled_weight(w, ones), ones), w.rows, m);
  }

  /// Of the outputs, as a share of them.
  Result<double> noise(const std::vector<float>& factors) const {
    const std::vector<float> scaled = scaled_weight(w_, factors);
    const WeightMatrix matrix{Tensor::from(w_.value->constant()->dims(), scaled), w_.rows, m_.depth,
                              !w_.along};
    ONNXTOOL_ASSIGN(WeightBlocks q, quantize_matrix(matrix, block_, format_, layout_));
    const BlockAccess codes(matrix, block_, format_, layout_, q);
    std::vector<float> errors = rows_of(scaled, factors);
    tbb::parallel_for(int64_t{0}, w_.rows, [&](int64_t row) {
      float* e = errors.data() + row * m_.depth;
      for (int64_t k = 0; k < m_.depth; ++k)
        e[k] -= static_cast<float>(codes.code(row, k) - codes.zero_point(row, k)) *
                codes.scale(row, k) / factors[static_cast<size_t>(k)];
    });
    return signal_ > 0 ? noise_of(errors, w_.rows, m_) / signal_ : 0;
  }

 private:
  // [rows, depth], with the factors taken off.
  std::vector<float> rows_of(const std::vector<float>& scaled,
                             const std::vector<float>& factors) const {
    std::vector<float> out(scaled.size());
    tbb::parallel_for(int64_t{0}, w_.rows, [&](int64_t row) {
      for (int64_t k = 0; k < m_.depth; ++k)
        out[static_cast<size_t>(row * m_.depth + k)] =
            scaled[static_cast<size_t>(w_.along ? row * m_.depth + k : k * w_.rows + row)] /
            factors[static_cast<size_t>(k)];
    });
    return out;
  }

  const ProductGroup::Weight& w_;
  const InputMoments& m_;
  int64_t block_;
  BlockFormat format_;
  BlockLayout layout_;
  double signal_ = 0;
};

class Scaling {
 public:
  Scaling(Model& model, const Graph& measured, const WeightOnlyOptions& options)
      : model_(model), measured_(measured), options_(options) {
    // Deep enough sites have moments; tables keep what they hold.
    std::set<const Node*> nodes;
    for (const WeightSite& s : find_weight_sites(model, options).sites) {
      if (s.gathers() || s.node->graph().parent() || s.depth > kMaxDepth) continue;
      if (!measured.find(s.node->input(0).name())) continue;
      nodes.insert(s.node);
      blocks_[s.weight] = block_of(s, options);
    }
    groups_ = product_groups(model, [&](const Node& n) { return nodes.contains(&n); });
    std::erase_if(groups_, [&](const ProductGroup& g) {
      return std::ranges::any_of(g.weights, [&](const auto& w) {
        return !blocks_.contains(w.value);  // a table, too
      });
    });
  }

  Result<AwqReport> run() {
    for (size_t first = 0; first < groups_.size();) {
      std::vector<LayerInput> inputs;
      int64_t bytes = 0;
      for (size_t i = first; i < groups_.size(); ++i) {
        const ProductGroup& g = groups_[i];
        bytes += g.depth * g.depth * int64_t{sizeof(float)};
        if (i > first && bytes > kPassBytes) break;
        inputs.push_back({measured_.find(g.data->name()),
                          measured_.find(g.products[0]->output(0).name())->producer(), g.depth});
      }
      ONNXTOOL_ASSIGN(auto moments,
                      collect_moments(measured_, inputs, *options_.calibration->samples,
                                      options_.calibration->run));
      for (size_t i = 0; i < moments.size(); ++i)
        ONNXTOOL_TRY(scale(groups_[first + i], std::exchange(moments[i], {})));
      first += moments.size();
    }
    return report_;
  }

 private:
  Status scale(const ProductGroup& g, const InputMoments& m) {
    // A value that was zero throughout tells nothing, and has no factors.
    const auto channels = std::views::iota(int64_t{0}, m.depth);
    if (std::ranges::none_of(channels, [&](int64_t k) { return m.at(k) > 0; })) return {};
    std::vector<Trial> trials;
    for (const auto& w : g.weights) trials.emplace_back(w, m, blocks_.at(w.value), options_);
    const auto noise_of_all = [&](const std::vector<float>& factors) -> Result<double> {
      double sum = 0;
      for (size_t i = 0; i < trials.size(); ++i) {
        auto noise = trials[i].noise(factors);
        if (!noise.ok())
          return std::move(noise).error().at("weight '" + g.weights[i].value->name() + "'");
        sum += *noise;
      }
      return sum;
    };
    ONNXTOOL_ASSIGN(const double plain,
                    noise_of_all(std::vector<float>(static_cast<size_t>(g.depth), 1)));
    const bool takes = takes_division(g);
    double least = plain * (takes ? kGain : kGainOfMul);
    double best_exponent = 0;
    std::vector<float> best;
    const auto offer = [&](double exponent) -> Status {
      std::vector<float> factors = factors_of(m, exponent);
      ONNXTOOL_ASSIGN(const double noise, noise_of_all(factors));
      if (!(noise < least)) return {};
      least = noise;
      best = std::move(factors);
      best_exponent = exponent;
      return {};
    };
    for (const double exponent : kExponents) ONNXTOOL_TRY(offer(exponent));
    if (best.empty()) return {};
    const double coarse = best_exponent;
    for (const double step : {-kRefinement, kRefinement})
      if (coarse + step <= 1) ONNXTOOL_TRY(offer(coarse + step));
    scale_channels(model_, g, best);
    ++report_.scaled;
    report_.inserted += !takes;
    return {};
  }

  Model& model_;
  const Graph& measured_;
  const WeightOnlyOptions& options_;
  std::vector<ProductGroup> groups_;
  std::map<const Value*, int64_t> blocks_;
  AwqReport report_;
};

}  // namespace

Result<AwqReport> scale_for_weights(Model& model, const Graph& measured,
                                    const WeightOnlyOptions& options) {
  return Scaling(model, measured, options).run();
}

}  // namespace onnxtool
