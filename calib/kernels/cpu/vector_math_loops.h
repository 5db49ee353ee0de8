// The loops of vector_math.h. Included once by each file that is built for an ISA level, and made
// for that: everything is in an anonymous namespace and nothing of the library is instantiated, as
// the linker would keep one level's copy for all.

#include "calib/kernels/cpu/half_loops.h"
#include "calib/kernels/cpu/nibble_loops.h"
#include "calib/kernels/cpu/transpose_loops.h"
#include "calib/kernels/cpu/vector_math.h"

namespace onnxtool {
namespace {

// Adding 1.5 * 2^23 puts the nearest integer (half to even) into the low mantissa bits; good for
// magnitudes up to 2^22.
constexpr float kRounder = 0x1.8p23f;

// Rounds once. Machines without the instruction call a function for it, which is correct and slow.
__attribute__((always_inline)) inline float fma(float a, float b, float c) {
  return __builtin_fmaf(a, b, c);
}

// Coefficients from the highest power down.
__attribute__((always_inline)) inline float polynomial(float, float c) { return c; }
template <class... Rest>
__attribute__((always_inline)) inline float polynomial(float x, float a, float b, Rest... rest) {
  return polynomial(x, fma(a, x, b), rest...);
}

// e^x = 2^n * e^r with n = round(x / ln 2), |r| <= ln 2 / 2. e^r = 1 + r + r^2 q(r), q of degree 4
// by weighted minimax fit (relative error 3e-9). ln 2 is split so that n * kLn2High is exact.
__attribute__((always_inline)) inline float exp1(float x) {
  constexpr float kLn2High = 0x1.62ep-1f, kLn2Low = 0x1.0bfbe8p-15f;
  // Beyond these the result is 0 or infinity anyway; the comparisons let NaN pass.
  x = x < -104.0f ? -104.0f : x;
  x = x > 89.0f ? 89.0f : x;
  const float shifted = fma(x, 0x1.715476p0f, kRounder);
  const float n = shifted - kRounder;
  const float r = fma(-n, kLn2Low, fma(-n, kLn2High, x));
  const float q =
      polynomial(r, 0x1.6db428p-10f, 0x1.123b56p-7f, 0x1.55545ep-5f, 0x1.55548ep-3f, 0x1p-1f);
  const float p = fma(r * r, q, r) + 1.0f;
  // 2^n in two factors: n reaches from -150 to 128, a float's exponent does not.
  const int32_t exponent = static_cast<int32_t>(as_bits(shifted) - as_bits(kRounder));
  const int32_t half = exponent >> 1;
  return p * as_float(static_cast<uint32_t>(half + 127) << 23) *
         as_float(static_cast<uint32_t>(exponent - half + 127) << 23);
}

inline float magnitude(float x) { return as_float(as_bits(x) & 0x7fffffffu); }

// 1 / (1 + e^-x), with the exponential always of a negative number: it cannot overflow.
__attribute__((always_inline)) inline float sigmoid1(float x) {
  const float e = exp1(-magnitude(x));
  return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}

inline float with_sign(float positive, float sign) {
  return as_float(as_bits(positive) | (as_bits(sign) & 0x80000000u));
}

// Near 0 an odd polynomial x + x^3 p(x^2) (minimax on |x| <= 0.625, relative error 5e-9), else from
// e^2|x|.
__attribute__((always_inline)) inline float tanh1(float x) {
  const float a = magnitude(x), z = x * x;
  const float p = polynomial(z, -0x1.75e1a8p-8f, 0x1.522692p-6f, -0x1.b83c58p-5f, 0x1.110726p-3f,
                             -0x1.555532p-2f);
  const float near = fma(x, z * p, x);
  const float far = with_sign(1.0f - 2.0f / (exp1(a + a) + 1.0f), x);
  return a < 0.625f ? near : far;
}

// |x| < 1: x + x p(x^2) (minimax, relative error 1e-9). Beyond: 1 - e^-g(|x|) with g = -log(erfc)
// by minimax on [1, 4], weighted by erfc (error 2e-11); at 4 the result has long been 1.
__attribute__((always_inline)) inline float erf1(float x) {
  const float a = magnitude(x), z = x * x;
  const float p = polynomial(z, 0x1.496a1ep-14f, -0x1.a3f6f8p-11f, 0x1.5405b0p-8f, -0x1.b7f90cp-6f,
                             0x1.ce2cf8p-4f, -0x1.81273ep-2f, 0x1.06eba8p-3f);
  const float near = fma(x, p, x);
  const float t = a > 4.0f ? 4.0f : a;
  const float g = polynomial(t, 0x1.6bd812p-16f, -0x1.cec624p-12f, 0x1.138cc8p-8f, -0x1.9d030cp-6f,
                             0x1.bc151ap-4f, 0x1.443566p-1f, 0x1.212c0ep0f, -0x1.8a5842p-13f);
  const float far = with_sign(1.0f - exp1(-g), x);
  return a < 1.0f ? near : (a > 4.0f || a <= 4.0f ? far : x);  // else NaN
}

template <class F>
inline void map(const float* x, float* y, int64_t n, F f) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) y[i] = f(x[i]);
}

