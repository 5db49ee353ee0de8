// DeformConv-19, 22 with two spatial axes: a convolution whose taps are moved by `offset`, read
// with bilinear interpolation (zero outside of the input) and scaled by `mask`.
//   X [N, C, H, W], W [M, C / group, kh, kw], offset [N, groups * kh * kw * 2, oh, ow] as (y, x)
//   pairs
// The moved taps of one sample become the columns of a matrix product.

#include <cmath>

#include "calib/kernels/cpu/convert.h"
#include "calib/kernels/cpu/float_io.h"
#include "calib/kernels/cpu/plain_sink.h"
#include "calib/kernels/cpu/window.h"

namespace onnxtool {
namespace {

enum Input : int { kX, kWeight, kOffset, kBias, kMask };

struct DeformState final : KernelState {
  const GemmIsa* isa;
  WindowAttributes attributes;
  int64_t group, offset_group;
};

template <const GemmIsa& (*kIsa)()>
Result<std::unique_ptr<KernelState>> prepare(const NodeView& node) {
  ONNXTOOL_TRY(require_inputs(node, {kX, kWeight, kOffset}));
  auto state = std::make_unique<DeformState>();
  state->isa = &kIsa();
  ONNXTOOL_ASSIGN(state->attributes, window_attributes(node));
  state->group = node.attr_int("group", 1);
  state->offset_group = node.attr_int("offset_group", 1);
  if (state->group < 1 || state->offset_group < 1)
    return bad_model("group and offset_group are " + std::to_string(state->group) + " and " +
                     std::to_string(state->offset_group) + ", expected positive numbers");
  return {std::move(state)};
}

struct Geometry {
  Window window;
  int64_t samples, channels, outputs, group, offset_group, taps, pixels;

