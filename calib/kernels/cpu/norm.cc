// Normalizations without trained statistics: LayerNormalization, RMSNormalization and its ORT name,
// GroupNormalization, MeanVarianceNormalization, LpNormalization. Moments accumulate in double, the
// variance from differences to the mean.

#include <algorithm>
#include <cmath>
#include <limits>

#include "calib/kernels/cpu/norm_shape.h"
#include "calib/kernels/cpu/statistics.h"
#include "calib/kernels/cpu/walk.h"

namespace onnxtool {
namespace {

using FloatOrDouble = TypeList<float, double>;

// Sixteen chains, so that the loop is vectorised and its result fixed.
template <class T, class Term>
double sum_terms(const T* x, int64_t n, const Term& term) {
  constexpr int kChains = 16;
  double chain[kChains] = {};
  int64_t i = 0;
  for (; i + kChains <= n; i += kChains)
    for (int j = 0; j < kChains; ++j) chain[j] += term(static_cast<double>(x[i + j]));
  for (; i < n; ++i) chain[0] += term(static_cast<double>(x[i]));
  for (int width = kChains / 2; width > 0; width /= 2)
    for (int j = 0; j < width; ++j) chain[j] += chain[j + width];
  return chain[0];
}

struct Moments {
  double mean, variance;
};
template <class T>
Moments moments_of(const T* x, int64_t n) {
  const double mean = sum_terms(x, n, [](double v) { return v; }) / static_cast<double>(n);
  const double squares = sum_terms(x, n, [mean](double v) { return (v - mean) * (v - mean); });
  return {mean, squares / static_cast<double>(n)};
}

// y = (x - mean) / sqrt(variance + epsilon) * scale + bias over the axes from `axis` on. Without
// `centered` (RMS) the mean is taken as 0. Output `mean_output` and the one after get the mean and
// 1 / sqrt(...), in float.
Status normalize_rows(KernelContext& ctx, bool centered, int mean_output, int inverse_output) {
  const DataType type = ctx.input(0).dtype;
  ONNXTOOL_ASSIGN(const ConstView x, widened(ctx, ctx.input(0)));
  ONNXTOOL_ASSIGN(const NormRows shape, norm_rows(ctx.node(), x));
  const int64_t rows = shape.rows, length = shape.length;
  const double epsilon = shape.epsilon;
  ONNXTOOL_ASSIGN(const ConstView scale, trailing_operand(ctx, 1, type, shape.trailing));
  ConstView bias;
  if (ctx.has_input(2)) {
    ONNXTOOL_ASSIGN(bias, trailing_operand(ctx, 2, type, shape.trailing));
  }
  ONNXTOOL_ASSIGN(const WideOutput y, WideOutput::make(ctx, 0, type, x.dims));
  float* statistics[2] = {nullptr, nullptr};
  const int outputs[2] = {mean_output, inverse_output};
  for (int i = 0; i < 2; ++i) {
    if (outputs[i] < 0 || !ctx.wants_output(outputs[i])) continue;
    // stash_type names float; kernels of other types would round them to it anyway.
    ONNXTOOL_ASSIGN(const MutableView out,
                    ctx.output(outputs[i], DataType::kFloat, shape.statistics));
    statistics[i] = static_cast<float*>(out.data);
    if (length == 0) std::ranges::fill(out.as<float>(), kOfNothing);
  }
  if (x.count == 0) return {};
  return dispatch(x.dtype, FloatOrDouble{}, "input 0", [&]<class T>() -> Status {
    const T* in = static_cast<const T*>(x.data);
    const T* s = static_cast<const T*>(scale.data);
    const T* b = static_cast<const T*>(bias.data);
    T* out = y.data<T>();
    ctx.parallel(rows, grain_of(4 * length), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const T* from = in + row * length;
        T* to = out + row * length;
        const Moments m = centered
                              ? moments_of(from, length)
                              : Moments{0, sum_terms(from, length, [](double v) { return v * v; }) /
                                               static_cast<double>(length)};
        const double inverse = 1.0 / std::sqrt(m.variance + epsilon);
        if (statistics[0] != nullptr) statistics[0][row] = static_cast<float>(m.mean);
        if (statistics[1] != nullptr) statistics[1][row] = static_cast<float>(inverse);
        const T mean = static_cast<T>(m.mean), factor = static_cast<T>(inverse);
        if (b != nullptr) {
          for (int64_t i = 0; i < length; ++i) to[i] = (from[i] - mean) * factor * s[i] + b[i];
        } else {
          for (int64_t i = 0; i < length; ++i) to[i] = (from[i] - mean) * factor * s[i];
        }
      }
    });
    y.finish(ctx);
    return {};
  });
}

