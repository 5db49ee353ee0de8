#include "quant/adaround.h"

#include <tbb/parallel_for.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "calib/kernels/cpu/vector_math.h"
#include "quant/adaround_loops.h"
#include "quant/dense.h"
#include "quant/pair_limit.h"

namespace onnxtool {
namespace {

// Rows that one task rounds together: with few of them, packing the moments takes longer than the
// product.
constexpr int64_t kTile = 128;
// Of the paper: the penalty 1 - |2h - 1|^b starts after a fifth of the steps and sharpens from b =
// 20 to 2.
constexpr double kWarmUp = 0.2, kBlunt = 20, kSharp = 2;
// Where the error of nearest rounding is 1 a weight.
constexpr float kPenalty = 0.05f;
constexpr float kRate = 0.03f;
// Over all weights, after the search.
constexpr int kFlipRounds = 4;

class Tile {
 public:
  Tile(Rounding& r, const std::vector<float>& moments, int64_t first)
      : r_(r),
        m_(moments.data()),
        first_(first),
        rows_(std::min(kTile, r.rows - first)),
        size_(static_cast<size_t>(rows_ * r.depth)),
        floor_(size_),
        errors_(size_),
        slopes_(size_) {}

  RoundingNoise run() {
    RoundingNoise noise;
    for (size_t i = 0; i < size_; ++i) errors_[i] = weight(i);
    products();
    noise.signal = total(row_noise());
    for (size_t i = 0; i < size_; ++i) errors_[i] = error(i, code(i));
    products();
    const std::vector<double> nearest = row_noise();
    search(nearest);
    for (int round = 0; round < kFlipRounds && flip(); ++round) {
    }
    const std::vector<double> chosen = row_noise();
    for (int64_t row = 0; row < rows_; ++row) {
      const auto at = static_cast<size_t>(row);
      const bool better = chosen[at] < nearest[at];
      noise.nearest += nearest[at];
      noise.chosen += better ? chosen[at] : nearest[at];
      if (better) keep(row);
    }
    return noise;
  }

 private:
  int64_t row_of(size_t i) const { return first_ + static_cast<int64_t>(i) / r_.depth; }
  size_t global(size_t i) const { return static_cast<size_t>(first_ * r_.depth) + i; }
  float weight(size_t i) const { return r_.weights[global(i)]; }
  int code(size_t i) const { return r_.codes[global(i)]; }
  float scale(size_t i) const { return r_.scales[static_cast<size_t>(row_of(i))]; }
  float error(size_t i, int code) const {
    return weight(i) -
           static_cast<float>(code - r_.zero_points[static_cast<size_t>(row_of(i))]) * scale(i);
  }

  // slopes = errors M, half the gradient by the errors.
  void products() {
    multiply_here(rows_, r_.depth, r_.depth, {errors_.data(), r_.depth, 1}, {m_, r_.depth, 1},
                  slopes_.data(), r_.depth);
  }
  // Of the errors and their products as they are.
  std::vector<double> row_noise() const {
    std::vector<double> out(static_cast<size_t>(rows_));
    for (size_t i = 0; i < size_; ++i)
      out[i / static_cast<size_t>(r_.depth)] += static_cast<double>(errors_[i]) * slopes_[i];
    return out;
  }
  static double total(const std::vector<double>& rows) {
    double sum = 0;
    for (const double v : rows) sum += v;
    return sum;
  }

  // Leaves errors and products of the roundings that were found.
  void search(const std::vector<double>& nearest) {
    if (r_.steps <= 0) {
      for (size_t i = 0; i < size_; ++i) floor_[i] = code(i);
      return;
    }
    std::vector<float> v(size_), mean(size_), square(size_);
    up_.resize(size_);
    powers_.resize(size_);
    floors_.resize(size_);
    for (size_t i = 0; i < size_; ++i) {
      const float zero = static_cast<float>(r_.zero_points[static_cast<size_t>(row_of(i))]);
      const float exact = std::clamp(weight(i) / scale(i) + zero, static_cast<float>(r_.lowest),
                                     static_cast<float>(r_.highest));
      floor_[i] = std::min(static_cast<int>(std::floor(exact)), r_.highest - 1);
      const float h = std::clamp(exact - static_cast<float>(floor_[i]), 0.001f, 0.999f);
      v[i] = -std::log(kRoundingStretch / (h - kRoundingOffset) - 1);
      floors_[i] = static_cast<float>(floor_[i]) - zero;
    }
    for (int64_t step = 0; step < r_.steps; ++step) descend(step, nearest, v, mean, square);
    for (size_t i = 0; i < size_; ++i) floor_[i] += v[i] >= 0 ? 1 : 0;
    limit();
    for (size_t i = 0; i < size_; ++i) errors_[i] = error(i, floor_[i]);
    products();
  }

