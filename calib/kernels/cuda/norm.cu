// Normalizations on a device: LayerNormalization, RMSNormalization and its ORT name,
// InstanceNormalization, GroupNormalization, BatchNormalization at inference, LpNormalization.
// Moments are double, the variance from differences to the mean, as on the host; lanes add in
// another order.

#include <algorithm>
#include <cmath>

#include "calib/kernels/cuda/lines.h"

namespace onnxtool {
namespace {

using device::Lines;
using FloatOrDouble = TypeList<float, double>;

template <class T>
struct ValueTerm {
  const T* x;
  ONNXTOOL_HD double operator()(int64_t i, int64_t) const { return static_cast<double>(x[i]); }
};
// Around the line's mean; around 0 without one.
template <class T>
struct SquareTerm {
  const T* x;
  const double* mean;
  ONNXTOOL_HD double operator()(int64_t i, int64_t line) const {
    const double d = static_cast<double>(x[i]) - (mean ? mean[line] : 0.0);
    return d * d;
  }
};
struct PutMean {
  double* to;
  double count;
  ONNXTOOL_HD void operator()(int64_t line, double sum) const { to[line] = sum / count; }
};
struct PutInverse {
  double* to;
  double count, epsilon;
  ONNXTOOL_HD void operator()(int64_t line, double sum) const {
    to[line] = 1.0 / std::sqrt(sum / count + epsilon);
  }
};

// Per line: mean (nullptr: not centered) and 1 / sqrt(variance + epsilon).
struct Statistics {
  const double *mean = nullptr, *inverse = nullptr;
};
template <class T>
Result<Statistics> statistics_of(KernelContext& ctx, const T* x, int64_t count, int64_t length,
                                 double epsilon, bool centered) {
  ONNXTOOL_ASSIGN(void* work, ctx.scratch(static_cast<size_t>(2 * count) * sizeof(double)));
  double *mean = static_cast<double*>(work), *inverse = mean + count;
  const Lines lines{length, 1};
  const auto n = static_cast<double>(length);
  if (centered) device::sum_lines(count, lines, ValueTerm<T>{x}, PutMean{mean, n});
  device::sum_lines(count, lines, SquareTerm<T>{x, centered ? mean : nullptr},
                    PutInverse{inverse, n, epsilon});
  return Statistics{centered ? mean : nullptr, inverse};
}

// y = (x - mean) * inverse * scale + bias, where parameter i belongs to element
// (i / divisor) % count of scale and bias.
template <class T>
struct NormalizeElements {
  const T *x, *scale, *bias;  // bias may be nullptr
  T* y;
  int64_t length;
  Statistics statistics;
  int64_t divisor, count;
  ONNXTOOL_HD void operator()(int64_t i) const {
    const int64_t line = i / length, parameter = i / divisor % count;
    const T mean = statistics.mean ? static_cast<T>(statistics.mean[line]) : T{0};
    const T factor = static_cast<T>(statistics.inverse[line]);
    y[i] = (x[i] - mean) * factor * scale[parameter] + (bias ? bias[parameter] : T{0});
  }
};

struct RoundStatistics {
  Statistics from;
  float *mean, *inverse;
  ONNXTOOL_HD void operator()(int64_t line) const {
    if (mean) mean[line] = from.mean ? static_cast<float>(from.mean[line]) : 0.0f;
    if (inverse) inverse[line] = static_cast<float>(from.inverse[line]);
  }
};

// Input `i` (scale or bias) in the wide type, repeated to `wanted`, the trailing dims of x.
Result<ConstView> trailing_operand(KernelContext& ctx, int i, DataType type,
                                   std::span<const int64_t> wanted) {
  ONNXTOOL_ASSIGN(const ConstView given, converted(ctx, ctx.input(i), wide_type(type)));
  std::span<const int64_t> dims = given.dims;
  while (dims.size() > wanted.size() && dims.front() == 1) dims = dims.subspan(1);
  bool fits = dims.size() <= wanted.size();
  for (size_t d = 0; fits && d < dims.size(); ++d)
    fits = dims[d] == 1 || dims[d] == wanted[wanted.size() - dims.size() + d];
  if (!fits)
    return mismatch("input " + std::to_string(i) + " has shape " + format_dims(given.dims) +
                    ", expected one that broadcasts to " + format_dims(wanted));
  if (given.count == product(wanted)) return given;
  ONNXTOOL_ASSIGN(void* buffer, ctx.scratch(size_bytes_of(
                                    given.dtype, static_cast<uint64_t>(product(wanted)))));
  copy_strided(ctx, given.dtype, given.data, {to_dims(wanted), {broadcast_strides(dims, wanted)}},
               buffer);
  ConstView view = given;
  view.data = buffer;
  view.count = product(wanted);
  return view;
}

// LayerNormalization; RMS where not `centered`. Outputs of statistics as the host has them.
template <bool kCentered, int kMean, int kInverse>
Status normalize_rows(KernelContext& ctx) {
  const DataType type = ctx.input(0).dtype;
  ONNXTOOL_ASSIGN(const ConstView x, widened(ctx, ctx.input(0)));
  ONNXTOOL_ASSIGN(const int64_t axis, resolve_axis(ctx.node().attr_int("axis", -1), x.rank()));
  const auto a = static_cast<size_t>(axis);
  const int64_t rows = product(x.dims, 0, a), length = product(x.dims, a, x.dims.size());
  const double epsilon = ctx.node().attr_float("epsilon", 1e-5f);
  ONNXTOOL_ASSIGN(const ConstView scale, trailing_operand(ctx, 1, type, x.dims.subspan(a)));
  ConstView bias;
  if (ctx.has_input(2)) {
    ONNXTOOL_ASSIGN(bias, trailing_operand(ctx, 2, type, x.dims.subspan(a)));
  }
  ONNXTOOL_ASSIGN(const WideOutput y, WideOutput::make(ctx, 0, type, x.dims));
  Dims kept = to_dims(x.dims);
  std::fill(kept.begin() + axis, kept.end(), 1);
  RoundStatistics rounded{{}, nullptr, nullptr};
  if (kMean >= 0 && ctx.wants_output(kMean)) {
    ONNXTOOL_ASSIGN(const MutableView view, ctx.output(kMean, DataType::kFloat, kept));
    rounded.mean = static_cast<float*>(view.data);
  }
  if (ctx.wants_output(kInverse)) {
    ONNXTOOL_ASSIGN(const MutableView view, ctx.output(kInverse, DataType::kFloat, kept));
    rounded.inverse = static_cast<float*>(view.data);
  }
  if (x.count == 0) return {};
  return dispatch(x.dtype, FloatOrDouble{}, "input 0", [&]<class T>() -> Status {
    const T* in = static_cast<const T*>(x.data);
    ONNXTOOL_ASSIGN(rounded.from, statistics_of(ctx, in, rows, length, epsilon, kCentered));
    device::for_each_index(
        x.count, NormalizeElements<T>{in, static_cast<const T*>(scale.data),
                                      static_cast<const T*>(bias.data), y.data<T>(), length,
                                      rounded.from, 1, length});
    if (rounded.mean || rounded.inverse) device::for_each_index(rows, rounded);
    y.finish(ctx);
    return {};
  });
}

// Groups of channels; InstanceNormalization has one channel a group. Parameters are per group in
// opset 18 of GroupNormalization, else per channel.
Status normalize_groups(KernelContext& ctx, int64_t groups, bool per_group) {
  const DataType type = ctx.input(0).dtype;
  ONNXTOOL_ASSIGN(const ConstView x, widened(ctx, ctx.input(0)));
  const int64_t channels = x.dims[1];
  if (groups < 1 || channels % groups != 0)
    return bad_model("num_groups is " + std::to_string(groups) + " but the input has " +
                     std::to_string(channels) + " channels");
  const int64_t parameters = per_group ? groups : channels;
  for (const int i : {1, 2})
    if (ctx.input(i).count != parameters)
      return mismatch("input " + std::to_string(i) + " has shape " +
                      format_dims(ctx.input(i).dims) + ", expected [" +
                      std::to_string(parameters) + "]");
  const double epsilon = ctx.node().attr_float("epsilon", 1e-5f);
  ONNXTOOL_ASSIGN(const ConstView scale, converted(ctx, ctx.input(1), x.dtype));
  ONNXTOOL_ASSIGN(const ConstView bias, converted(ctx, ctx.input(2), x.dtype));
  ONNXTOOL_ASSIGN(const WideOutput y, WideOutput::make(ctx, 0, type, x.dims));
  if (x.count == 0) return {};
  const int64_t pixels = product(x.dims, 2, x.dims.size()), length = channels / groups * pixels;
  return dispatch(x.dtype, FloatOrDouble{}, "input 0", [&]<class T>() -> Status {
    const T* in = static_cast<const T*>(x.data);
    ONNXTOOL_ASSIGN(const Statistics statistics,
                    statistics_of(ctx, in, x.count / length, length, epsilon, true));
    device::for_each_index(
        x.count,
        NormalizeElements<T>{in, static_cast<const T*>(scale.data),
                             static_cast<const T*>(bias.data), y.data<T>(), length, statistics,
                             per_group ? length : pixels, parameters});
    y.finish(ctx);
    return {};
  });
}

Status check_channels(const ConstView& x) {
  if (x.rank() >= 2) return {};
  return bad_model("the input has shape " + format_dims(x.dims) +
                   ", expected [N, C, spatial...]");
}
Status group_normalization(KernelContext& ctx) {
  ONNXTOOL_TRY(check_channels(ctx.input(0)));
  return normalize_groups(ctx, ctx.node().attr_int("num_groups", 0), ctx.node().opset() < 21);
}
Status instance_normalization(KernelContext& ctx) {
  ONNXTOOL_TRY(check_channels(ctx.input(0)));
  return normalize_groups(ctx, std::max<int64_t>(ctx.input(0).dims[1], 1), false);
}

template <class T>
struct AffineChannels {
  const T *x, *scale, *bias, *mean, *variance;
  T* y;
  int64_t channels, pixels;
  double epsilon;
  ONNXTOOL_HD void operator()(int64_t i) const {
    const int64_t c = i / pixels % channels;
    const double factor =
        static_cast<double>(scale[c]) / std::sqrt(static_cast<double>(variance[c]) + epsilon);
    y[i] = (x[i] - static_cast<T>(mean[c])) * static_cast<T>(factor) + bias[c];
  }
};

Status batch_normalization(KernelContext& ctx) {
  const DataType type = ctx.input(0).dtype;
  ONNXTOOL_ASSIGN(const ConstView x, widened(ctx, ctx.input(0)));
  if (x.rank() < 1) return bad_model("x is a scalar, expected [N, C, spatial...]");
  const bool spatial = ctx.node().opset() >= 9 || ctx.node().attr_int("spatial", 1) != 0;
  const int64_t pixels = product(x.dims, std::min<size_t>(2, x.dims.size()), x.dims.size());
  const int64_t channels = (x.rank() > 1 ? x.dims[1] : 1) * (spatial ? 1 : pixels);
  ConstView p[4];
  for (int i = 0; i < 4; ++i) {
    if (ctx.input(i + 1).count != channels)
      return mismatch("input " + std::to_string(i + 1) + " has shape " +
                      format_dims(ctx.input(i + 1).dims) + ", expected " +
                      std::to_string(channels) + " elements");
    ONNXTOOL_ASSIGN(p[i], converted(ctx, ctx.input(i + 1), x.dtype));
  }
  const double epsilon = ctx.node().attr_float("epsilon", 1e-5f);
  ONNXTOOL_ASSIGN(const WideOutput y, WideOutput::make(ctx, 0, type, x.dims));
  return dispatch(x.dtype, FloatOrDouble{}, "input 0", [&]<class T>() -> Status {
    const auto data = [](const ConstView& v) { return static_cast<const T*>(v.data); };
    device::for_each_index(x.count, AffineChannels<T>{data(x), data(p[0]), data(p[1]), data(p[2]),
                                                      data(p[3]), y.data<T>(), channels,
                                                      spatial ? pixels : 1, epsilon});
    y.finish(ctx);
    return {};
  });
}
bool infers(const NodeView& node) {
  if (node.opset() >= 14 && node.attr_int("training_mode", 0) != 0) return false;
  for (int i = 1; i < node.num_outputs(); ++i)
    if (node.wants_output(i)) return false;
  return true;
}

template <class T>
struct NormTerm {
  const T* x;
  bool squares;
  ONNXTOOL_HD double operator()(int64_t i, int64_t) const {
    const double v = x[i];
    return squares ? v * v : std::fabs(v);
  }
};
struct PutNorm {
  double* to;
  bool squares;
  ONNXTOOL_HD void operator()(int64_t line, double sum) const {
    to[line] = squares ? std::sqrt(sum) : sum;
  }
};
template <class T>
struct DivideByNorm {
  Lines lines;
  const T* x;
  const double* norms;
  T* y;
  ONNXTOOL_HD void operator()(int64_t i) const {
    const double norm = norms[lines.line_of(i)];
    y[i] = x[i] / (norm == 0 ? T{1} : static_cast<T>(norm));
  }
};

Status lp_normalization(KernelContext& ctx) {
  const DataType type = ctx.input(0).dtype;
  ONNXTOOL_ASSIGN(const ConstView x, widened(ctx, ctx.input(0)));
  ONNXTOOL_ASSIGN(const int64_t axis, resolve_axis(ctx.node().attr_int("axis", -1), x.rank()));
  const int64_t p = ctx.node().attr_int("p", 2);
  if (p != 1 && p != 2) return bad_model("p is " + std::to_string(p) + ", expected 1 or 2");
  const LineShape shape = line_shape(x.dims, axis);
  ONNXTOOL_ASSIGN(const WideOutput y, WideOutput::make(ctx, 0, type, x.dims));
  if (x.count == 0) return {};
  const int64_t count = shape.outer * shape.inner;
  ONNXTOOL_ASSIGN(void* work, ctx.scratch(static_cast<size_t>(count) * sizeof(double)));
  auto* norms = static_cast<double*>(work);
  return dispatch(x.dtype, FloatOrDouble{}, "input 0", [&]<class T>() -> Status {
    const T* in = static_cast<const T*>(x.data);
    const Lines lines{shape.n, shape.inner};
    device::sum_lines(count, lines, NormTerm<T>{in, p == 2}, PutNorm{norms, p == 2});
    device::for_each_index(x.count, DivideByNorm<T>{lines, in, norms, y.data<T>()});
    y.finish(ctx);
    return {};
  });
}

}  // namespace

constinit const KernelInfo kLayerNormalization{
    .op = "LayerNormalization", .prepare = needs_inputs<2>, .run = normalize_rows<true, 1, 2>};
constinit const KernelInfo kRMSNormalization{
    .op = "RMSNormalization", .prepare = needs_inputs<2>, .run = normalize_rows<false, -1, 1>};
constinit const KernelInfo kSimplifiedLayerNormalization{.op = "SimplifiedLayerNormalization",
                                                         .prepare = needs_inputs<2>,
                                                         .run = normalize_rows<false, -1, 1>};
constinit const KernelInfo kGroupNormalization{
    .op = "GroupNormalization", .prepare = needs_inputs<3>, .run = group_normalization};
constinit const KernelInfo kInstanceNormalization{
    .op = "InstanceNormalization", .prepare = needs_inputs<3>, .run = instance_normalization};
constinit const KernelInfo kBatchNormalization{.op = "BatchNormalization",
                                               .prepare = needs_inputs<5>,
                                               .run = batch_normalization,
                                               .accepts = infers};
constinit const KernelInfo kLpNormalization{
    .op = "LpNormalization", .prepare = needs_inputs<1>, .run = lp_normalization};

}  // namespace onnxtool
