#include "quant/channel_noise.h"

#include <algorithm>
#include <cmath>

namespace onnxtool {
namespace {

// The range that calibrators settle on, as a share of what the channels reach: a large value that
// is seldom met is cut or costs little. A real network (CIFAR-10, channels scaled at random) gets
// the noise back that it had as trained from a fifth to over a half; at the whole reach it loses 1
// dB.
constexpr double kRangeShare = 0.5;
constexpr double kCodes = 255, kWeightCodes = 127;

}  // namespace

ChannelNoise::ChannelNoise(Channels channels, const std::vector<double>& row_size)
    : rows_(static_cast<int64_t>(row_size.size())),
      channels_(static_cast<int64_t>(channels.reach.size())),
      largest_(static_cast<size_t>(rows_ * channels_), 0),
      column_(static_cast<size_t>(channels_), 0),
      of_(std::move(channels)) {
  for (const double b : row_size) {
    weight_.push_back(b > 0 ? 1 / (b * b) : 0);
    weights_ += weight_.back();
  }
}

void ChannelNoise::add_weights(int64_t row, int64_t channel, std::span<const float> weights) {
  float& largest = largest_[at(row, static_cast<size_t>(channel))];
  double squares = 0;
  for (const float w : weights) {
    largest = std::max(largest, std::abs(w));
    squares += static_cast<double>(w) * w;
  }
  column_[static_cast<size_t>(channel)] += weight_[static_cast<size_t>(row)] * squares;
}

void ChannelNoise::share_scales(std::vector<double> first_weights, double first_energy) {
  first_weights_ = std::move(first_weights);
  first_energy_ = first_energy;
}

double ChannelNoise::unscaled() {
  prepare();
  return start(std::vector<int>(column_.size(), 0));
}

double ChannelNoise::settle(std::vector<int>& e) {
  const double unscaled = this->unscaled();
  double best = start(e);
  // Where evening out all the way does not help at all, the search would not find much either. With
  // shared scales layers take turns, and it goes on from where they stand.
  if (first_weights_.empty() ? !(best < unscaled) : !(best <= unscaled)) return 1;
  // Each sweep that changes something lowers J; the bound only guards against endless tiny gains.
  for (int sweep = 0; sweep < 16; ++sweep) {
    bool moved = false;
    for (size_t i = 0; i < e.size(); ++i)
      for (const int step : {1, -1}) {
        const double j = try_step(i, step, best);
        if (!(j < best)) continue;
        take_step(i, step);
        e[i] += step;
        best = j;
        moved = true;
        break;
      }
    if (!moved) break;
  }
  return unscaled / best;
}

void ChannelNoise::Largest::find(const std::vector<double>& values,
                                 const std::vector<double>& factors) {
  most = next = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const double v = values[i] / factors[i];
    if (v > most) {
      next = most;
      most = v;
      channel = i;
    } else {
      next = std::max(next, v);
    }
  }
}

// The largest once channel i is `value`.
double ChannelNoise::Largest::after(size_t i, double value) const {
  return std::max(i == channel ? next : most, value);
}

size_t ChannelNoise::at(int64_t row, size_t channel) const {
  return static_cast<size_t>(row * channels_) + channel;
}

void ChannelNoise::prepare() {
  if (prepared_) return;
  prepared_ = true;
  for (size_t i = 0; i < column_.size(); ++i) column_[i] *= of_.nonzero[i];
  // Steps look at one channel in all rows. In strips, so that the lines written to stay in the
  // cache.
  by_channel_.resize(largest_.size());
  constexpr int64_t kStrip = 16;
  for (int64_t first = 0; first < channels_; first += kStrip)
    for (int64_t o = 0; o < rows_; ++o)
      for (int64_t i = first; i < std::min(first + kStrip, channels_); ++i)
        by_channel_[static_cast<size_t>(i * rows_ + o)] = largest_[at(o, static_cast<size_t>(i))];
}