Status layer_normalization(KernelContext& ctx) { return normalize_rows(ctx, true, 1, 2); }
Status rms_normalization(KernelContext& ctx) { return normalize_rows(ctx, false, -1, 1); }

// Groups of channels; scale and bias are per group in opset 18, per channel from 21 on.
Status group_normalization(KernelContext& ctx) {
  const DataType type = ctx.input(0).dtype;
  const NodeView& node = ctx.node();
  ONNXTOOL_ASSIGN(const ConstView x, widened(ctx, ctx.input(0)));
  if (x.rank() < 2)
    return mismatch("input has shape " + format_dims(x.dims) + ", expected at least rank 2");
  const int64_t channels = x.dims[1], groups = node.attr_int("num_groups", 0);
  if (groups < 1 || channels % groups != 0)
    return bad_model("num_groups is " + std::to_string(groups) + " but the input has " +
                     std::to_string(channels) + " channels");
  const int64_t per_parameter = node.opset() < 21 ? channels / groups : 1;
  const double epsilon = node.attr_float("epsilon", 1e-5f);
  for (const int i : {1, 2})
    if (ctx.input(i).count * per_parameter != channels)
      return mismatch("input " + std::to_string(i) + " has shape " +
                      format_dims(ctx.input(i).dims) + ", expected [" +
                      std::to_string(channels / per_parameter) + "]");
  ONNXTOOL_ASSIGN(const ConstView scale, converted(ctx, ctx.input(1), x.dtype));
  ONNXTOOL_ASSIGN(const ConstView bias, converted(ctx, ctx.input(2), x.dtype));
  ONNXTOOL_ASSIGN(const WideOutput y, WideOutput::make(ctx, 0, type, x.dims));
  if (x.count == 0) return {};
  const int64_t pixels = product(x.dims, 2, x.dims.size()), length = channels / groups * pixels;
  return dispatch(x.dtype, FloatOrDouble{}, "input 0", [&]<class T>() -> Status {
    const T* in = static_cast<const T*>(x.data);
    T* out = y.data<T>();
    ctx.parallel(x.count / length, grain_of(4 * length), [&](int64_t begin, int64_t end) {
      for (int64_t g = begin; g < end; ++g) {
        const Moments m = moments_of(in + g * length, length);
        const double inverse = 1.0 / std::sqrt(m.variance + epsilon);
        const T mean = static_cast<T>(m.mean), factor = static_cast<T>(inverse);
        for (int64_t c = 0; c < channels / groups; ++c) {
          const int64_t parameter = (g % groups * (channels / groups) + c) / per_parameter;
          const T s = static_cast<const T*>(scale.data)[parameter],
                  b = static_cast<const T*>(bias.data)[parameter];
          const T* from = in + g * length + c * pixels;
          T* to = out + g * length + c * pixels;
          for (int64_t p = 0; p < pixels; ++p) to[p] = (from[p] - mean) * factor * s + b;
        }
      }
    });
    y.finish(ctx);
    return {};
  });
}

