#include "calib/kernels/dnnl/pointwise_int8.h"

#include <algorithm>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace onnxtool {
namespace {

// Outputs of a vector, inputs of one lane's step, and from how many inputs on oneDNN is as fast.
constexpr int64_t kLanes = 16, kStep = 4, kMostInputs = 32;

#if defined(__x86_64__)
#define ONNXTOOL_VNNI __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))

// The forms with a mask, as gcc 12 warns of an undefined operand in the plain ones.
constexpr __mmask16 kAll = 0xffff;

struct Tile {
  const uint8_t* x;
  const int8_t* codes;  // of the first vector
  int64_t inputs, outputs;
  int64_t steps;        // of the inputs
  const int32_t* bias;  // of the first output, like all that follows
  const float* multipliers;
  __mmask16 last;  // outputs of the last vector
  const Requantization* r;
  uint8_t* y;
};

// kPixels x kVectors sums stay in registers.
template <int kPixels, int kVectors>
ONNXTOOL_VNNI void run_tile(const Tile& t) {
  __m512i sums[kPixels][kVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    const __mmask16 there = v + 1 == kVectors ? t.last : kAll;
    const __m512i bias = _mm512_maskz_loadu_epi32(there, t.bias + v * kLanes);
#pragma GCC unroll 8
    for (int p = 0; p < kPixels; ++p) sums[p][v] = bias;
  }
  for (int64_t k = 0; k < t.steps; ++k) {
    __m512i weights[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v)
      weights[v] = _mm512_loadu_si512(t.codes + (v * t.steps + k) * kLanes * kStep);
#pragma GCC unroll 8
    for (int p = 0; p < kPixels; ++p) {
      int32_t four;
      std::memcpy(&four, t.x + p * t.inputs + k * kStep, sizeof four);
      const __m512i codes = _mm512_set1_epi32(four);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v)
        sums[p][v] = _mm512_dpbusd_epi32(sums[p][v], codes, weights[v]);
    }
  }
  // As requantize(): clipped first, then rounded half to even.
  const Requantization& r = *t.r;
  const __m512 low = _mm512_set1_ps(static_cast<float>(r.low - r.zero_point)),
               high = _mm512_set1_ps(static_cast<float>(r.high - r.zero_point));
  const __m512i zero = _mm512_set1_epi32(r.zero_point);
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    const __mmask16 there = v + 1 == kVectors ? t.last : kAll;
    const __m512 multipliers = _mm512_maskz_loadu_ps(there, t.multipliers + v * kLanes);
#pragma GCC unroll 8
    for (int p = 0; p < kPixels; ++p) {
      __m512 s = _mm512_mul_ps(_mm512_maskz_cvtepi32_ps(kAll, sums[p][v]), multipliers);
      s = _mm512_maskz_min_ps(kAll, _mm512_maskz_max_ps(kAll, s, low), high);
      const __m512i code = _mm512_add_epi32(_mm512_maskz_cvtps_epi32(kAll, s), zero);
      // In a register first: storing the low bytes of lanes takes long on some processors.
      const __m128i bytes = _mm512_maskz_cvtepi32_epi8(kAll, code);
      uint8_t* y = t.y + p * t.outputs + v * kLanes;
      if (there == kAll)
        _mm_storeu_si128(reinterpret_cast<__m128i*>(y), bytes);
      else
        _mm_mask_storeu_epi8(y, there, bytes);
    }
  }
}

template <int kPixels>
void run_row(Tile t, int64_t vectors) {
  constexpr int64_t kMost = 3;
  for (int64_t v = 0; v < vectors; v += kMost) {
    const int64_t count = std::min(kMost, vectors - v), left = t.outputs - v * kLanes;
    Tile part = t;
    part.codes += v * t.steps * kLanes * kStep;
    part.bias += v * kLanes, part.multipliers += v * kLanes, part.y += v * kLanes;
    const int64_t in_last = std::min(left - (count - 1) * kLanes, kLanes);
    part.last = static_cast<__mmask16>((1u << in_last) - 1);
    if (count == 3)
      run_tile<kPixels, 3>(part);
    else if (count == 2)
      run_tile<kPixels, 2>(part);
    else
      run_tile<kPixels, 1>(part);
  }
}
#endif

}  // namespace

bool PointwiseInt8::serves(const ConvolutionProblem& p) {
#if defined(__x86_64__)
  return has_exact_int8() && p.is_pointwise() && p.groups == 1 && p.types.source == DnnlType::u8 &&
         p.in_channels % kStep == 0 && p.in_channels <= kMostInputs;
#else
  return p.groups < 0;
#endif
}

PointwiseInt8::PointwiseInt8(std::span<const int8_t> codes, int64_t inputs, int32_t zero_point,
                             std::span<const int32_t> bias)
    : inputs_(inputs),
      outputs_(static_cast<int64_t>(bias.size())),
      codes_(static_cast<size_t>((outputs_ + kLanes - 1) / kLanes * kLanes * inputs), 0),
      bias_(bias.begin(), bias.end()) {
  for (int64_t m = 0; m < outputs_; ++m) {
    const int8_t* row = codes.data() + m * inputs;
    int8_t* block = codes_.data() + m / kLanes * kLanes * inputs + m % kLanes * kStep;
    uint32_t sum = 0;
    for (int64_t k = 0; k < inputs; ++k) {
      block[k / kStep * kLanes * kStep + k % kStep] = row[k];
      sum += static_cast<uint32_t>(row[k]);
    }
    auto& b = bias_[static_cast<size_t>(m)];
    b = static_cast<int32_t>(static_cast<uint32_t>(b) - static_cast<uint32_t>(zero_point) * sum);
  }
}

void PointwiseInt8::run([[maybe_unused]] const uint8_t* x, [[maybe_unused]] int64_t pixels,
                        [[maybe_unused]] const Requantization& r,
                        [[maybe_unused]] uint8_t* y) const {
#if defined(__x86_64__)
  constexpr int64_t kPixels = 6;
  const int64_t vectors = (outputs_ + kLanes - 1) / kLanes;
  Tile t{.x = x,
         .codes = codes_.data(),
         .inputs = inputs_,
         .outputs = outputs_,
         .steps = inputs_ / kStep,
         .bias = bias_.data(),
         .multipliers = r.multipliers,
         .last = 0,
         .r = &r,
         .y = y};
  int64_t i = 0;
  for (; i + kPixels <= pixels; i += kPixels, t.x += kPixels * inputs_, t.y += kPixels * outputs_)
    run_row<kPixels>(t, vectors);
  for (; i < pixels; ++i, t.x += inputs_, t.y += outputs_) run_row<1>(t, vectors);
#endif
}

}  // namespace onnxtool