  void descend(int64_t step, const std::vector<double>& nearest, std::vector<float>& v,
               std::vector<float>& mean, std::vector<float>& square) {
    const double done = static_cast<double>(step) / static_cast<double>(r_.steps);
    const double annealed = std::max(0.0, (done - kWarmUp) / (1 - kWarmUp));
    const auto b = static_cast<float>(kSharp + (kBlunt - kSharp) * (1 - annealed));
    const float penalty = done < kWarmUp ? 0 : kPenalty;
    const auto mean_left = static_cast<float>(1 - std::pow(kMeanDecay, step + 1)),
               square_left = static_cast<float>(1 - std::pow(kSquareDecay, step + 1));
    const auto n = static_cast<int64_t>(size_), depth = r_.depth;
    vector_math().sigmoid(v.data(), up_.data(), n);
    for (int64_t row = 0; row < rows_; ++row) {
      const auto first = static_cast<size_t>(row * depth);
      soft_errors(r_.weights.data() + global(first), &floors_[first], &up_[first], scale(first),
                  &errors_[first], depth);
    }
    products();
    if (penalty > 0) {
      penalty_exponents(up_.data(), b - 1, powers_.data(), n);
      vector_math().exp(powers_.data(), powers_.data(), n);
    }
    AdamStep adam;
    adam.penalty = penalty * b * 2;
    adam.rate = kRate / mean_left;
    adam.square_gain = 1 / square_left;
    for (int64_t row = 0; row < rows_; ++row) {
      const auto first = static_cast<size_t>(row * depth);
      const double noise = nearest[static_cast<size_t>(row)];
      if (!(noise > 0)) continue;
      adam.slope = static_cast<float>(-2.0 * static_cast<double>(depth) *
                                      static_cast<double>(scale(first)) / noise);
      adam_step(adam, &up_[first], &slopes_[first], &powers_[first], &v[first], &mean[first],
                &square[first], depth);
    }
  }

  // The other weight of a pair that must not saturate, or none.
  std::optional<size_t> partner(size_t i) const {
    if (r_.partners.empty()) return {};
    const size_t k = i % static_cast<size_t>(r_.depth);
    const int64_t other = r_.partners[k];
    return other < 0 ? std::nullopt : std::optional(i - k + static_cast<size_t>(other));
  }

  void limit() {
    for (size_t i = 0; i < size_; ++i)
      if (const auto other = partner(i); other && *other > i)
        limit_pair(weight(i) / scale(i), weight(*other) / scale(i), floor_[i], floor_[*other]);
  }

  // Each weight one code up or down where that alone helps. Whether any was.
  bool flip() {
    bool any = false;
    for (int64_t row = 0; row < rows_; ++row) {
      float* slopes = slopes_.data() + row * r_.depth;
      for (int64_t k = 0; k < r_.depth; ++k) {
        const auto i = static_cast<size_t>(row * r_.depth + k);
        const float s = scale(i), diagonal = m_[k * r_.depth + k];
        // Up takes s off the error, down adds it.
        const int step = slopes[k] > 0 ? 1 : -1;
        const float change = -static_cast<float>(step) * s;
        const int moved = floor_[i] + step;
        const bool near = std::abs(error(i, moved)) < s;
        if (!near || moved < r_.lowest || moved > r_.highest) continue;
        if (2 * change * slopes[k] + s * s * diagonal >= 0) continue;
        if (const auto other = partner(i); other && pair_saturates(moved, floor_[*other])) continue;
        floor_[i] = moved;
        errors_[i] += change;
        const float* line = m_ + k * r_.depth;
        add_multiple(change, line, slopes, r_.depth);
        any = true;
      }
    }
    return any;
  }

  void keep(int64_t row) {
    for (int64_t k = 0; k < r_.depth; ++k) {
      const auto i = static_cast<size_t>(row * r_.depth + k);
      r_.codes[global(i)] = floor_[i];
    }
  }

  Rounding& r_;
  const float* m_;
  int64_t first_, rows_;
  size_t size_;
  std::vector<int> floor_;  // the codes, once the search is over
  std::vector<float> errors_, slopes_;
  // Of the search: the sigmoid, what the penalty takes of it, and codes less the zero point.
  std::vector<float> up_, powers_, floors_;
};

}  // namespace

RoundingNoise round_adaptively(Rounding& r, const std::vector<float>& moments) {
  const int64_t tiles = (r.rows + kTile - 1) / kTile;
  std::vector<RoundingNoise> parts(static_cast<size_t>(tiles));
  tbb::parallel_for(int64_t{0}, tiles, [&](int64_t t) {
    parts[static_cast<size_t>(t)] = Tile(r, moments, t * kTile).run();
  });
  RoundingNoise all;
  for (const RoundingNoise& p : parts) {
    all.signal += p.signal;
    all.nearest += p.nearest;
    all.chosen += p.chosen;
  }
  return all;
}

}  // namespace onnxtool
