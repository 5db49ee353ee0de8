// Float loops that are worth vector instructions: compiled once per ISA level from one source
// (vector_math_loops.h) and chosen at run time. Only additions, multiplications, divisions and
// comparisons in a fixed order, fused exactly where the source says so: every level gives the same
// bits. The baseline calls a function for what is fused, some nanoseconds each.
//
// Greatest errors against libm in double, over every seventh float (vector_math_test.cc tries
// fewer):
//   exp 1.04 ULP    sigmoid 2.5 ULP    tanh 1.33 ULP    erf 1.15 ULP
#pragma once

#include <cstdint>

namespace onnxtool {

/// Scales and zero points of a stretch of elements: one each when step is 0, else one per element.
struct QuantLine {
  const float* scale;
  const int32_t* zero_point;
  int64_t step;
};

/// A row of 4-bit weights (q - zero) * scale: two a byte, low bits first, in blocks.
struct NibbleRow {
  const uint8_t* codes;
  const float* scales;          // one for each block
  int64_t blocks, block_bytes;  // a power of two from 8 on
  // A zero point for each block, 4 bits like the weights or as numbers; neither: all are 8.
  const uint8_t* zero_codes = nullptr;
  const float* zeros = nullptr;
  const float* block_sums = nullptr;  // of the left side's values; with zero points
};
/// Values of the left side of such a product are in groups of 128: value 8 * i + j of a group
/// stands at 16 * j + i, and the last group is filled with zeros.
inline constexpr int64_t kNibbleGroup = 128;

/// A sum of two 8-bit tensors' values as codes of a third.
struct CodeSum {
  float a_ratio, b_ratio;  // scales over the result's scale
  float offset;
  int32_t low, high;
};

struct VectorMath {
  // y[i] = f(x[i]); y may be x.
  void (*exp)(const float* x, float* y, int64_t n);
  void (*sigmoid)(const float* x, float* y, int64_t n);
  void (*tanh)(const float* x, float* y, int64_t n);
  void (*erf)(const float* x, float* y, int64_t n);
  void (*gelu)(const float* x, float* y, int64_t n);  // x / 2 * (1 + erf(x / sqrt(2)))
  void (*gelu_tanh)(const float* x, float* y,
                    int64_t n);  // ... * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))
  void (*swish)(const float* x, float* y, int64_t n, float alpha);  // x * sigmoid(alpha * x)
  void (*hard_swish)(const float* x, float* y, int64_t n);          // x * clip(x / 6 + 1 / 2, 0, 1)
  void (*hard_sigmoid)(const float* x, float* y, int64_t n, float alpha,
                       float beta);  // clip(alpha * x + beta, 0, 1)
  void (*clip)(const float* x, float* y, int64_t n, float low, float high);  // NaN stays

  /// float16 as its bits, rounded to nearest even as Half does.
  void (*widen_half)(const uint16_t* x, float* y, int64_t n);
  void (*narrow_half)(const float* x, uint16_t* y, int64_t n);

  /// y[c * y_stride + r] = x[r * x_stride + c]
  void (*transpose32)(const uint32_t* x, int64_t x_stride, uint32_t* y, int64_t y_stride,
                      int64_t rows, int64_t columns);

  // out[i] = a[i * a_step] op b[i * b_step] for steps of 0 or 1; out may be an input.
  void (*add)(const float* a, int64_t a_step, const float* b, int64_t b_step, float* out,
              int64_t n);
  void (*sub)(const float* a, int64_t a_step, const float* b, int64_t b_step, float* out,
              int64_t n);
  void (*mul)(const float* a, int64_t a_step, const float* b, int64_t b_step, float* out,
              int64_t n);
  void (*div)(const float* a, int64_t a_step, const float* b, int64_t b_step, float* out,
              int64_t n);

  float (*dot_nibbles)(const float* x, const NibbleRow& row);
  /// y[k * stride + i] = (q - zeros[i]) * scales[i] for i in [0, 16), k in [0, 8 n): q is value
  /// k % 8, lowest bits first, of words[k / 8 * 16 + i]. 16 columns at a time, rows one after
  /// another.
  void (*dequantize_nibbles)(const uint32_t* words, const float* zeros, const float* scales,
                             float* y, int64_t stride, int64_t n);

  /// y = exp(x - max(x)), and the sum of y; n > 0.
  float (*softmax_terms)(const float* x, float* y, int64_t n);

  /// q = clip(round_half_even(x / scale) + zero_point, low, high); NaN gives low.
  void (*quantize8)(const float* x, QuantLine line, int32_t low, int32_t high, uint8_t* q,
                    int64_t n);
  void (*quantize16)(const float* x, QuantLine line, int32_t low, int32_t high, uint16_t* q,
                     int64_t n);
  /// q[i] = clip(round_half_even(fma(a, a_ratio, fma(b, b_ratio, offset))), low, high) of
  /// a[i * a_step] and b[i * b_step]; fma rounds once, at every level. NaN gives low.
  void (*add_codes_u8)(const uint8_t* a, int64_t a_step, const uint8_t* b, int64_t b_step,
                       CodeSum sum, uint8_t* q, int64_t n);
  void (*add_codes_s8)(const int8_t* a, int64_t a_step, const int8_t* b, int64_t b_step,
                       CodeSum sum, uint8_t* q, int64_t n);
  /// x = (q - zero_point) * scale
  void (*dequantize_u8)(const uint8_t* q, QuantLine line, float* x, int64_t n);
  void (*dequantize_s8)(const int8_t* q, QuantLine line, float* x, int64_t n);
  void (*dequantize_u16)(const uint16_t* q, QuantLine line, float* x, int64_t n);
  void (*dequantize_s16)(const int16_t* q, QuantLine line, float* x, int64_t n);
  void (*dequantize_s32)(const int32_t* q, QuantLine line, float* x, int64_t n);
};

extern const VectorMath kVectorMathBaseline;
#if defined(__x86_64__)
extern const VectorMath kVectorMathAvx2;
extern const VectorMath kVectorMathAvx512;
#endif

/// The best level that this machine runs.
const VectorMath& vector_math();

}  // namespace onnxtool
