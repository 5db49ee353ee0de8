#include "quant/smooth.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "calib/compare/side.h"
#include "quant/channel_scales.h"
#include "quant/equalize.h"

namespace onnxtool {
namespace {

constexpr double kStrengths[] = {0.3, 0.4, 0.5, 0.6, 0.7, 0.8};
// What is predicted to gain less is left as it came.
constexpr double kGain = 0.8;
constexpr double kCodes = 255;
// Channels that hardly occur must not make the others' factors huge.
constexpr double kMaxRatio = 1e5;

// Along the last axis.
struct Channel {
  double low = 0, high = 0, squares = 0;
  double reach() const { return std::max(-low, high); }
};

class ChannelsObserver final : public Observer {
 public:
  explicit ChannelsObserver(const std::vector<ProductGroup>& groups) {
    for (const ProductGroup& g : groups) channels.emplace_back(static_cast<size_t>(g.depth));
    rows.resize(groups.size());
  }
  bool needs_plain() const override { return true; }
  Status observe(int watch, const ConstView& v) override {
    auto& to = channels[static_cast<size_t>(watch)];
    if (v.dtype != DataType::kFloat || v.count % static_cast<int64_t>(to.size())) return {};
    const std::span<const float> x = v.as<float>();
    rows[static_cast<size_t>(watch)] += static_cast<double>(x.size() / to.size());
    for (size_t i = 0; i < x.size(); i += to.size())
      for (size_t k = 0; k < to.size(); ++k) {
        const double value = x[i + k];
        to[k].low = std::min(to[k].low, value);
        to[k].high = std::max(to[k].high, value);
        to[k].squares += value * value;
      }
    return {};
  }
  std::vector<std::vector<Channel>> channels;
  std::vector<double> rows;
};

// Largest magnitude and sum of squares of the weights that meet each channel.
struct Column {
  double reach = 0, squares = 0;
};

class Group {
 public:
  /// rows: how many the squares are of.
  Group(const ProductGroup& g, const std::vector<Channel>& channels, double rows)
      : g_(g), channels_(channels), rows_(rows), columns_(channels.size()) {
    for (const auto& w : g.weights) {
      const std::vector<float> values = w.value->constant()->values<float>();
      const size_t inner = w.along ? 1 : static_cast<size_t>(w.rows);
      for (size_t i = 0; i < values.size(); ++i) {
        Column& c = columns_[i / inner % columns_.size()];
        c.reach = std::max(c.reach, std::abs(static_cast<double>(values[i])));
        c.squares += static_cast<double>(values[i]) * values[i];
      }
    }
  }

  std::vector<float> factors(double strength) const {
    double far = 0, large = 0;
    for (size_t k = 0; k < columns_.size(); ++k) {
      far = std::max(far, channels_[k].reach());
      large = std::max(large, columns_[k].reach);
    }
    std::vector<float> out;
    for (size_t k = 0; k < columns_.size(); ++k) {
      const double x = std::max(channels_[k].reach(), far / kMaxRatio),
                   w = std::max(columns_[k].reach, large / kMaxRatio);
      const double s = std::pow(x, strength) / std::pow(w, 1 - strength);
      out.push_back(std::isfinite(s) && s > 0 ? static_cast<float>(s) : 1);
    }
    return out;
  }

  // What 8-bit codes of the activation, all of one range, and of the weights, each row of its own,
  // are expected to add to the outputs.
  double noise(const std::vector<float>& factors) const {
    double low = 0, high = 0, activation = 0, squares = 0, rows = 0;
    for (size_t k = 0; k < factors.size(); ++k) {
      const double s = factors[k];
      low = std::min(low, channels_[k].low / s);
      high = std::max(high, channels_[k].high / s);
      activation += columns_[k].squares * s * s;
      squares += channels_[k].squares / (s * s);
    }
    for (const auto& w : g_.weights) {
      const std::vector<float> scaled = scaled_weight(w, factors);
      std::vector<float> reach(static_cast<size_t>(w.rows));
      for (size_t i = 0; i < scaled.size(); ++i) {
        float& r = reach[w.along ? i / factors.size() : i % reach.size()];
        r = std::max(r, std::abs(scaled[i]));
      }
      for (const float r : reach) rows += static_cast<double>(r) * r * 4;
    }
    const double step = high - low;
    return (step * step * activation * rows_ + rows * squares) / (kCodes * kCodes);
  }

 private:
  const ProductGroup& g_;
  const std::vector<Channel>& channels_;
  double rows_;
  std::vector<Column> columns_;
};

}  // namespace

Result<int> smooth(Model& model, const Placement& placement, std::optional<double> strength,
                   const SampleSource& source, const RunOptions& run) {
  const std::set<const Node*> integer = placement.integer_nodes();
  std::vector<ProductGroup> groups =
      product_groups(model, [&](const Node& n) { return integer.contains(&n); });
  std::erase_if(groups, [](const ProductGroup& g) { return !takes_division(g); });
  if (groups.empty()) return 0;
  std::vector<const Value*> watched;
  for (const ProductGroup& g : groups) watched.push_back(g.data);
  const SpreadSamples some(source, affordable_samples(placement));
  const Parallelism one{1, run.threads};
  ONNXTOOL_ASSIGN(const auto side, open_model_side(model.graph(), watched, nullptr, run, one));
  ChannelsObserver seen(groups);
  ONNXTOOL_TRY(for_each_sample(some, 1, [&](int, int64_t index, Sample sample) -> Status {
    Status s = side->run(0, index, sample, nullptr, &seen);
    return s.ok() ? std::move(s) : std::move(s).error().at("sample '" + sample.id + "'");
  }));
  int count = 0;
  for (size_t i = 0; i < groups.size(); ++i) {
    const Group g(groups[i], seen.channels[i], seen.rows[i]);
    std::vector<float> best;
    if (strength) {
      best = g.factors(*strength);
    } else {
      double least = kGain * g.noise(std::vector<float>(seen.channels[i].size(), 1));
      for (const double a : kStrengths) {
        std::vector<float> factors = g.factors(a);
        const double noise = g.noise(factors);
        if (!(noise < least)) continue;
        least = noise;
        best = std::move(factors);
      }
    }
    if (best.empty()) continue;
    scale_channels(model, groups[i], best);
    ++count;
  }
  return count;
}

}  // namespace onnxtool
