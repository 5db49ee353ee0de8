// com.microsoft.QLinearAveragePool-1, QLinearGlobalAveragePool-1 (x, x_scale, x_zero_point?,
// y_scale, y_zero_point?), with the roundings of qlinear_average.h, and QLinearSoftmax-1:
//   saturate(round_half_even(v / y_scale) + y_zero_point)

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <sstream>

#include "calib/kernels/cpu/conv_loops.h"
#include "calib/kernels/cpu/elementwise.h"
#include "calib/kernels/cpu/host_device.h"
#include "calib/kernels/cpu/pool.h"
#include "calib/kernels/cpu/qlinear_average.h"
#include "libopt/target/pool_limits.h"

namespace onnxtool {
namespace {

#if !defined(ONNXTOOL_DEVICE_KERNELS)  // a device has loops of its own

void average_windows(KernelContext& ctx, const ConstView& x, const Window& w, bool count_pads,
                     const Quantization& x_quant, const Quantization& y_quant, uint8_t* y) {
  const PoolTaps taps(w);
  const PoolCounts counts(w, count_pads);
  const std::array<float, 256> values = x_quant.values();
  const auto* from = static_cast<const uint8_t*>(x.data);
  for_each_output(ctx, w, x.dims[0] * x.dims[1],
                  [&](int64_t at, int64_t e, int64_t od, int64_t oh, int64_t ow) {
                    float sum = 0;
                    taps.for_each(od, oh, ow,
                                  [&](int64_t i) { sum += values[from[at * volume(w.in) + i]]; });
                    y[e] = average_code(sum, counts.at(od, oh, ow), y_quant);
                  });
}

/// Channels whose sums are made together, where channels are last: a number that the compiler
/// knows, so that it adds them in vectors.
constexpr int64_t kChannelsTogether = 64;

/// sums[c] = sum over pixels p of the codes x[p, c], for n channels of the `stride` that a pixel
/// has.
template <class T>
void add_pixels(const T* x, int64_t pixels, int64_t stride, int64_t n, int64_t* sums) {
  constexpr int64_t kExact = 1 << 20;  // codes of 8 bits whose sum an int32 holds
  std::fill_n(sums, n, 0);
  for (int64_t first = 0; first < pixels; first += kExact) {
    std::array<int32_t, kChannelsTogether> part{};
    const int64_t end = std::min(pixels, first + kExact);
    for (int64_t p = first; p < end; ++p) {
      const T* from = x + p * stride;
      if (n == kChannelsTogether)
        for (size_t c = 0; c < part.size(); ++c) part[c] += from[c];
      else
        for (int64_t c = 0; c < n; ++c) part[static_cast<size_t>(c)] += from[c];
    }
    for (int64_t c = 0; c < n; ++c) sums[c] += part[static_cast<size_t>(c)];
  }
}

/// x is [images, pixels, channels] in memory when `last`, else [images, channels, pixels].
template <class T>
void average_images(KernelContext& ctx, const T* x, int64_t images, int64_t pixels,
                    int64_t channels, bool last, const Quantization& x_quant,
                    const Quantization& y_quant, uint8_t* y) {
  const float ratio = x_quant.scale / (y_quant.scale * static_cast<float>(pixels));
  const int64_t together = last ? kChannelsTogether : 1,
                groups = (channels + together - 1) / together;
  ctx.parallel(images * groups, grain_of(pixels * together), [&](int64_t begin, int64_t end) {
    std::array<int64_t, kChannelsTogether> sums;
    for (int64_t i = begin; i < end; ++i) {
      const int64_t image = i / groups, c = i % groups * together,
                    n = std::min(together, channels - c);
      if (last)
        add_pixels(x + image * pixels * channels + c, pixels, channels, n, sums.data());
      else
        sums[0] = std::accumulate(x + i * pixels, x + (i + 1) * pixels, int64_t{0});
      for (int64_t k = 0; k < n; ++k) {
        const int64_t sum = sums[static_cast<size_t>(k)] - pixels * x_quant.zero_point;
        y[image * channels + c + k] = global_average_code(sum, ratio, y_quant);
      }
    }
  });
}

/// powers[i]: exp of a code that lies i below the greatest one.
void softmax_lines(KernelContext& ctx, const ConstView& x, const LineShape& s,
                   const std::array<float, 256>& powers, const Quantization& y_quant, uint8_t* y) {
  ctx.parallel(s.outer * s.inner, grain_of(s.n), [&](int64_t begin, int64_t end) {
    for (int64_t line = begin; line < end; ++line) {
      const int64_t base = line / s.inner * s.n * s.inner + line % s.inner;
      int32_t greatest = lowest_of(x.dtype);
      for (int64_t i = 0; i < s.n; ++i)
        greatest = std::max(greatest, int8_at(x, base + i * s.inner));
      float sum = 0;
      const auto power = [&](int64_t i) {
        return powers[static_cast<size_t>(greatest - int8_at(x, base + i * s.inner))];
      };
      for (int64_t i = 0; i < s.n; ++i) sum += power(i);
      for (int64_t i = 0; i < s.n; ++i) y[base + i * s.inner] = y_quant.code(power(i) / sum);
    }
  });
}

#endif

struct PoolState final : KernelState {
  WindowAttributes attributes;
  bool count_pads = false;
};

Result<std::unique_ptr<KernelState>> prepare_average(const NodeView& node) {
  ONNXTOOL_TRY(require_inputs(node, {0, 1, 3}));
  auto state = std::make_unique<PoolState>();
  ONNXTOOL_ASSIGN(state->attributes, window_attributes(node));
  state->count_pads = node.attr_int("count_include_pad", 0) != 0;
  if (node.attr_int("channels_last", 0) != 0)
    return kernel_error(ErrorCode::kUnsupported, "channels_last is 1, which is not supported");
  return {std::move(state)};
}

Status average(KernelContext& ctx) {
  const auto& state = static_cast<const PoolState&>(*ctx.state());
  const ConstView& x = ctx.input(0);
  ONNXTOOL_ASSIGN(const Quantization x_quant, quantization_of(ctx, 1, 2, x.dtype));
  ONNXTOOL_ASSIGN(const Quantization y_quant, quantization_of(ctx, 3, 4, x.dtype));
  ONNXTOOL_ASSIGN(const Window w,
                  resolve_window(state.attributes, x.dims, state.attributes.kernel));
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, x.dtype, w.output_dims(x.dims[0], x.dims[1])));
  if (y.count == 0) return {};
  average_windows(ctx, x, w, state.count_pads, x_quant, y_quant, static_cast<uint8_t*>(y.data));
  return {};
}

