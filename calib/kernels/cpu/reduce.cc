// The Reduce operators.
//
// Axes are joined into groups that are reduced or kept. Where the innermost group is reduced, each
// output is the reduction of contiguous runs; where it is kept, whole rows are combined. One task
// owns an output, and a run is cut into a fixed number of chains, so the result does not depend on
// threads. Sums and products of floats accumulate in double; integers wrap.

#include <algorithm>
#include <cmath>
#include <utility>

#include "calib/kernels/cpu/reduction.h"

namespace onnxtool {
namespace {

#if !defined(ONNXTOOL_DEVICE_KERNELS)
template <class T>
void fill_elements(T* to, int64_t n, T value) {
  std::fill_n(to, n, value);
}

template <class Step, class T>
typename Step::template Acc<T> reduce_run(typename Step::template Acc<T> acc, const T* x,
                                          int64_t n) {
  using Acc = typename Step::template Acc<T>;
  constexpr int kChains = 16;
  int64_t i = 0;
  if (n >= 2 * kChains) {
    Acc chain[kChains];
    for (Acc& c : chain) c = Step::template start<T>();
    for (; i + kChains <= n; i += kChains)
      for (int j = 0; j < kChains; ++j) chain[j] = Step::template step<T>(chain[j], x[i + j]);
    for (int width = kChains / 2; width > 0; width /= 2)
      for (int j = 0; j < width; ++j) chain[j] = Step::merge(chain[j], chain[j + width]);
    acc = Step::merge(acc, chain[0]);
  }
  for (; i < n; ++i) acc = Step::template step<T>(acc, x[i]);
  return acc;
}

// out[o] = finish(reduction of output o's elements).
template <class Step, class T, class Finish>
void reduce(KernelContext& ctx, const Reduction& r, const T* in, T* out, int64_t outputs,
            const Finish& finish) {
  using Acc = typename Step::template Acc<T>;
  constexpr int64_t kChunk = 256;  // accumulators on the stack
  if (outputs == 0) return;
  const int64_t inner = r.kept.inner(), chunks = (inner + kChunk - 1) / kChunk,
                rows = outputs / inner;
  const int64_t work = std::min(inner, kChunk) * std::max<int64_t>(r.count, 1);
  ctx.parallel(rows * chunks, grain_of(work), [&](int64_t begin, int64_t end) {
    RowWalker<1> walker(r.kept, begin / chunks);
    Acc acc[kChunk];
    for (int64_t piece = begin; piece < end; ++piece) {
      const int64_t first = piece % chunks * kChunk, n = std::min(kChunk, inner - first);
      const T* base = in + walker.offsets[0] + first;
      std::fill_n(acc, n, Step::template start<T>());
      if (r.count == 0) {
        // Nothing to combine: the start value is the result.
      } else if (r.run > 1) {
        for (const int64_t offset : r.offsets)
          acc[0] = reduce_run<Step, T>(acc[0], base + offset, r.run);
      } else {
        for (const int64_t offset : r.offsets) {
          const T* row = base + offset;
          for (int64_t j = 0; j < n; ++j) acc[j] = Step::template step<T>(acc[j], row[j]);
        }
      }
      T* to = out + piece / chunks * inner + first;
      for (int64_t j = 0; j < n; ++j) to[j] = finish(acc[j]);
      if ((piece + 1) % chunks == 0) walker.next();
    }
  });
}

#endif

// The least and greatest value of an integer type below 64 bits, or bool.
std::pair<int64_t, int64_t> bounds_of(DataType type) {
  if (type == DataType::kBool) return {0, 1};
  const int bits = bits_of(type);
  const bool is_signed =
      type == DataType::kInt8 || type == DataType::kInt16 || type == DataType::kInt32;
  return is_signed ? std::pair{-(int64_t{1} << (bits - 1)), (int64_t{1} << (bits - 1)) - 1}
                   : std::pair{int64_t{0}, (int64_t{1} << bits) - 1};
}

enum class Finish { kNone, kMean, kSqrt, kLog };

template <class T, class Acc, Finish kind>
struct FinishSum {
  int64_t count;
  ONNXTOOL_HD T operator()(Acc acc) const {
    // Integer accumulators hold a two's complement value.
    using Signed = typename std::conditional_t<std::is_signed_v<T> && std::is_integral_v<T>,
                                               std::make_signed<Acc>, std::type_identity<Acc>>::type;
    if constexpr (kind == Finish::kNone)
      return static_cast<T>(acc);
    else if constexpr (kind == Finish::kSqrt)
      return static_cast<T>(std::sqrt(static_cast<double>(static_cast<Signed>(acc))));
    else if constexpr (kind == Finish::kLog)
      return static_cast<T>(std::log(static_cast<double>(static_cast<Signed>(acc))));
    else if constexpr (std::is_integral_v<T>)
      return count == 0 ? T{0}
                        : static_cast<T>(static_cast<Signed>(acc) / static_cast<Signed>(count));
    else
      return static_cast<T>(acc / static_cast<double>(count));
  }
};

template <class Step, Finish kind>
Status run_reduce(KernelContext& ctx) {
  const DataType type = ctx.input(0).dtype;
  if (is_packed(type)) return unsupported_type(type, "input 0");
  ONNXTOOL_ASSIGN(const Reduction r, plan_reduction(ctx));
  ONNXTOOL_ASSIGN(const ConstView x, widened(ctx, ctx.input(0)));
  ONNXTOOL_ASSIGN(const WideOutput y, WideOutput::make(ctx, 0, type, r.dims));
  return dispatch(x.dtype, WideTypes{}, "input 0", [&]<class T>() -> Status {
    using Acc = typename Step::template Acc<T>;
    const FinishSum<T, Acc, kind> finish{r.count};
    constexpr bool is_max = std::is_same_v<Step, MaxStep>, is_min = std::is_same_v<Step, MinStep>;
    if ((is_max || is_min) && r.count == 0 && std::is_integral_v<T> && bits_of(type) < 64) {
      // Of no elements: the start value of the type itself, not of the one it is computed in.
      const auto [least, greatest] = bounds_of(type);
      fill_elements(y.data<T>(), y.count(), static_cast<T>(is_max ? least : greatest));
    } else {
      reduce<Step, T>(ctx, r, static_cast<const T*>(x.data), y.data<T>(), y.count(), finish);
    }
    y.finish(ctx);
    return {};
  });
}

#if !defined(ONNXTOOL_DEVICE_KERNELS)
// log(sum(exp(x))) = m + log(sum(exp(x - m))), m = max(x), all in double.
Status log_sum_exp(KernelContext& ctx) {
  const DataType type = ctx.input(0).dtype;
  if (wide_type(type) == DataType::kUndefined || is_packed(type))
    return unsupported_type(type, "input 0");
  ONNXTOOL_ASSIGN(const Reduction r, plan_reduction(ctx));
  ONNXTOOL_ASSIGN(const ConstView x, converted(ctx, ctx.input(0), DataType::kDouble));
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, type, r.dims));
  ONNXTOOL_ASSIGN(void* max_buffer, ctx.scratch(static_cast<size_t>(y.count) * sizeof(double)));
  const double* in = static_cast<const double*>(x.data);
  auto* max = static_cast<double*>(max_buffer);
  reduce<MaxStep, double>(ctx, r, in, max, y.count, [](double m) { return m; });
  const int64_t inner = r.kept.inner();
  ctx.parallel(y.count, grain_of(r.count), [&](int64_t begin, int64_t end) {
    RowWalker<1> walker(r.kept, begin / inner);
    for (int64_t o = begin; o < end; ++o) {
      const double* base = in + walker.offsets[0] + o % inner * r.kept.inner_stride(0);
      const double m =
          std::isfinite(max[o]) ? max[o] : 0.0;  // infinities decide the result by themselves
      double sum = 0;
      if (r.count > 0)
        for (const int64_t offset : r.offsets)
          for (int64_t i = 0; i < r.run; ++i) sum += std::exp(base[offset + i] - m);
      max[o] = m + std::log(sum);
      if ((o + 1) % inner == 0) walker.next();
    }
  });
  convert_elements(DataType::kDouble, max, type, y.data, 0, y.count);
  return {};
}

