// ConvTranspose-1, 11, 22: the gradient of Conv with respect to its input.
//   y[n, m, o] = b[m] + sum over c in group(m), i, k with i * stride - pad + k * dilation = o of
//                x[n, c, i] * w[c, m, k]
// f32 and f64; f16 and bf16 are computed in float and rounded once.
//
// A product gives for some output channels what each input pixel adds at each k; that is then added
// up at the pixels where it belongs. A task owns whole output channels and takes input pixels in
// blocks of fixed size, so that the result does not depend on the number of threads.

#include <numeric>

#include "calib/kernels/cpu/conv_common.h"
#include "calib/kernels/cpu/epilogue.h"
#include "calib/kernels/cpu/float_io.h"

namespace onnxtool {
namespace {

/// Input pixels of a block: its sums for some channels stay in cache.
constexpr int64_t kPixelBlock = 512;

struct TransposeState final : KernelState {
  const GemmIsa* isa;
  WindowAttributes attributes;
  Dims output_padding, output_shape;
  int64_t group = 1;
  // Packed weights with their type and shape, when they are constant: run() then reads no input 1.
  AlignedArray<float> weights;
  AlignedArray<double> weights64;
  DataType weight_type = DataType::kUndefined;
  Dims weight_dims;

  bool packed() const { return weights || weights64; }
};

/// Panels of rows (m, k) and depth c for each group of w [C, M / group, kernel...].
template <class T>
AlignedArray<T> pack_weights(const GemmIsa& isa, const T* w, std::span<const int64_t> dims,
                             int64_t group) {
  const int64_t depth = dims[0] / group, rows = product(dims, 1, dims.size());
  const int mr = tile_rows_of<T>(isa);
  const int64_t size = packed_count<T>(rows, depth, mr);
  AlignedArray<T> packed(size * group);
  for (int64_t g = 0; g < group; ++g)
    pack_panels<T>(MatrixPanels<T>(w + g * depth * rows, rows, 1), rows, depth, mr, 0,
                   ceil_div(rows, mr), packed.data() + g * size);
  return packed;
}

template <const GemmIsa& (*kIsa)()>
Result<std::unique_ptr<KernelState>> prepare(const NodeView& node) {
  ONNXTOOL_TRY(require_inputs(node, {0, 1}));
  auto state = std::make_unique<TransposeState>();
  state->isa = &kIsa();
  ONNXTOOL_ASSIGN(state->attributes, window_attributes(node));
  state->output_padding = to_dims(node.attr_ints("output_padding"));
  state->output_shape = to_dims(node.attr_ints("output_shape"));
  state->group = node.attr_int("group", 1);
  const ConstView* w = node.constant(1);
  // What does not fit is reported when the input's shape is known too.
  if (!w || w->rank() < 3 || state->group < 1 || w->dims[0] % state->group != 0 ||
      !is_float(w->dtype))
    return {std::move(state)};
  if (w->dtype == DataType::kDouble) {
    state->weights64 =
        pack_weights(*state->isa, static_cast<const double*>(w->data), w->dims, state->group);
  } else {
    const auto wide = widened_constant<float, AlignedArray<float>>(*w);
    state->weights = pack_weights(*state->isa, wide.data(), w->dims, state->group);
  }
  state->weight_type = w->dtype;
  state->weight_dims = to_dims(w->dims);
  node.drop_constant(1);
  return {std::move(state)};
}

const AlignedArray<float>& packed_weights(const TransposeState& s, float) { return s.weights; }
const AlignedArray<double>& packed_weights(const TransposeState& s, double) { return s.weights64; }

Error overflows() {
  return bad_model("strides, kernel or output_padding overflow the output's extents");
}

/// Output extent and padding along axis i.
Status resolve_axis(const TransposeState& s, const Spatial& output_padding,
                    const Spatial& output_shape, size_t i, Window& w) {
  const auto reach = checked_mul(w.kernel[i] - 1, w.dilation[i]);
  const auto steps = checked_mul(std::max<int64_t>(0, w.in[i] - 1), w.stride[i]);
  auto full = reach && steps ? checked_add(*reach, *steps) : std::nullopt;
  if (full) full = checked_add(*full, 1);
  if (full) full = checked_add(*full, output_padding[i]);
  if (!full || *full > INT64_MAX / 4 || w.stride[i] > INT64_MAX / 4) return overflows();
  const bool same =
      s.attributes.auto_pad == AutoPad::kSameUpper || s.attributes.auto_pad == AutoPad::kSameLower;
  const auto scaled = checked_mul(w.in[i], w.stride[i]);
  if (!s.output_shape.empty() || same) {
    if (s.output_shape.empty() && !scaled) return overflows();
    w.out[i] = s.output_shape.empty() ? *scaled : output_shape[i];
    // An output larger than what x reaches ends in zeros (plus bias).
    const int64_t total = std::max<int64_t>(0, *full - w.out[i]);
    w.pad_begin[i] = s.attributes.auto_pad == AutoPad::kSameUpper ? total / 2 : total - total / 2;
    w.pad_end[i] = total - w.pad_begin[i];
    return {};
  }
  if (w.pad_begin[i] > INT64_MAX / 4 || w.pad_begin[i] < -(INT64_MAX / 4) ||
      w.pad_end[i] > INT64_MAX / 4 || w.pad_end[i] < -(INT64_MAX / 4))
    return overflows();
  w.out[i] = *full - w.pad_begin[i] - w.pad_end[i];
  if (w.in[i] == 0) w.out[i] = std::max<int64_t>(0, w.out[i]);
  if (w.out[i] < 0)
    return mismatch("pads leave an extent of " + std::to_string(w.out[i]) + " on spatial axis " +
                    std::to_string(static_cast<int>(i) - (kSpatial - w.rank)));
  return {};
}

/// window.in are x's extents, window.out y's: x is what Conv would have made of y.
Result<ConvShape> resolve(const TransposeState& s, std::span<const int64_t> x,
                          std::span<const int64_t> weights) {
  if (x.size() < 3 || weights.size() != x.size())
    return mismatch("input has shape " + format_dims(x) + " and weights have shape " +
                    format_dims(weights) +
                    ", expected [N, C, spatial...] and [C, M / group, kernel...]");
  if (x.size() > 2 + kSpatial)
    return kernel_error(ErrorCode::kUnsupported, "the input has " + std::to_string(x.size() - 2) +
                                                     " spatial axes, at most 3 are supported");
  if (s.group < 1)
    return bad_model("group is " + std::to_string(s.group) + ", expected at least 1");
  if (weights[0] != x[1] || x[1] % s.group != 0)
    return mismatch("weights have " + std::to_string(weights[0]) + " channels and group is " +
                    std::to_string(s.group) + " but the input has " + std::to_string(x[1]) +
                    " channels");
  const auto outputs = checked_mul(weights[1], s.group);
  if (!outputs) return bad_model("group overflows the number of output channels");
  const auto kernel = weights.subspan(2);
  if (!s.attributes.kernel.empty() && !std::ranges::equal(s.attributes.kernel, kernel))
    return mismatch("kernel_shape is " + format_dims(s.attributes.kernel) +
                    " but weights have shape " + format_dims(weights));
  ConvShape shape;
  Window& w = shape.window;
  w.rank = static_cast<int>(x.size()) - 2;
  ONNXTOOL_TRY(spread_attribute(x.subspan(2), w.rank, "the input's shape", 0, w.in));
  ONNXTOOL_TRY(spread_attribute(kernel, w.rank, "the weights' shape", 1, w.kernel));
  ONNXTOOL_TRY(spread_attribute(s.attributes.strides, w.rank, "strides", 1, w.stride));
  ONNXTOOL_TRY(spread_attribute(s.attributes.dilations, w.rank, "dilations", 1, w.dilation));
  if (s.attributes.auto_pad == AutoPad::kNotSet && !s.attributes.pads.empty()) {
    const std::span<const int64_t> pads = s.attributes.pads;
    if (pads.size() != 2 * static_cast<size_t>(w.rank))
      return bad_model("pads has " + std::to_string(pads.size()) + " values but the input has " +
                       std::to_string(w.rank) + " spatial axes");
    ONNXTOOL_TRY(
        spread_attribute(pads.first(pads.size() / 2), w.rank, "pads", INT64_MIN, w.pad_begin));
    ONNXTOOL_TRY(
        spread_attribute(pads.subspan(pads.size() / 2), w.rank, "pads", INT64_MIN, w.pad_end));
  }
  Spatial output_padding{0, 0, 0}, output_shape{1, 1, 1};
  ONNXTOOL_TRY(spread_attribute(s.output_padding, w.rank, "output_padding", 0, output_padding));
  // Some exporters write all dimensions of y.
  const auto spatial = std::span<const int64_t>(s.output_shape);
  ONNXTOOL_TRY(spread_attribute(spatial.size() == x.size() ? spatial.subspan(2) : spatial, w.rank,
                                "output_shape", 0, output_shape));
  for (size_t i = static_cast<size_t>(kSpatial - w.rank); i < kSpatial; ++i)
    ONNXTOOL_TRY(resolve_axis(s, output_padding, output_shape, i, w));
  shape.batch = x[0];
  shape.channels = x[1];
  shape.out_channels = *outputs;
  shape.group = s.group;
  return shape;
}

/// Positions i in [first, last) of the input whose tap k falls inside the output along one axis.
struct Reach {
  int64_t first, last;
};
Reach reach(const Window& w, size_t axis, int64_t k, int64_t begin, int64_t end) {
  const int64_t shift = k * w.dilation[axis] - w.pad_begin[axis], stride = w.stride[axis];
  const int64_t low = shift >= 0 ? 0 : (-shift + stride - 1) / stride;
  const int64_t room = w.out[axis] - 1 - shift;
  const int64_t high = room < 0 ? 0 : room / stride + 1;
  return {std::max(begin, low), std::min(end, high)};
}

/// Adds what input pixels [first, last) give for one channel, sums [taps, last - first], to plane
/// y.
template <class T>
void add_pixels(const Window& w, const T* sums, int64_t stride, int64_t first, int64_t last, T* y) {
  for (int64_t kd = 0; kd < w.kernel[0]; ++kd)
    for (int64_t kh = 0; kh < w.kernel[1]; ++kh)
      for (int64_t kw = 0; kw < w.kernel[2]; ++kw, sums += stride)
        for (int64_t at = first; at < last;) {
          const int64_t row = at / w.in[2], begin = at % w.in[2];
          const int64_t end = std::min(w.in[2], begin + last - at);
          const T* from = sums + (at - first);
          at += end - begin;
          const int64_t d = row / w.in[1] * w.stride[0] - w.pad_begin[0] + kd * w.dilation[0];
          const int64_t h = row % w.in[1] * w.stride[1] - w.pad_begin[1] + kh * w.dilation[1];
          if (d < 0 || d >= w.out[0] || h < 0 || h >= w.out[1]) continue;
          const Reach inside = reach(w, 2, kw, begin, end);
          T* to = y + (d * w.out[1] + h) * w.out[2] + kw * w.dilation[2] - w.pad_begin[2];
          const int64_t step = w.stride[2];
          for (int64_t i = inside.first; i < inside.last; ++i) to[i * step] += from[i - begin];
        }
}

template <class T>
Status compute(KernelContext& ctx, const TransposeState& state, const ConvShape& shape,
               std::span<const int64_t> w_dims, const T* x, const T* bias,
               const Epilogue<T>& epilogue, T* y) {
  const GemmIsa& isa = *state.isa;
  const Window& w = shape.window;
  const T* weights = packed_weights(state, T{}).data();
  AlignedArray<T> temporary;
  if (!weights) {
    ONNXTOOL_ASSIGN(const T* wide, float_input<T>(ctx, 1, ctx.input(1).dtype, "weights"));
    temporary = pack_weights(isa, wide, w_dims, shape.group);
    weights = temporary.data();
  }
  const int mr = tile_rows_of<T>(isa);
  const int64_t taps = volume(w.kernel), pixels = volume(w.in), out_pixels = volume(w.out);
  const int64_t outputs = shape.group_outputs(), depth = shape.group_channels(),
                rows = outputs * taps;
  // The fewest channels whose rows are whole panels.
  const int64_t channels = std::min(outputs, int64_t{mr} / std::gcd(taps, int64_t{mr}));
  const int64_t blocks = channels > 0 ? ceil_div(outputs, channels) : 0;
  const int64_t group_size = packed_count<T>(rows, depth, mr);
  const PackedPanels<T> any(weights, rows, mr);
  const int64_t workspace =
      round_up(gemm_workspace<T>(isa, any, channels * taps, depth) * int64_t{sizeof(T)}, 64);
  const int64_t block_pixels = std::min(kPixelBlock, pixels);
  ONNXTOOL_ASSIGN(
      const TaskPool pool,
      TaskPool::make(ctx, workspace + channels * taps * block_pixels * int64_t{sizeof(T)}));
  pool.run(ctx, shape.batch * shape.group * blocks, [&](int64_t task, std::byte* memory) {
    const int64_t image = task / blocks, g = image % shape.group;
    const int64_t m0 = task % blocks * channels, m1 = std::min(m0 + channels, outputs);
    const PackedPanels<T> a(weights + g * group_size, rows, mr);
    const MatrixPanels<T> b(x + image * depth * pixels, pixels, 1);
    T* sums = reinterpret_cast<T*>(memory + workspace);
    T* to = y + (image * outputs + m0) * out_pixels;
    std::fill_n(to, (m1 - m0) * out_pixels, T{});
    for (int64_t first = 0; first < pixels; first += block_pixels) {
      const int64_t last = std::min(first + block_pixels, pixels), count = last - first;
      gemm_range<T>(isa, a, b, depth, {m0 * taps, m1 * taps, first, last}, sums, count,
                    reinterpret_cast<T*>(memory));
      for (int64_t m = m0; m < m1; ++m)
        add_pixels(w, sums + (m - m0) * taps * count, count, first, last,
                   to + (m - m0) * out_pixels);
    }
    for (int64_t m = m0; m < m1; ++m, to += out_pixels) {
      if (bias)
        for (int64_t i = 0; i < out_pixels; ++i) to[i] += bias[g * outputs + m];
      epilogue.apply(to, out_pixels, to - y);
    }
  });
  return {};
}

Status run(KernelContext& ctx) {
  const auto& state = static_cast<const TransposeState&>(*ctx.state());
  const ConstView& x = ctx.input(0);
  const DataType w_type = state.packed() ? state.weight_type : ctx.input(1).dtype;
  const std::span<const int64_t> w_dims =
      state.packed() ? std::span<const int64_t>(state.weight_dims) : ctx.input(1).dims;
  if (w_type != x.dtype)
    return mismatch("weights have element type " + std::string(name(w_type)) + ", expected " +
                    std::string(name(x.dtype)));
  ONNXTOOL_ASSIGN(const ConvShape shape, resolve(state, x.dims, w_dims));
  if (ctx.has_input(2)) ONNXTOOL_TRY(check_vector(ctx.input(2), "bias", shape.out_channels));
  const Dims dims = shape.window.output_dims(shape.batch, shape.out_channels);
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, x.dtype, dims));
  if (y.count == 0) return {};
  return dispatch_float(x.dtype, [&]<class T>() -> Status {
    ONNXTOOL_ASSIGN(const T* data, float_input<T>(ctx, 0, x.dtype, "input"));
    ONNXTOOL_ASSIGN(const T* bias, optional_float_input<T>(ctx, 2, x.dtype, "bias"));
    ONNXTOOL_ASSIGN(const Epilogue<T> epilogue, Epilogue<T>::make(ctx, {}, dims));
    ONNXTOOL_ASSIGN(const FloatOutput<T> out, FloatOutput<T>::make(ctx, y));
    ONNXTOOL_TRY(compute<T>(ctx, state, shape, w_dims, data, bias, epilogue, out.data));
    out.store(ctx);
    return {};
  });
}

}  // namespace

constinit const KernelInfo kConvTranspose{.op = "ConvTranspose",
                                          .types = kFloatDataTypes,
                                          .prepare = prepare<gemm_isa>,
                                          .run = run,
                                          .fuses = epilogue_fuses};
constinit const KernelInfo kConvTransposePortable{.op = "ConvTranspose",
                                                  .types = kFloatDataTypes,
                                                  .prepare = prepare<gemm_isa_portable>,
                                                  .run = run,
                                                  .fuses = epilogue_fuses};

}  // namespace onnxtool