void exp_loop(const float* x, float* y, int64_t n) {
  map(x, y, n, [](float v) { return exp1(v); });
}
void sigmoid_loop(const float* x, float* y, int64_t n) {
  map(x, y, n, [](float v) { return sigmoid1(v); });
}
void tanh_loop(const float* x, float* y, int64_t n) {
  map(x, y, n, [](float v) { return tanh1(v); });
}
void erf_loop(const float* x, float* y, int64_t n) {
  map(x, y, n, [](float v) { return erf1(v); });
}
void gelu_loop(const float* x, float* y, int64_t n) {
  map(x, y, n, [](float v) { return 0.5f * v * (1.0f + erf1(v * 0x1.6a09e6p-1f)); });
}
void gelu_tanh_loop(const float* x, float* y, int64_t n) {
  map(x, y, n, [](float v) {
    return 0.5f * v * (1.0f + tanh1(0x1.988454p-1f * (v + 0.044715f * v * v * v)));
  });
}
void swish_loop(const float* x, float* y, int64_t n, float alpha) {
  map(x, y, n, [=](float v) { return v * sigmoid1(alpha * v); });
}

inline float clip1(float x, float low, float high) {
  x = x < low ? low : x;
  return x > high ? high : x;
}
void hard_swish_loop(const float* x, float* y, int64_t n) {
  map(x, y, n, [](float v) { return v * clip1(v * (1.0f / 6.0f) + 0.5f, 0.0f, 1.0f); });
}
void hard_sigmoid_loop(const float* x, float* y, int64_t n, float alpha, float beta) {
  map(x, y, n, [=](float v) { return clip1(alpha * v + beta, 0.0f, 1.0f); });
}
void clip_loop(const float* x, float* y, int64_t n, float low, float high) {
  map(x, y, n, [=](float v) { return clip1(v, low, high); });
}

template <class F>
inline void zip(const float* a, int64_t a_step, const float* b, int64_t b_step, float* out,
                int64_t n, F f) {
  if (a_step != 0 && b_step != 0) {
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) out[i] = f(a[i], b[i]);
  } else if (a_step != 0) {
    const float s = *b;
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) out[i] = f(a[i], s);
  } else if (b_step != 0) {
    const float s = *a;
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) out[i] = f(s, b[i]);
  } else {
    const float s = f(*a, *b);
    for (int64_t i = 0; i < n; ++i) out[i] = s;
  }
}
void add_loop(const float* a, int64_t a_step, const float* b, int64_t b_step, float* out,
              int64_t n) {
  zip(a, a_step, b, b_step, out, n, [](float x, float y) { return x + y; });
}
void sub_loop(const float* a, int64_t a_step, const float* b, int64_t b_step, float* out,
              int64_t n) {
  zip(a, a_step, b, b_step, out, n, [](float x, float y) { return x - y; });
}
void mul_loop(const float* a, int64_t a_step, const float* b, int64_t b_step, float* out,
              int64_t n) {
  zip(a, a_step, b, b_step, out, n, [](float x, float y) { return x * y; });
}
void div_loop(const float* a, int64_t a_step, const float* b, int64_t b_step, float* out,
              int64_t n) {
  zip(a, a_step, b, b_step, out, n, [](float x, float y) { return x / y; });
}

// Sixteen chains whatever the vector width, so that the sum has the same bits at every level.
constexpr int kChains = 16;

float softmax_terms_loop(const float* x, float* y, int64_t n) {
  float best[kChains], sum[kChains];
  for (int j = 0; j < kChains; ++j) best[j] = x[0], sum[j] = 0.0f;
  int64_t i = 0;
  for (; i + kChains <= n; i += kChains)
    for (int j = 0; j < kChains; ++j) best[j] = x[i + j] > best[j] ? x[i + j] : best[j];
  for (; i < n; ++i) best[0] = x[i] > best[0] ? x[i] : best[0];
  float max = best[0];
  for (int j = 1; j < kChains; ++j) max = best[j] > max ? best[j] : max;
#pragma GCC ivdep
  for (i = 0; i < n; ++i) y[i] = exp1(x[i] - max);
  for (i = 0; i + kChains <= n; i += kChains)
    for (int j = 0; j < kChains; ++j) sum[j] += y[i + j];
  for (; i < n; ++i) sum[0] += y[i];
  for (int width = kChains / 2; width > 0; width /= 2)
    for (int j = 0; j < width; ++j) sum[j] += sum[j + width];
  return sum[0];
}

