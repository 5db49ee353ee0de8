// Softmax, LogSoftmax, Hardmax.
//
// From opset 13 along `axis` (default -1); before, over all axes from `axis` (default 1) on as one.
// y = exp(x - max(x)) / sum(exp(x - max(x))). One task owns a line.

#include <algorithm>
#include <cmath>

#include "calib/kernels/cpu/convert.h"
#include "calib/kernels/cpu/softmax_shape.h"
#include "calib/kernels/cpu/vector_math.h"

namespace onnxtool {
namespace {

// Neighbouring lines are worked on together: their elements lie side by side.
constexpr int64_t kColumns = 128;

void softmax_columns(const float* x, float* y, int64_t n, int64_t stride, int64_t columns) {
  float max[kColumns], sum[kColumns];
  std::copy_n(x, columns, max);
  for (int64_t i = 1; i < n; ++i)
    for (int64_t c = 0; c < columns; ++c)
      max[c] = x[i * stride + c] > max[c] ? x[i * stride + c] : max[c];
  std::fill_n(sum, columns, 0.0f);
  const VectorMath& vector = vector_math();
  for (int64_t i = 0; i < n; ++i) {
    float* row = y + i * stride;
    vector.sub(x + i * stride, 1, max, 1, row, columns);
    vector.exp(row, row, columns);
    vector.add(sum, 1, row, 1, sum, columns);
  }
  for (int64_t i = 0; i < n; ++i) vector.div(y + i * stride, 1, sum, 1, y + i * stride, columns);
}

void softmax_line(const float* x, float* y, int64_t n) {
  const float sum = vector_math().softmax_terms(x, y, n);
  vector_math().div(y, 1, &sum, 0, y, n);
}

template <class T>
void softmax_line_at(const T* x, T* y, int64_t n, int64_t stride) {
  T max = x[0], sum = 0;
  for (int64_t i = 1; i < n; ++i) max = std::max(max, x[i * stride]);
  for (int64_t i = 0; i < n; ++i) sum += y[i * stride] = std::exp(x[i * stride] - max);
  for (int64_t i = 0; i < n; ++i) y[i * stride] /= sum;
}

template <class T>
void log_softmax_line_at(const T* x, T* y, int64_t n, int64_t stride) {
  T max = x[0], sum = 0;
  for (int64_t i = 1; i < n; ++i) max = std::max(max, x[i * stride]);
  for (int64_t i = 0; i < n; ++i) sum += std::exp(x[i * stride] - max);
  const T log_sum = std::log(sum);
  for (int64_t i = 0; i < n; ++i) y[i * stride] = x[i * stride] - max - log_sum;
}

// 1 at the first greatest element, 0 elsewhere.
template <class T>
void hardmax_line_at(const T* x, T* y, int64_t n, int64_t stride) {
  int64_t best = 0;
  for (int64_t i = 1; i < n; ++i)
    if (x[i * stride] > x[best * stride]) best = i;
  for (int64_t i = 0; i < n; ++i) y[i * stride] = i == best ? T{1} : T{0};
}

// line(x, y, n, stride) for each line of the input, in float or double.
template <class Line>
Status run_lines(KernelContext& ctx, const Line& line) {
  const DataType type = ctx.input(0).dtype;
  ONNXTOOL_ASSIGN(const LineShape shape, softmax_lines(ctx));
  ONNXTOOL_ASSIGN(const ConstView x, widened(ctx, ctx.input(0)));
  ONNXTOOL_ASSIGN(const WideOutput y, WideOutput::make(ctx, 0, type, x.dims));
  if (x.count == 0) return {};
  return dispatch(x.dtype, TypeList<float, double>{}, "input 0", [&]<class T>() -> Status {
    const T* in = static_cast<const T*>(x.data);
    T* out = y.data<T>();
    ctx.parallel(shape.outer * shape.inner, grain_of(8 * shape.n), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t base = i / shape.inner * shape.n * shape.inner + i % shape.inner;
        line(in + base, out + base, shape.n, shape.inner);
      }
    });
    y.finish(ctx);
    return {};
  });
}

Status softmax(KernelContext& ctx) {
  const DataType type = ctx.input(0).dtype;
  ONNXTOOL_ASSIGN(const LineShape shape, softmax_lines(ctx));
  if (wide_type(type) != DataType::kFloat)
    return run_lines(ctx, [](const auto* x, auto* y, int64_t n, int64_t stride) {
      softmax_line_at(x, y, n, stride);
    });
  ONNXTOOL_ASSIGN(const ConstView x, widened(ctx, ctx.input(0)));
  ONNXTOOL_ASSIGN(const WideOutput y, WideOutput::make(ctx, 0, type, x.dims));
  if (x.count == 0) return {};
  const float* in = static_cast<const float*>(x.data);
  float* out = y.data<float>();
  if (shape.inner == 1) {
    ctx.parallel(shape.outer, grain_of(4 * shape.n), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        softmax_line(in + i * shape.n, out + i * shape.n, shape.n);
    });
  } else {
    const int64_t pieces = (shape.inner + kColumns - 1) / kColumns;
    ctx.parallel(shape.outer * pieces, grain_of(4 * shape.n * std::min(shape.inner, kColumns)),
                 [&](int64_t begin, int64_t end) {
                   for (int64_t i = begin; i < end; ++i) {
                     const int64_t column = i % pieces * kColumns,
                                   base = i / pieces * shape.n * shape.inner + column;
                     softmax_columns(in + base, out + base, shape.n, shape.inner,
                                     std::min(kColumns, shape.inner - column));
                   }
                 });
  }
  y.finish(ctx);
  return {};
}

Status log_softmax(KernelContext& ctx) {
  return run_lines(ctx, [](const auto* x, auto* y, int64_t n, int64_t stride) {
    log_softmax_line_at(x, y, n, stride);
  });
}
Status hardmax(KernelContext& ctx) {
  return run_lines(ctx, [](const auto* x, auto* y, int64_t n, int64_t stride) {
    hardmax_line_at(x, y, n, stride);
  });
}

}  // namespace

constinit const KernelInfo kSoftmax{.op = "Softmax", .prepare = needs_inputs<1>, .run = softmax};
constinit const KernelInfo kLogSoftmax{
    .op = "LogSoftmax", .prepare = needs_inputs<1>, .run = log_softmax};
constinit const KernelInfo kHardmax{.op = "Hardmax", .prepare = needs_inputs<1>, .run = hardmax};

}  // namespace onnxtool
