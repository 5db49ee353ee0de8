#include "quant/gptq.h"

#include <tbb/parallel_for.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "libopt/support/half.h"
#include "quant/block_access.h"
#include "quant/dense.h"

namespace onnxtool {
namespace {

// Added to the diagonal, as a share of its mean: inputs that hardly occur must not carry the errors
// of the others. The paper's value.
constexpr double kDamping = 0.01;
// Rows of weights that one task quantizes side by side, and inputs between two products.
constexpr int64_t kTile = 64, kStep = 128;

// M in the order of positions, with something added to its diagonal.
void permute(const InputMoments& m, GptqFactor& out, float added) {
  out.upper.resize(m.sums.size());
  tbb::parallel_for(int64_t{0}, m.depth, [&](int64_t i) {
    const float* row = m.sums.data() + out.input[static_cast<size_t>(i)] * m.depth;
    float* to = out.upper.data() + i * m.depth;
    for (int64_t j = 0; j < m.depth; ++j) to[j] = row[out.input[static_cast<size_t>(j)]];
    to[i] += added;
  });
}

// Some rows side by side: element (position, row) at [position * kTile + row].
class RowTile {
 public:
  RowTile(const GptqFactor& f, int64_t depth)
      : f_(f),
        depth_(depth),
        weights(static_cast<size_t>(depth * kTile)),
        errors_(weights.size()),
        sums_(kStep * kTile) {}

  /// Walks the inputs in order. choose(position, targets, errors) sees for each row what would
  /// leave no error, and says what error it leaves. Returns the noise of each row.
  template <class Choose>
  std::array<double, kTile> walk(const Choose& choose) {
    std::array<double, kTile> noise{};
    for (int64_t end = depth_; end > 0; end -= kStep) {
      const int64_t begin = std::max<int64_t>(0, end - kStep);
      multiply_here(end - begin, kTile, depth_ - end,
                    {f_.upper.data() + begin * depth_ + end, depth_, 1},
                    {errors_.data() + end * kTile, kTile, 1}, sums_.data(), kTile);
      for (int64_t i = end; i-- > begin;) step(i, begin, end, choose, noise);
    }
    return noise;
  }

 private:
  template <class Choose>
  void step(int64_t i, int64_t begin, int64_t end, const Choose& choose,
            std::array<double, kTile>& noise) {
    const float* upper = f_.upper.data() + i * depth_;
    float* sum = sums_.data() + (i - begin) * kTile;
    for (int64_t j = i + 1; j < end; ++j) {
      const float* e = errors_.data() + j * kTile;
      for (int64_t r = 0; r < kTile; ++r) sum[r] += upper[j] * e[r];
    }
    const float* w = weights.data() + i * kTile;
    float* e = errors_.data() + i * kTile;
    float target[kTile];
    for (int64_t r = 0; r < kTile; ++r) target[r] = w[r] + sum[r] / upper[i];
    choose(i, target, e);
    for (int64_t r = 0; r < kTile; ++r) {
      const double term = static_cast<double>(upper[i]) * e[r] + sum[r];
      noise[static_cast<size_t>(r)] += term * term;
    }
  }

  const GptqFactor& f_;
  int64_t depth_;

 public:
  std::vector<float> weights;

 private:
  std::vector<float> errors_, sums_;
};

std::vector<float> floats_of(const Tensor& t) {
  if (t.dtype() == DataType::kFloat) return t.values<float>();
  const std::vector<Half> halves = t.values<Half>();
  return {halves.begin(), halves.end()};
}

// The matrix, tile by tile.
class Chooser {
 public:
  Chooser(const WeightMatrix& w, const GptqFactor& f, int64_t block, const BlockFormat& format,
          BlockLayout layout, WeightBlocks& q)
      : w_(w),
        f_(f),
        // A row with one scale has as many codes on either side of zero.
        low_(format.symmetric && block == 0 ? 1 : 0),
        high_(format.levels() - 1),
        access_(w, block, format, layout, q),
        floats_(floats_of(w.tensor)),
        codes_(static_cast<size_t>(w.rows * w.depth)) {}