// Clipping before rounding gives the same as after: the bounds are integers. It also keeps the
// value in the range of kRounder and settles NaN.
inline int32_t quantize1(float x, float scale, int32_t zero_point, int32_t low, int32_t high) {
  const float lowest = static_cast<float>(low - zero_point),
              highest = static_cast<float>(high - zero_point);
  float v = x / scale;
  v = v > lowest ? v : lowest;
  v = v < highest ? v : highest;
  return static_cast<int32_t>(as_bits(v + kRounder) - as_bits(kRounder)) + zero_point;
}

template <class Q>
inline void quantize(const float* x, QuantLine line, int32_t low, int32_t high, Q* q, int64_t n) {
  if (line.step == 0) {
    const float scale = *line.scale;
    const int32_t zero_point = *line.zero_point;
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i)
      q[i] = static_cast<Q>(quantize1(x[i], scale, zero_point, low, high));
  } else {
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i)
      q[i] = static_cast<Q>(quantize1(x[i], line.scale[i], line.zero_point[i], low, high));
  }
}
void quantize8_loop(const float* x, QuantLine line, int32_t low, int32_t high, uint8_t* q,
                    int64_t n) {
  quantize(x, line, low, high, q, n);
}
void quantize16_loop(const float* x, QuantLine line, int32_t low, int32_t high, uint16_t* q,
                     int64_t n) {
  quantize(x, line, low, high, q, n);
}

template <class C>
void add_codes_loop(const C* a, int64_t a_step, const C* b, int64_t b_step, CodeSum sum, uint8_t* q,
                    int64_t n) {
  const auto low = static_cast<float>(sum.low), high = static_cast<float>(sum.high);
  const auto code = [=](C x, C y) {
    float v = __builtin_fmaf(static_cast<float>(y), sum.b_ratio, sum.offset);
    v = __builtin_fmaf(static_cast<float>(x), sum.a_ratio, v);
    v = v > low ? v : low;
    v = v < high ? v : high;
    return static_cast<uint8_t>(as_bits(v + kRounder) - as_bits(kRounder));
  };
  if (a_step != 0 && b_step != 0) {
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) q[i] = code(a[i], b[i]);
  } else {
    for (int64_t i = 0; i < n; ++i) q[i] = code(a[i * a_step], b[i * b_step]);
  }
}

template <class Q>
void dequantize_loop(const Q* q, QuantLine line, float* x, int64_t n) {
  // Unsigned: int32 values may wrap, as the specification's int32 subtraction does.
  if (line.step == 0) {
    const float scale = *line.scale;
    const auto zero_point = static_cast<uint32_t>(*line.zero_point);
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i)
      x[i] = static_cast<float>(static_cast<int32_t>(static_cast<uint32_t>(q[i]) - zero_point)) *
             scale;
  } else {
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i)
      x[i] = static_cast<float>(static_cast<int32_t>(static_cast<uint32_t>(q[i]) -
                                                     static_cast<uint32_t>(line.zero_point[i]))) *
             line.scale[i];
  }
}

constexpr VectorMath kTable{
    .exp = exp_loop,
    .sigmoid = sigmoid_loop,
    .tanh = tanh_loop,
    .erf = erf_loop,
    .gelu = gelu_loop,
    .gelu_tanh = gelu_tanh_loop,
    .swish = swish_loop,
    .hard_swish = hard_swish_loop,
    .hard_sigmoid = hard_sigmoid_loop,
    .clip = clip_loop,
    .widen_half = widen_half_loop,
    .narrow_half = narrow_half_loop,
    .transpose32 = transpose32_loop,
    .add = add_loop,
    .sub = sub_loop,
    .mul = mul_loop,
    .div = div_loop,
    .dot_nibbles = dot_nibbles_loop,
    .dequantize_nibbles = dequantize_nibbles_loop,
    .softmax_terms = softmax_terms_loop,
    .quantize8 = quantize8_loop,
    .quantize16 = quantize16_loop,
    .add_codes_u8 = add_codes_loop<uint8_t>,
    .add_codes_s8 = add_codes_loop<int8_t>,
    .dequantize_u8 = dequantize_loop<uint8_t>,
    .dequantize_s8 = dequantize_loop<int8_t>,
    .dequantize_u16 = dequantize_loop<uint16_t>,
    .dequantize_s16 = dequantize_loop<int16_t>,
    .dequantize_s32 = dequantize_loop<int32_t>,
};

}  // namespace
}  // namespace onnxtool
