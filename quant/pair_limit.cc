#include "quant/pair_limit.h"

#include <fmt/format.h>
#include <tbb/parallel_for.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace onnxtool {
namespace {

// Between the scale of the extremes and the one that the largest pair takes, both included.
constexpr int kScalesTried = 9;
// What a moved code counts beside a rounding: both of a pair are off to the same side, and data is
// alike between neighbours, so that their errors add up instead of their squares.
constexpr double kMovedCost = 2;

struct Pair {
  float first, second;  // of one sign
};

struct Coder {
  float scale;
  WeightCoder nearest;
  Coder(float s, const QuantScheme& scheme) : scale(s), nearest({s, 0}, scheme) {}
  double error(float weight, int code) const {
    const double e = static_cast<double>(weight) - static_cast<double>(code) * scale;
    return e * e;
  }
  // What moving codes of a pair adds to the squared error.
  double cost(Pair p) const {
    int a = nearest(p.first), b = nearest(p.second);
    if (!pair_saturates(a, b)) return 0;
    const double before = error(p.first, a) + error(p.second, b);
    limit_pair(p.first / scale, p.second / scale, a, b);
    return error(p.first, a) + error(p.second, b) - before;
  }
};

size_t channel_of(size_t at, const WeightShape& shape) {
  return at / static_cast<size_t>(shape.inner) % static_cast<size_t>(shape.channels);
}

// The weights of a channel side by side.
std::vector<float> channel_values(std::span<const float> weights, const WeightShape& shape,
                                  size_t channel) {
  std::vector<float> values;
  const auto inner = static_cast<size_t>(shape.inner);
  values.reserve(static_cast<size_t>(shape.outer) * inner);
  for (int64_t o = 0; o < shape.outer; ++o) {
    const auto from = weights.subspan((static_cast<size_t>(o * shape.channels) + channel) * inner);
    values.insert(values.end(), from.begin(), from.begin() + shape.inner);
  }
  return values;
}

// The scale that leaves the least squared error once none of the pairs saturates.
float best_scale(std::span<const float> values, const std::vector<Pair>& saturating, float narrow,
                 const QuantScheme& scheme) {
  float largest = 0;
  for (const Pair p : saturating) largest = std::max(largest, std::fabs(p.first + p.second));
  const float wide = std::max(largest / kMaxPairSum, narrow);
  float best = wide;
  double least = std::numeric_limits<double>::infinity();
  for (int i = 0; i < kScalesTried; ++i) {
    const float part = static_cast<float>(i) / (kScalesTried - 1);
    const float scale = part == 1 ? wide : narrow * std::pow(wide / narrow, part);
    const Coder coder(scale, scheme);
    double error = squared_error(values, coder.nearest);
    for (const Pair p : saturating) error += kMovedCost * coder.cost(p);
    if (error < least) {
      least = error;
      best = scale;
    }
  }
  return best;
}

}  // namespace

void limit_pair(float first, float second, int& first_code, int& second_code) {
  const auto loss = [](float weight, int code) {
    const float now = std::fabs(weight - static_cast<float>(code));
    const float then = std::fabs(weight - static_cast<float>(code - (code > 0 ? 1 : -1)));
    return then * then - now * now;
  };
  while (pair_saturates(first_code, second_code)) {
    const bool of_first = second_code == 0 ||
                          (first_code != 0 && loss(first, first_code) <= loss(second, second_code));
    int& moved = of_first ? first_code : second_code;
    moved -= moved > 0 ? 1 : -1;
  }
}

int64_t widen_for_pairs(std::span<const float> weights, const WeightShape& shape,
                        const PairOrder& order, const QuantScheme& scheme,
                        std::vector<QuantParams>& params) {
  std::vector<WeightCoder> coders;
  for (const QuantParams& p : params) coders.emplace_back(p, scheme);
  std::vector<std::vector<Pair>> saturating(params.size());
  for_each_pair(order, [&](size_t a, size_t b) {
    const size_t c = channel_of(a, shape);
    if (pair_saturates(coders[c](weights[a]), coders[c](weights[b])))
      saturating[c].push_back({weights[a], weights[b]});
  });
  tbb::parallel_for(size_t{0}, params.size(), [&](size_t c) {
    if (saturating[c].empty()) return;
    std::vector<float> gathered;
    if (shape.outer > 1) gathered = channel_values(weights, shape, c);
    const auto inner = static_cast<size_t>(shape.inner);
    const std::span<const float> values =
        shape.outer > 1 ? std::span<const float>(gathered) : weights.subspan(c * inner, inner);
    params[c].scale = best_scale(values, saturating[c], params[c].scale, scheme);
  });
  return std::ranges::count_if(saturating, [](const auto& pairs) { return !pairs.empty(); });
}

void limit_pairs(std::span<const float> weights, const WeightShape& shape, const PairOrder& order,
                 std::span<const QuantParams> params, std::span<int8_t> codes) {
  for_each_pair(order, [&](size_t a, size_t b) {
    if (!pair_saturates(codes[a], codes[b])) return;
    const float scale = params[channel_of(a, shape)].scale;
    int first = codes[a], second = codes[b];
    limit_pair(weights[a] / scale, weights[b] / scale, first, second);
    codes[a] = static_cast<int8_t>(first);
    codes[b] = static_cast<int8_t>(second);
  });
}

void PairReport::add(const QuantizedWeights& q) {
  ++layers;
  channels += static_cast<int64_t>(q.scales.size());
  limited_layers += q.limited_channels > 0;
  limited_channels += q.limited_channels;
}

std::string PairReport::text() const {
  if (limited_layers == 0)
    return fmt::format("no pair of weights saturates without VNNI: {} layer{} keep{} all 8 bits",
                       layers, layers == 1 ? "" : "s", layers == 1 ? "s" : "");
  return fmt::format(
      "pairs of weights would saturate without VNNI in {} of {} layers: smaller integers in {} of "
      "{} channels, all 8 bits in the others",
      limited_layers, layers, limited_channels, channels);
}

}  // namespace onnxtool