Result<std::unique_ptr<KernelState>> prepare_global(const NodeView& node) {
  ONNXTOOL_TRY(require_inputs(node, {0, 1, 3}));
  return std::unique_ptr<KernelState>();
}

Status global_average(KernelContext& ctx) {
  ConstView x = ctx.input(0);
  if (x.rank() < 3)
    return bad_model("the input has shape " + format_dims(x.dims) +
                     ", expected [N, C, spatial...]");
  ONNXTOOL_ASSIGN(const Quantization x_quant, quantization_of(ctx, 1, 2, x.dtype));
  ONNXTOOL_ASSIGN(const Quantization y_quant, quantization_of(ctx, 3, 4, x.dtype));
  // The attribute is about the dims, the layout about memory.
  const bool dims_last = ctx.node().attr_int("channels_last", 0) != 0;
  if (dims_last) {
    ONNXTOOL_ASSIGN(x, in_plain_order(ctx, x));
  }
  const size_t first_spatial = dims_last ? 1 : 2, end_spatial = x.dims.size() - (dims_last ? 1 : 0);
  Dims dims = to_dims(x.dims);
  std::fill(dims.begin() + static_cast<std::ptrdiff_t>(first_spatial),
            dims.begin() + static_cast<std::ptrdiff_t>(end_spatial), 1);
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, x.dtype, dims));
  const int64_t pixels = product(x.dims, first_spatial, end_spatial),
                channels = dims_last ? x.dims.back() : x.dims[1];
  // Where onnxruntime throws, another file is wanted, not a result of ours.
  if (y.count > 0 && !global_pool_takes(x_quant.scale, y_quant.scale, pixels)) {
    std::ostringstream text;
    text << "x_scale " << x_quant.scale << " / (y_scale " << y_quant.scale << " x " << pixels
         << " pixels) is outside [2^-32, 2^8), or there are 2^24 pixels: onnxruntime's kernel "
            "refuses that";
    return bad_model(text.str());
  }
  const bool last = dims_last || x.layout == Layout::kChannelsLast;
  auto* to = static_cast<uint8_t*>(y.data);
  if (x.dtype == DataType::kInt8)
    average_images(ctx, static_cast<const int8_t*>(x.data), x.dims[0], pixels, channels, last,
                   x_quant, y_quant, to);
  else
    average_images(ctx, static_cast<const uint8_t*>(x.data), x.dims[0], pixels, channels, last,
                   x_quant, y_quant, to);
  return {};
}