  OutputNoise run() {
    const int64_t tiles = (w_.rows + kTile - 1) / kTile;
    std::vector<OutputNoise> parts(static_cast<size_t>(tiles));
    tbb::parallel_for(int64_t{0}, tiles,
                      [&](int64_t t) { parts[static_cast<size_t>(t)] = tile(t * kTile); });
    OutputNoise all;
    for (const OutputNoise& p : parts) {
      all.signal += p.signal;
      all.nearest += p.nearest;
      all.chosen += p.chosen;
    }
    for (int64_t row = 0; row < w_.rows; ++row)
      for (int64_t k = 0; k < w_.depth; ++k)
        access_.set_code(row, k, codes_[static_cast<size_t>(row * w_.depth + k)]);
    return all;
  }

 private:
  float weight(int64_t row, int64_t k) const {
    return floats_[static_cast<size_t>(w_.across ? k * w_.rows + row : row * w_.depth + k)];
  }

  OutputNoise tile(int64_t first) {
    const int64_t rows = std::min(kTile, w_.rows - first);
    RowTile t(f_, w_.depth);
    for (int64_t i = 0; i < w_.depth; ++i)
      for (int64_t r = 0; r < rows; ++r)
        t.weights[static_cast<size_t>(i * kTile + r)] =
            weight(first + r, f_.input[static_cast<size_t>(i)]);
    const auto signal = t.walk([&](int64_t i, const float*, float* e) {
      std::copy_n(t.weights.data() + i * kTile, kTile, e);
    });
    const auto nearest = t.walk([&](int64_t i, const float*, float* e) {
      const int64_t k = f_.input[static_cast<size_t>(i)];
      for (int64_t r = 0; r < rows; ++r)
        e[r] = t.weights[static_cast<size_t>(i * kTile + r)] -
               value(first + r, k, access_.code(first + r, k));
    });
    const auto chosen = t.walk([&](int64_t i, const float* target, float* e) {
      const int64_t k = f_.input[static_cast<size_t>(i)];
      for (int64_t r = 0; r < rows; ++r) {
        const uint8_t code = nearest_code(first + r, k, target[r]);
        codes_[static_cast<size_t>((first + r) * w_.depth + k)] = code;
        e[r] = t.weights[static_cast<size_t>(i * kTile + r)] - value(first + r, k, code);
      }
    });
    OutputNoise sums;
    for (int64_t r = 0; r < rows; ++r) {
      const auto at = static_cast<size_t>(r);
      sums.signal += signal[at];
      sums.nearest += nearest[at];
      sums.chosen += std::min(nearest[at], chosen[at]);
      if (chosen[at] <= nearest[at]) continue;
      for (int64_t k = 0; k < w_.depth; ++k)
        codes_[static_cast<size_t>((first + r) * w_.depth + k)] = access_.code(first + r, k);
    }
    return sums;
  }

  float value(int64_t row, int64_t k, int code) const {
    return static_cast<float>(code - access_.zero_point(row, k)) * access_.scale(row, k);
  }
  uint8_t nearest_code(int64_t row, int64_t k, float target) const {
    const float code = std::nearbyint(target / access_.scale(row, k)) +
                       static_cast<float>(access_.zero_point(row, k));
    return static_cast<uint8_t>(
        std::clamp(code, static_cast<float>(low_), static_cast<float>(high_)));
  }

  const WeightMatrix& w_;
  const GptqFactor& f_;
  int low_, high_;
  BlockAccess access_;
  std::vector<float> floats_;
  std::vector<uint8_t> codes_;  // [rows, depth]
};

}  // namespace

std::optional<GptqFactor> factor_moments(const InputMoments& m) {
  double trace = 0;
  for (int64_t k = 0; k < m.depth; ++k) trace += m.at(k);
  GptqFactor out;
  out.input.resize(static_cast<size_t>(m.depth));
  std::iota(out.input.begin(), out.input.end(), int64_t{0});
  std::ranges::stable_sort(out.input, {}, [&](int64_t k) { return m.at(k); });
  // In floats a matrix that is nearly singular may need more.
  for (double damping = kDamping; damping <= 1; damping *= 10) {
    const auto added = static_cast<float>(damping * trace / static_cast<double>(m.depth));
    if (!(added > 0)) break;
    permute(m, out, added);
    if (cholesky_upper(out.upper, m.depth)) return out;
  }
  return std::nullopt;
}

OutputNoise choose_codes(const WeightMatrix& weights, const GptqFactor& factor, int64_t block,
                         const BlockFormat& format, BlockLayout layout, WeightBlocks& q) {
  return Chooser(weights, factor, block, format, layout, q).run();
}

}  // namespace onnxtool
