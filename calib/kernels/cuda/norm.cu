// Normalizations on a device: LayerNormalization, RMSNormalization and its ORT name,
// InstanceNormalization, GroupNormalization, BatchNormalization at inference, LpNormalization.
// Moments are double, the variance from differences to the mean, as on the host; lanes add in
// another order.

#include <algorithm>
#include <cmath>

#include "calib/kernels/cpu/norm_shape.h"
#include "calib/kernels/cuda/norm.h"

namespace onnxtool {
namespace {

using device::Divider;
using device::Lines;
using device::NormalizeElements;
using device::RoundStatistics;
using device::Statistics;
using device::statistics_of;
using FloatOrDouble = TypeList<float, double>;

// LayerNormalization; RMS where not `centered`. Outputs of statistics as the host has them.
template <bool kCentered, int kMean, int kInverse>
Status normalize_rows(KernelContext& ctx) {
  const DataType type = ctx.input(0).dtype;
  ONNXTOOL_ASSIGN(const ConstView x, widened(ctx, ctx.input(0)));
  ONNXTOOL_ASSIGN(const NormRows shape, norm_rows(ctx.node(), x));
  const int64_t rows = shape.rows, length = shape.length;
  ONNXTOOL_ASSIGN(const ConstView scale, trailing_operand(ctx, 1, type, shape.trailing));
  ConstView bias;
  if (ctx.has_input(2)) {
    ONNXTOOL_ASSIGN(bias, trailing_operand(ctx, 2, type, shape.trailing));
  }
  ONNXTOOL_ASSIGN(const WideOutput y, WideOutput::make(ctx, 0, type, x.dims));
  RoundStatistics rounded{{}, nullptr, nullptr};
  if (kMean >= 0 && ctx.wants_output(kMean)) {
    ONNXTOOL_ASSIGN(const MutableView view, ctx.output(kMean, DataType::kFloat, shape.statistics));
    rounded.mean = static_cast<float*>(view.data);
  }
  if (ctx.wants_output(kInverse)) {
    ONNXTOOL_ASSIGN(const MutableView view,
                    ctx.output(kInverse, DataType::kFloat, shape.statistics));
    rounded.inverse = static_cast<float*>(view.data);
  }
  if (length == 0) rounded.of_nothing(rows);
  if (x.count == 0) return {};
  return dispatch(x.dtype, FloatOrDouble{}, "input 0", [&]<class T>() -> Status {
    const T* in = static_cast<const T*>(x.data);
    ONNXTOOL_ASSIGN(rounded.from, statistics_of(ctx, in, rows, length, shape.epsilon, kCentered));
    device::for_each_index(
        x.count, NormalizeElements<T>{in, static_cast<const T*>(scale.data),
                                      static_cast<const T*>(bias.data), y.data<T>(),
                                      Divider(length), rounded.from, Divider(1), Divider(length)});
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
                      format_dims(ctx.input(i).dims) + ", expected [" + std::to_string(parameters) +
                      "]");
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
        x.count, NormalizeElements<T>{in, static_cast<const T*>(scale.data),
                                      static_cast<const T*>(bias.data), y.data<T>(),
                                      Divider(length), statistics,
                                      Divider(per_group ? length : pixels), Divider(parameters)});
    y.finish(ctx);
    return {};
  });
}

Status check_channels(const ConstView& x) {
  if (x.rank() >= 2) return {};
  return bad_model("the input has shape " + format_dims(x.dims) + ", expected [N, C, spatial...]");
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
  Divider channels, pixels;
  double epsilon;
  ONNXTOOL_HD void operator()(int64_t i) const {
    const int64_t c = channels.remainder(pixels.quotient(i));
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
                                                      data(p[3]), y.data<T>(), Divider(channels),
                                                      Divider(spatial ? pixels : 1), epsilon});
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
  ONNXTOOL_ASSIGN(const LpNorm by, lp_norm(ctx.node(), x));
  ONNXTOOL_ASSIGN(const WideOutput y, WideOutput::make(ctx, 0, type, x.dims));
  if (x.count == 0) return {};
  const int64_t count = by.lines.outer * by.lines.inner;
  ONNXTOOL_ASSIGN(void* work, ctx.scratch(static_cast<size_t>(count) * sizeof(double)));
  auto* norms = static_cast<double*>(work);
  return dispatch(x.dtype, FloatOrDouble{}, "input 0", [&]<class T>() -> Status {
    const T* in = static_cast<const T*>(x.data);
    const Lines lines{by.lines.n, by.lines.inner};
    device::sum_lines(count, lines, NormTerm<T>{in, by.squares}, PutNorm{norms, by.squares});
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