Status softmax(KernelContext& ctx) {
  const ConstView& x = ctx.input(0);
  ONNXTOOL_ASSIGN(const Quantization x_quant, quantization_of(ctx, 1, 2, x.dtype));
  ONNXTOOL_ASSIGN(const Quantization y_quant, quantization_of(ctx, 3, 4, x.dtype));
  // The opset of the Softmax that this one replaces: before 13 all axes from `axis` on are one.
  const bool flattens = ctx.node().attr_int("opset", 13) < 13;
  ONNXTOOL_ASSIGN(const int64_t axis, resolve_axis(ctx.node().attr_int("axis", flattens ? 1 : -1),
                                                   std::max<int64_t>(1, x.rank())));
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, x.dtype, x.dims));
  if (y.count == 0) return {};
  const auto a = static_cast<size_t>(axis);
  const LineShape s = x.rank() == 0 ? LineShape{}
                      : flattens
                          ? LineShape{product(x.dims, 0, a), product(x.dims, a, x.dims.size()), 1}
                          : line_shape(x.dims, axis);
  // exp of how far a code lies below the greatest one.
  std::array<float, 256> powers{};
  for (int i = 0; i < 256; ++i)
    powers[static_cast<size_t>(i)] = std::exp(-x_quant.scale * static_cast<float>(i));
  softmax_lines(ctx, x, s, powers, y_quant, static_cast<uint8_t*>(y.data));
  return {};
}

constexpr std::initializer_list<DataType> kTypes = {DataType::kUint8, DataType::kInt8};

}  // namespace

constinit const KernelInfo kQLinearAveragePool{.domain = "com.microsoft",
                                               .op = "QLinearAveragePool",
                                               .types = kTypes,
                                               .prepare = prepare_average,
                                               .run = average,
                                               .use = parameters_on_host};
constinit const KernelInfo kQLinearGlobalAveragePool{
    .domain = "com.microsoft",
    .op = "QLinearGlobalAveragePool",
    .types = kTypes,
    .prepare = prepare_global,
    .run = global_average,
    .takes_layout = [](int input,
                       Layout layout) { return input == 0 && layout == Layout::kChannelsLast; },
    .use = parameters_on_host};
constinit const KernelInfo kQLinearSoftmax{.domain = "com.microsoft",
                                           .op = "QLinearSoftmax",
                                           .types = kTypes,
                                           .prepare = prepare_global,
                                           .run = softmax,
                                           .use = parameters_on_host};

}  // namespace onnxtool