#endif

}  // namespace

constinit const KernelInfo kReduceSum{
    .op = "ReduceSum", .prepare = needs_inputs<1>, .run = run_reduce<SumStep, Finish::kNone>,
    .use = parameters_on_host};
constinit const KernelInfo kReduceMean{
    .op = "ReduceMean", .prepare = needs_inputs<1>, .run = run_reduce<SumStep, Finish::kMean>,
    .use = parameters_on_host};
constinit const KernelInfo kReduceSumSquare{.op = "ReduceSumSquare",
                                            .prepare = needs_inputs<1>,
                                            .run = run_reduce<SumSquareStep, Finish::kNone>,
    .use = parameters_on_host};
constinit const KernelInfo kReduceL1{
    .op = "ReduceL1", .prepare = needs_inputs<1>, .run = run_reduce<SumAbsStep, Finish::kNone>,
    .use = parameters_on_host};
constinit const KernelInfo kReduceL2{
    .op = "ReduceL2", .prepare = needs_inputs<1>, .run = run_reduce<SumSquareStep, Finish::kSqrt>,
    .use = parameters_on_host};
constinit const KernelInfo kReduceLogSum{
    .op = "ReduceLogSum", .prepare = needs_inputs<1>, .run = run_reduce<SumStep, Finish::kLog>,
    .use = parameters_on_host};
constinit const KernelInfo kReduceLogSumExp{
    .op = "ReduceLogSumExp", .prepare = needs_inputs<1>, .run = log_sum_exp,
    .use = parameters_on_host};
constinit const KernelInfo kReduceProd{
    .op = "ReduceProd", .prepare = needs_inputs<1>, .run = run_reduce<ProdStep, Finish::kNone>,
    .use = parameters_on_host};
constinit const KernelInfo kReduceMax{
    .op = "ReduceMax", .prepare = needs_inputs<1>, .run = run_reduce<MaxStep, Finish::kNone>,
    .use = parameters_on_host};
constinit const KernelInfo kReduceMin{
    .op = "ReduceMin", .prepare = needs_inputs<1>, .run = run_reduce<MinStep, Finish::kNone>,
    .use = parameters_on_host};

}  // namespace onnxtool
