// Products with 4-bit weights, for the files of vector_math_loops.h and under its rules. A group is
// 64 bytes of codes, 128 weights: lane l multiplies the eight weights of bytes 4 l to 4 l + 3, in
// order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "calib/kernels/cpu/vector_math.h"

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace onnxtool {
namespace {

// A register's share of the 16 lanes.
#if defined(__AVX512F__)
constexpr int kNibbleLanes = 16;
#elif defined(__AVX2__)
constexpr int kNibbleLanes = 8;
#else
constexpr int kNibbleLanes = 4;
#endif
constexpr int kNibbleParts = 16 / kNibbleLanes;
typedef float FloatLanes __attribute__((vector_size(4 * kNibbleLanes)));
typedef int32_t CodeLanes __attribute__((vector_size(4 * kNibbleLanes)));
#if defined(__AVX512F__)
constexpr CodeLanes kLaneNumbers = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
#elif defined(__AVX2__)
constexpr CodeLanes kLaneNumbers = {0, 1, 2, 3, 4, 5, 6, 7};
#else
constexpr CodeLanes kLaneNumbers = {0, 1, 2, 3};
#endif

#if defined(__AVX512F__)
// values[indices[l] % 16], one instruction.
__attribute__((always_inline)) inline FloatLanes looked_up(FloatLanes values, CodeLanes indices) {
#if defined(__clang__)
  return reinterpret_cast<FloatLanes>(
      _mm512_permutexvar_ps(reinterpret_cast<__m512i>(indices), reinterpret_cast<__m512>(values)));
#else
  return __builtin_shuffle(values, indices);
#endif
}
#endif

// The lowest four bits of each, minus 8.
__attribute__((always_inline)) inline FloatLanes low_nibbles(CodeLanes codes) {
#if defined(__AVX512F__)
  // A look-up instead of a mask, a subtraction and a conversion: it reads only those four bits.
  const FloatLanes values = {-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7};
  return looked_up(values, codes);
#else
  return __builtin_convertvector((codes & 15) - 8, FloatLanes);
#endif
}

__attribute__((always_inline)) inline FloatLanes load_lanes(const float* x) {
  FloatLanes v;
  std::memcpy(&v, x, sizeof v);
  return v;
}

// Lane l's scale is scales[l >> shift], or 0 from scales[count] on.
struct LaneScales {
  FloatLanes part[kNibbleParts];
};
__attribute__((always_inline)) inline LaneScales scales_of_lanes(const float* scales, int shift,
                                                                 int64_t count) {
#if defined(__AVX512F__)
  const auto present = static_cast<__mmask16>((1u << (count < 16 ? count : 16)) - 1);
  const auto few = reinterpret_cast<FloatLanes>(_mm512_maskz_loadu_ps(present, scales));
  return {looked_up(few, kLaneNumbers >> shift)};
#else
  float of_lanes[16];
  for (int l = 0; l < 16; ++l) of_lanes[l] = (l >> shift) < count ? scales[l >> shift] : 0.0f;
  LaneScales s;
  for (int p = 0; p < kNibbleParts; ++p) s.part[p] = load_lanes(of_lanes + p * kNibbleLanes);
  return s;
#endif
}

__attribute__((always_inline)) inline void add_group(const float* x, const uint8_t* bytes,
                                                     const LaneScales& scales, FloatLanes* sum) {
  for (int p = 0; p < kNibbleParts; ++p) {
    CodeLanes codes;
    std::memcpy(&codes, bytes + 4 * kNibbleLanes * p, sizeof codes);
    FloatLanes product = load_lanes(x + kNibbleLanes * p) * low_nibbles(codes);
#pragma GCC unroll 8
    for (int j = 1; j < 8; ++j)
      product += load_lanes(x + 16 * j + kNibbleLanes * p) * low_nibbles(codes >> (4 * j));
    sum[p] += product * scales.part[p];
  }
}

// Part p of the values of eight bytes, minus 8.
__attribute__((always_inline)) inline FloatLanes sixteen_nibbles(const uint8_t* bytes, int p) {
  const CodeLanes numbers = kLaneNumbers + p * kNibbleLanes;
  int32_t words[2];
  std::memcpy(words, bytes, sizeof words);
  const CodeLanes codes = numbers < 8 ? CodeLanes{} + words[0] : CodeLanes{} + words[1];
  return low_nibbles(codes >> (numbers & 7) * 4);
}

// A multiple of the sums of 16 blocks: what zero points other than 8 take away.
__attribute__((always_inline)) inline void subtract_offsets(const NibbleRow& row, FloatLanes* sum) {
  for (int p = 0; p < kNibbleParts; ++p) {
    FloatLanes offsets;
    if (row.zeros != nullptr) {
      offsets = load_lanes(row.zeros + p * kNibbleLanes) - 8.0f;
    } else {
      offsets = sixteen_nibbles(row.zero_codes, p);
    }
    sum[p] -= load_lanes(row.scales + p * kNibbleLanes) * offsets *
              load_lanes(row.block_sums + p * kNibbleLanes);
  }
}

inline void subtract_all_offsets(NibbleRow row, FloatLanes* sum) {
  for (; row.blocks >= 16; row.blocks -= 16) {
    subtract_offsets(row, sum);
    row.scales += 16, row.block_sums += 16;
    if (row.zeros != nullptr)
      row.zeros += 16;
    else
      row.zero_codes += 8;
  }
  if (row.blocks == 0) return;
  float scales[16] = {}, sums[16] = {}, zeros[16] = {};
  uint8_t codes[8] = {};
  const auto count = static_cast<size_t>(row.blocks);
  std::memcpy(scales, row.scales, count * sizeof(float));
  std::memcpy(sums, row.block_sums, count * sizeof(float));
  if (row.zeros != nullptr)
    std::memcpy(zeros, row.zeros, count * sizeof(float));
  else
    std::memcpy(codes, row.zero_codes, (count + 1) / 2);
  subtract_offsets({nullptr, scales, 16, 0, codes, row.zeros ? zeros : nullptr, sums}, sum);
}

float dot_nibbles_loop(const float* x, const NibbleRow& row) {
  // A block has 2^shift lanes.
  const int shift = __builtin_ctzll(static_cast<unsigned long long>(row.block_bytes)) - 2;
  const int64_t size = row.blocks * row.block_bytes;
  FloatLanes sums[kNibbleParts] = {};
  for (int64_t at = 0; at < size; at += kNibbleGroup / 2, x += kNibbleGroup) {
    const int64_t block = at >> (shift + 2);
    const LaneScales scales =
        scales_of_lanes(row.scales + block, shift < 4 ? shift : 4, row.blocks - block);
    if (size - at >= kNibbleGroup / 2) {
      add_group(x, row.codes + at, scales, sums);
    } else {
      uint8_t last[kNibbleGroup / 2] = {};
      std::memcpy(last, row.codes + at, static_cast<size_t>(size - at));
      add_group(x, last, scales, sums);
    }
  }
  if (row.zero_codes != nullptr || row.zeros != nullptr) subtract_all_offsets(row, sums);
  float sum[16];
  std::memcpy(sum, sums, sizeof sum);
  for (int width = 8; width > 0; width /= 2)
    for (int l = 0; l < width; ++l) sum[l] += sum[l + width];
  return sum[0];
}

void dequantize_nibbles_loop(const uint32_t* words, const float* zeros, const float* scales,
                             float* y, int64_t stride, int64_t n) {
  for (int p = 0; p < kNibbleParts; ++p) {
    const FloatLanes zero = load_lanes(zeros + p * kNibbleLanes);
    const FloatLanes scale = load_lanes(scales + p * kNibbleLanes);
    float* to = y + p * kNibbleLanes;
    for (int64_t w = 0; w < n; ++w) {
      CodeLanes codes;
      std::memcpy(&codes, words + w * 16 + p * kNibbleLanes, sizeof codes);
      for (int j = 0; j < 8; ++j, to += stride) {
        const FloatLanes v = ((low_nibbles(codes >> (4 * j)) + 8.0f) - zero) * scale;
        std::memcpy(to, &v, sizeof v);
      }
    }
  }
}

}  // namespace
}  // namespace onnxtool