double ChannelNoise::row_range(int64_t row) const {
  const float* mine = largest_.data() + at(row, 0);
  double largest[4] = {};  // one alone would wait for itself
  size_t i = 0;
  for (; i + 4 <= factor_.size(); i += 4)
    for (size_t k = 0; k < 4; ++k) largest[k] = std::max(largest[k], mine[i + k] * factor_[i + k]);
  for (; i < factor_.size(); ++i) largest[0] = std::max(largest[0], mine[i] * factor_[i]);
  return std::max(std::max(largest[0], largest[1]), std::max(largest[2], largest[3]));
}

double ChannelNoise::sum(double range, double first, double by_activation, double by_weight,
                         double mean_square) const {
  const double step = kRangeShare * range / kCodes, first_step = first / kWeightCodes;
  return (step * step + first_step * first_step * first_energy_) * by_activation +
         by_weight * mean_square / (kWeightCodes * kWeightCodes);
}

// J at e from scratch; the running terms that steps change.
double ChannelNoise::start(const std::vector<int>& e) {
  factor_.clear();
  for (int x : e) factor_.push_back(std::ldexp(1.0, x));
  by_activation_ = mean_square_ = 0;
  for (size_t i = 0; i < e.size(); ++i) {
    by_activation_ += column_[i] * factor_[i] * factor_[i];
    mean_square_ += of_.energy[i] / (factor_[i] * factor_[i]);
  }
  reach_.find(of_.reach, factor_);
  first_.find(first_weights_, factor_);
  row_range_.clear();
  double by_weight = 0, largest = 0;
  for (int64_t o = 0; o < rows_; ++o) {
    row_range_.push_back(row_range(o));
    by_weight += weight_[static_cast<size_t>(o)] * row_range_.back() * row_range_.back();
    largest = std::max(largest, row_range_.back());
  }
  if (!first_weights_.empty()) by_weight = weights_ * largest * largest;
  return sum(reach_.most, first_.most, by_activation_, by_weight, mean_square_);
}

// J after a step, or, once it is sure to pass it, something above `limit`.
double ChannelNoise::try_step(size_t i, int step, double limit) {
  const double f = factor_[i], g = std::ldexp(f, step);
  const double range = reach_.after(i, of_.reach[i] / g);
  const bool shared = !first_weights_.empty();
  const double first = shared ? first_.after(i, first_weights_[i] / g) : 0;
  const double by_activation = by_activation_ + column_[i] * (g * g - f * f);
  const double mean_square = mean_square_ + of_.energy[i] * (1 / (g * g) - 1 / (f * f));
  const float* mine = by_channel_.data() + i * static_cast<size_t>(rows_);
  double by_weight = 0;
  for (size_t o = 0; o < row_range_.size(); ++o) {
    double r = std::max(row_range_[o], mine[o] * g);
    // Channel i set this row's range and shrinks: who is the largest now?
    if (g < f && mine[o] * f >= row_range_[o]) {
      factor_[i] = g;
      r = row_range(static_cast<int64_t>(o));
      factor_[i] = f;
    }
    by_weight = shared ? std::max(by_weight, weights_ * r * r) : by_weight + weight_[o] * r * r;
    if (o % 64 == 0 && sum(range, first, by_activation, by_weight, mean_square) > limit) break;
  }
  return sum(range, first, by_activation, by_weight, mean_square);
}

void ChannelNoise::take_step(size_t i, int step) {
  const double f = factor_[i], g = std::ldexp(f, step);
  by_activation_ += column_[i] * (g * g - f * f);
  mean_square_ += of_.energy[i] * (1 / (g * g) - 1 / (f * f));
  factor_[i] = g;
  reach_.find(of_.reach, factor_);
  first_.find(first_weights_, factor_);
  const float* mine = by_channel_.data() + i * static_cast<size_t>(rows_);
  for (size_t o = 0; o < row_range_.size(); ++o) {
    const bool set_it = g < f && mine[o] * f >= row_range_[o];
    row_range_[o] =
        set_it ? row_range(static_cast<int64_t>(o)) : std::max(row_range_[o], mine[o] * g);
  }
}

}  // namespace onnxtool