  int64_t depth() const { return channels / group * taps; }  // of the product
};

Result<Geometry> resolve(const KernelContext& ctx, const DeformState& state) {
  const std::span<const int64_t> x = ctx.input(kX).dims, w = ctx.input(kWeight).dims;
  if (x.size() != 4 || w.size() != 4)
    return kernel_error(ErrorCode::kUnsupported, "input and weight have shapes " + format_dims(x) +
                                                     " and " + format_dims(w) +
                                                     "; only two spatial axes are supported");
  if (!state.attributes.kernel.empty() &&
      !std::ranges::equal(state.attributes.kernel, w.subspan(2)))
    return bad_model("kernel_shape is " + format_dims(state.attributes.kernel) +
                     " but the weight has shape " + format_dims(w));
  if (x[1] != w[1] * state.group || w[0] % state.group != 0 || x[1] % state.offset_group != 0)
    return mismatch("input and weight have shapes " + format_dims(x) + " and " + format_dims(w) +
                    ", which do not fit group " + std::to_string(state.group) +
                    " and offset_group " + std::to_string(state.offset_group));
  ONNXTOOL_ASSIGN(Window window, resolve_window(state.attributes, x, w.subspan(2)));
  Geometry g{
      window, x[0], x[1], w[0], state.group, state.offset_group, w[2] * w[3], volume(window.out)};
  const Dims offset{x[0], state.offset_group * g.taps * 2, window.out[1], window.out[2]};
  if (!std::ranges::equal(ctx.input(kOffset).dims, offset))
    return mismatch("offset has shape " + format_dims(ctx.input(kOffset).dims) + ", expected " +
                    format_dims(offset));
  const Dims mask{x[0], state.offset_group * g.taps, window.out[1], window.out[2]};
  if (ctx.has_input(kMask) && !std::ranges::equal(ctx.input(kMask).dims, mask))
    return mismatch("mask has shape " + format_dims(ctx.input(kMask).dims) + ", expected " +
                    format_dims(mask));
  if (ctx.has_input(kBias) && !std::ranges::equal(ctx.input(kBias).dims, w.subspan(0, 1)))
    return mismatch("bias has shape " + format_dims(ctx.input(kBias).dims) + ", expected [" +
                    std::to_string(w[0]) + "]");
  return g;
}

// The plane at (y, x), zero outside.
template <class T>
T interpolate(const T* plane, int64_t height, int64_t width, T y, T x) {
  if (!(y > -1 && x > -1 && y < static_cast<T>(height) && x < static_cast<T>(width))) return 0;
  const T y_floor = std::floor(y), x_floor = std::floor(x);
  const auto top = static_cast<int64_t>(y_floor), left = static_cast<int64_t>(x_floor);
  const T fy = y - y_floor, fx = x - x_floor;
  const auto at = [&](int64_t i, int64_t j) {
    return i >= 0 && i < height && j >= 0 && j < width ? plane[i * width + j] : T{0};
  };
  return (1 - fy) * ((1 - fx) * at(top, left) + fx * at(top, left + 1)) +
         fy * ((1 - fx) * at(top + 1, left) + fx * at(top + 1, left + 1));
}

// Row `row` = (channel, tap) of the columns of one sample: [channels * taps, pixels].
template <class T>
void fill_row(const Geometry& g, int64_t row, const T* x, const T* offset, const T* mask,
              T* columns) {
  const Window& w = g.window;
  const int64_t channel = row / g.taps, tap = row % g.taps;
  const int64_t ky = tap / w.kernel[2], kx = tap % w.kernel[2];
  const int64_t moved = channel / (g.channels / g.offset_group) * g.taps + tap;
  const T* plane = x + channel * volume(w.in);
  const T* dy = offset + 2 * moved * g.pixels;
  const T* dx = dy + g.pixels;
  const T* scale = mask != nullptr ? mask + moved * g.pixels : nullptr;
  T* out = columns + row * g.pixels;
  for (int64_t p = 0; p < g.pixels; ++p) {
    const int64_t oy = p / w.out[2], ox = p % w.out[2];
    const T y = static_cast<T>(oy * w.stride[1] - w.pad_begin[1] + ky * w.dilation[1]) + dy[p];
    const T at = static_cast<T>(ox * w.stride[2] - w.pad_begin[2] + kx * w.dilation[2]) + dx[p];
    const T value = interpolate(plane, w.in[1], w.in[2], y, at);
    out[p] = scale != nullptr ? value * scale[p] : value;
  }
}

template <class T>
Status convolve(KernelContext& ctx, const GemmIsa& isa, const Geometry& g, T* y) {
  const DataType type = ctx.input(kX).dtype;
  ONNXTOOL_ASSIGN(const T* x, float_input<T>(ctx, kX, type, "input"));
  ONNXTOOL_ASSIGN(const T* weight, float_input<T>(ctx, kWeight, type, "weight"));
  ONNXTOOL_ASSIGN(const T* offset, float_input<T>(ctx, kOffset, type, "offset"));
  ONNXTOOL_ASSIGN(const T* bias, optional_float_input<T>(ctx, kBias, type, "bias"));
  ONNXTOOL_ASSIGN(const T* mask, optional_float_input<T>(ctx, kMask, type, "mask"));
  const int64_t rows = g.channels * g.taps, m = g.outputs / g.group, k = g.depth();
  const auto bytes = checked_product(Dims{rows, g.pixels, int64_t{sizeof(T)}});
  if (!bytes) return kernel_error(ErrorCode::kLimit, "the columns are too large");
  ONNXTOOL_ASSIGN(void* buffer, ctx.scratch(static_cast<size_t>(*bytes)));
  auto* columns = static_cast<T*>(buffer);
  for (int64_t n = 0; n < g.samples; ++n) {
    const T* sample = x + n * g.channels * volume(g.window.in);
    const T* moved = offset + n * 2 * g.offset_group * g.taps * g.pixels;
    const T* scale = mask != nullptr ? mask + n * g.offset_group * g.taps * g.pixels : nullptr;
    ctx.parallel(rows, grain_of(16 * g.pixels), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) fill_row(g, row, sample, moved, scale, columns);
    });
    ONNXTOOL_TRY(for_each_product<T>(
        ctx, isa, g.group, m, g.pixels, k,
        [&](int64_t group) { return MatrixPanels<T>(weight + group * m * k, 1, k); },
        [&](int64_t group) { return MatrixPanels<T>(columns + group * k * g.pixels, g.pixels, 1); },
        PlainSink<T>(y + n * g.outputs * g.pixels, m, g.pixels, bias)));
  }
  return {};
}

Status run(KernelContext& ctx) {
  const auto& state = static_cast<const DeformState&>(*ctx.state());
  ONNXTOOL_ASSIGN(const Geometry g, resolve(ctx, state));
  const DataType type = ctx.input(kX).dtype;
  ONNXTOOL_ASSIGN(const WideOutput y,
                  WideOutput::make(ctx, 0, type, g.window.output_dims(g.samples, g.outputs)));
  if (y.count() == 0) return {};
  return dispatch_float(type, [&]<class T>() -> Status {
    ONNXTOOL_TRY(convolve<T>(ctx, *state.isa, g, y.data<T>()));
    y.finish(ctx);
    return {};
  });
}

}  // namespace

constinit const KernelInfo kDeformConv{
    .op = "DeformConv", .types = kFloatDataTypes, .prepare = prepare<gemm_isa>, .run = run};
constinit const KernelInfo kDeformConvPortable{.op = "DeformConv",
                                               .types = kFloatDataTypes,
                                               .prepare = prepare<gemm_isa_portable>,
                                               .run = run};

}  // namespace onnxtool
