// Softmax, LogSoftmax, Hardmax on a device; lines as cpu/softmax_shape.h has them. Maxima are
// exact, sums double in a fixed order, the rest in float (double for double).

#include <cmath>
#include <limits>

#include "calib/kernels/cpu/softmax_shape.h"
#include "calib/kernels/cuda/lines.h"

namespace onnxtool {
namespace {

using device::Lines;

template <class T>
struct MaxLine {
  using Part = T;
  Lines lines;
  const T* x;
  T* max;
  ONNXTOOL_HD int64_t length() const { return lines.n; }
  ONNXTOOL_HD Part start() const { return -std::numeric_limits<T>::infinity(); }
  ONNXTOOL_HD void add(Part& part, int64_t line, int64_t i) const {
    merge(part, x[lines.start(line) + i * lines.inner]);
  }
  ONNXTOOL_HD void merge(Part& a, const Part& b) const { a = b > a || b != b ? b : a; }
  ONNXTOOL_HD void finish(int64_t line, const Part& part) const { max[line] = part; }
};

template <class T>
struct ExpTerm {
  const T *x, *max;
  ONNXTOOL_HD double operator()(int64_t i, int64_t line) const { return std::exp(x[i] - max[line]); }
};
template <class T>
struct PutSum {
  T* sums;
  ONNXTOOL_HD void operator()(int64_t line, double sum) const { sums[line] = static_cast<T>(sum); }
};

template <class T, bool kLog>
struct SoftmaxElements {
  Lines lines;
  const T *x, *max, *sums;
  T* y;
  ONNXTOOL_HD void operator()(int64_t i) const {
    const int64_t line = lines.line_of(i);
    if constexpr (kLog)
      y[i] = x[i] - max[line] - std::log(sums[line]);
    else
      y[i] = std::exp(x[i] - max[line]) / sums[line];
  }
};

template <bool kLog>
Status softmax(KernelContext& ctx) {
  const DataType type = ctx.input(0).dtype;
  ONNXTOOL_ASSIGN(const LineShape shape, softmax_lines(ctx));
  ONNXTOOL_ASSIGN(const ConstView x, widened(ctx, ctx.input(0)));
  ONNXTOOL_ASSIGN(const WideOutput y, WideOutput::make(ctx, 0, type, x.dims));
  if (x.count == 0) return {};
  const int64_t count = shape.outer * shape.inner;
  return dispatch(x.dtype, TypeList<float, double>{}, "input 0", [&]<class T>() -> Status {
    ONNXTOOL_ASSIGN(void* work, ctx.scratch(static_cast<size_t>(2 * count) * sizeof(T)));
    T *max = static_cast<T*>(work), *sums = max + count;
    const T* in = static_cast<const T*>(x.data);
    const Lines lines{shape.n, shape.inner};
    device::reduce_lines(count, MaxLine<T>{lines, in, max}, shape.inner > 1);
    device::sum_lines(count, lines, ExpTerm<T>{in, max}, PutSum<T>{sums});
    device::for_each_index(x.count, SoftmaxElements<T, kLog>{lines, in, max, sums, y.data<T>()});
    y.finish(ctx);
    return {};
  });
}

// The first greatest element of a line.
template <class T>
struct BestLine {
  struct Part {
    T value;
    int64_t at;  // -1: none yet
  };
  Lines lines;
  const T* x;
  int64_t* best;
  ONNXTOOL_HD int64_t length() const { return lines.n; }
  ONNXTOOL_HD Part start() const { return {T{0}, -1}; }
  ONNXTOOL_HD void add(Part& part, int64_t line, int64_t i) const {
    merge(part, {x[lines.start(line) + i * lines.inner], i});
  }
  ONNXTOOL_HD void merge(Part& a, const Part& b) const {
    if (b.at < 0) return;
    if (a.at < 0 || b.value > a.value || (b.value == a.value && b.at < a.at)) a = b;
  }
  ONNXTOOL_HD void finish(int64_t line, const Part& part) const { best[line] = part.at; }
};
template <class T>
struct HardmaxElements {
  Lines lines;
  const int64_t* best;
  T* y;
  ONNXTOOL_HD void operator()(int64_t i) const {
    const int64_t at = i / lines.inner % lines.n;
    y[i] = at == best[lines.line_of(i)] ? T{1} : T{0};
  }
};

Status hardmax(KernelContext& ctx) {
  const DataType type = ctx.input(0).dtype;
  ONNXTOOL_ASSIGN(const LineShape shape, softmax_lines(ctx));
  ONNXTOOL_ASSIGN(const ConstView x, widened(ctx, ctx.input(0)));
  ONNXTOOL_ASSIGN(const WideOutput y, WideOutput::make(ctx, 0, type, x.dims));
  if (x.count == 0) return {};
  const int64_t count = shape.outer * shape.inner;
  return dispatch(x.dtype, TypeList<float, double>{}, "input 0", [&]<class T>() -> Status {
    ONNXTOOL_ASSIGN(void* work, ctx.scratch(static_cast<size_t>(count) * sizeof(int64_t)));
    const Lines lines{shape.n, shape.inner};
    device::reduce_lines(
        count, BestLine<T>{lines, static_cast<const T*>(x.data), static_cast<int64_t*>(work)},
        shape.inner > 1);
    device::for_each_index(
        x.count, HardmaxElements<T>{lines, static_cast<const int64_t*>(work), y.data<T>()});
    y.finish(ctx);
    return {};
  });
}

}  // namespace

constinit const KernelInfo kSoftmax{
    .op = "Softmax", .prepare = needs_inputs<1>, .run = softmax<false>};
constinit const KernelInfo kLogSoftmax{
    .op = "LogSoftmax", .prepare = needs_inputs<1>, .run = softmax<true>};
constinit const KernelInfo kHardmax{.op = "Hardmax", .prepare = needs_inputs<1>, .run = hardmax};

}  // namespace onnxtool
