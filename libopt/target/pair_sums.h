// Sums that onnxruntime's kernels make in 16 bits on x86 CPUs without VNNI: vpmaddubsw adds two
// products of u8 data and s8 weights, and saturates. Everything else about a sum is exact there.
//
// Sources: Intel's instruction reference, PMADDUBSW; onnxruntime 1.31, core/mlas/lib: the kernels
// of QGEMM and ConvSym for AVX2 and AVX-512 take two neighbours of the common axis, from an even
// place on; MlasGemmQuantGetDispatch() has them for u8 data by s8 weights alone, and s8 by u8 goes
// to a kernel of 32 bits; depthwise kernels widen first. QLinearConv hands the weights on as
// [taps, channels of the group, outputs] and has the depthwise kernel where a group has one channel
// on both sides; ConvInteger has its weights on the left, which is s8 by u8.
// tests/python/test_pair_sums.py runs these kernels.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "libopt/ir/graph.h"

namespace onnxtool {

/// Weights in memory as [outer, channels, taps, inner], summed over channels and taps: the kernel
/// takes the channels of the first tap, then those of the next. Two of them, from an even place on,
/// are a pair.
struct PairOrder {
  int64_t outer = 1, channels = 1, taps = 1, inner = 1;
  int64_t depth() const { return channels * taps; }
};

/// Two s8 weights of one sign may sum up to this: 255 x 128 fits 16 bits, 255 x 129 does not.
/// Those of two signs always fit.
inline constexpr int kMaxPairSum = 128;

constexpr bool pair_saturates(int a, int b) {
  const int sum = a + b;
  return (a ^ b) >= 0 && (sum > kMaxPairSum || sum < -kMaxPairSum);
}

/// How the kernel adds the weights of a layer, which have these dims: of Conv, Gemm and MatMul as
/// between DequantizeLinear and QuantizeLinear, and of the operators that the runtime has for them.
/// nullopt: it has none that adds pairs.
std::optional<PairOrder> pair_order(const Node& layer, std::span<const int64_t> dims);

/// Calls f(index, index) for both weights of each pair; a last one without a neighbour has none.
template <class F>
void for_each_pair(const PairOrder& o, F&& f) {
  const auto at = [&](int64_t outer, int64_t k) {
    return ((outer * o.channels + k % o.channels) * o.taps + k / o.channels) * o.inner;
  };
  for (int64_t outer = 0; outer < o.outer; ++outer)
    for (int64_t k = 0; k + 1 < o.depth(); k += 2) {
      const int64_t a = at(outer, k), b = at(outer, k + 1);
      for (int64_t i = 0; i < o.inner; ++i)
        f(static_cast<size_t>(a + i), static_cast<size_t>(b + i));
    }
}

/// Of codes in the order of the weights.
int64_t count_saturating_pairs(const PairOrder& order, std::span<const int8_t> codes);

/// Whether QLinearConv sums a group of so many channels by the depthwise kernel.
constexpr bool is_summed_depthwise(int64_t group_inputs, int64_t group_outputs) {
  return group_inputs == 1 && group_outputs == 1;
}

}  // namespace onnxtool
