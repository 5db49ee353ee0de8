// s8 weights for kernels that add two products in 16 bits (libopt/target/pair_sums.h): where the
// codes of a pair sum to too much, their channel gets a wider scale, or the pair smaller codes.
//
// A scale that is wide enough for every pair costs the other weights of the channel precision,
// codes moved off the nearest cost the pair's own. Between the narrow scale and the wide one, the
// scale is taken that leaves the least squared error over the channel.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "libopt/target/pair_sums.h"
#include "quant/weight_loops.h"

namespace onnxtool {

/// Raises scales of `params` (one a channel of `shape`, or one; zero points 0) for weights whose
/// pairs saturate when they are rounded to the nearest code. Returns how many channels have such.
int64_t widen_for_pairs(std::span<const float> weights, const WeightShape& shape,
                        const PairOrder& order, const QuantScheme& scheme,
                        std::vector<QuantParams>& params);

/// Moves codes of pairs that saturate towards 0, one by one, each time the one that loses less,
/// until none does.
void limit_pairs(std::span<const float> weights, const WeightShape& shape, const PairOrder& order,
                 std::span<const QuantParams> params, std::span<int8_t> codes);

/// The same for one pair: weights in units of their scale.
void limit_pair(float first, float second, int& first_code, int& second_code);

/// Of a model's layers whose kernels add pairs; weights with one scale are one channel.
struct PairReport {
  int64_t layers = 0, limited_layers = 0, channels = 0, limited_channels = 0;
  void add(const QuantizedWeights& weights);
  std::string text() const;
};

}  // namespace onnxtool