// (x - mean) / (sqrt(variance) + 1e-9) over `axes`. Rare: one thread, statistics per kept index.
Status mean_variance_normalization(KernelContext& ctx) {
  const DataType type = ctx.input(0).dtype;
  const NodeView& node = ctx.node();
  Dims axes{0, 2, 3};
  bool divides = true;
  if (node.opset() < 9) {  // the experimental first version: [N, C, ...]
    if (node.attr_int("across_channels", 0) != 0) axes = {0, 1, 2, 3};
    divides = node.attr_int("normalize_variance", 1) != 0;
  } else if (node.has_attribute("axes")) {
    axes = to_dims(node.attr_ints("axes"));
  }
  ONNXTOOL_ASSIGN(const ConstView x, converted(ctx, ctx.input(0), DataType::kDouble));
  ONNXTOOL_ASSIGN(axes, resolve_axes(axes, x.rank()));
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, type, x.dims));
  if (x.count == 0) return {};
  Dims kept = to_dims(x.dims);
  for (const int64_t axis : axes) kept[static_cast<size_t>(axis)] = 1;
  const Walk<1> walk{to_dims(x.dims), {broadcast_strides(kept, x.dims)}};
  const double each = static_cast<double>(x.count / product(kept));
  std::vector<double> mean(static_cast<size_t>(product(kept))), deviation = mean;
  const double* in = static_cast<const double*>(x.data);
  ONNXTOOL_ASSIGN(void* buffer, ctx.scratch(static_cast<size_t>(x.count) * sizeof(double)));
  auto* out = static_cast<double*>(buffer);
  const auto visit = [&](const auto& body) {
    RowWalker<1> rows(walk, 0);
    for (int64_t first = 0; first < x.count; first += walk.inner(), rows.next())
      for (int64_t i = 0; i < walk.inner(); ++i)
        body(first + i, static_cast<size_t>(rows.offsets[0] + i * walk.inner_stride(0)));
  };
  visit([&](int64_t i, size_t s) { mean[s] += in[i]; });
  for (double& m : mean) m /= each;
  visit([&](int64_t i, size_t s) { deviation[s] += (in[i] - mean[s]) * (in[i] - mean[s]); });
  for (double& d : deviation) d = divides ? std::sqrt(d / each) + 1e-9 : 1.0;
  visit([&](int64_t i, size_t s) { out[i] = (in[i] - mean[s]) / deviation[s]; });
  convert_elements(DataType::kDouble, out, type, y.data, 0, x.count);
  return {};
}

// x / norm along an axis; a line of zeros stays.
Status lp_normalization(KernelContext& ctx) {
  const DataType type = ctx.input(0).dtype;
  ONNXTOOL_ASSIGN(const ConstView x, widened(ctx, ctx.input(0)));
  ONNXTOOL_ASSIGN(const LpNorm by, lp_norm(ctx.node(), x));
  const LineShape& shape = by.lines;
  ONNXTOOL_ASSIGN(const WideOutput y, WideOutput::make(ctx, 0, type, x.dims));
  if (x.count == 0) return {};
  return dispatch(x.dtype, FloatOrDouble{}, "input 0", [&]<class T>() -> Status {
    const T* in = static_cast<const T*>(x.data);
    T* out = y.data<T>();
    ctx.parallel(shape.outer * shape.inner, grain_of(shape.n), [&](int64_t begin, int64_t end) {
      for (int64_t line = begin; line < end; ++line) {
        const int64_t base = line / shape.inner * shape.n * shape.inner + line % shape.inner;
        double norm = 0;
        for (int64_t i = 0; i < shape.n; ++i) {
          const double v = in[base + i * shape.inner];
          norm += by.squares ? v * v : std::fabs(v);
        }
        if (by.squares) norm = std::sqrt(norm);
        const T divisor = norm == 0 ? T{1} : static_cast<T>(norm);
        for (int64_t i = 0; i < shape.n; ++i)
          out[base + i * shape.inner] = in[base + i * shape.inner] / divisor;
      }
    });
    y.finish(ctx);
    return {};
  });
}

}  // namespace

constinit const KernelInfo kLayerNormalization{
    .op = "LayerNormalization", .prepare = needs_inputs<2>, .run = layer_normalization};
constinit const KernelInfo kRMSNormalization{
    .op = "RMSNormalization", .prepare = needs_inputs<2>, .run = rms_normalization};
constinit const KernelInfo kSimplifiedLayerNormalization{
    .op = "SimplifiedLayerNormalization", .prepare = needs_inputs<2>, .run = rms_normalization};
constinit const KernelInfo kGroupNormalization{
    .op = "GroupNormalization", .prepare = needs_inputs<3>, .run = group_normalization};
constinit const KernelInfo kMeanVarianceNormalization{.op = "MeanVarianceNormalization",
                                                      .prepare = needs_inputs<1>,
                                                      .run = mean_variance_normalization};
constinit const KernelInfo kLpNormalization{
    .op = "LpNormalization", .prepare = needs_inputs<1>, .run = lp_normalization};

}  // namespace onnxtool
