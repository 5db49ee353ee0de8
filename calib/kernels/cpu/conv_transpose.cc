// ConvTranspose-1, 11, 22: the gradient of Conv with respect to its input.
//   y[n, m, o] = b[m] + sum over c in group(m), i, k with i * stride - pad + k * dilation = o of
//                x[n, c, i] * w[c, m, k]
// f32 and f64; f16 and bf16 are computed in float and rounded once.
//
// A product gives for some output channels what each input pixel adds at each k; that is then added
// up at the pixels where it belongs. A task owns whole output channels and takes input pixels in
// blocks of fixed size, so that the result does not depend on the number of threads.

#include <numeric>

#include "calib/kernels/cpu/conv_transpose_shape.h"
#include "calib/kernels/cpu/epilogue.h"
#include "calib/kernels/cpu/float_io.h"

namespace onnxtool {
namespace {

/// Input pixels of a block: its sums for some channels stay in cache.
constexpr int64_t kPixelBlock = 512;

struct TransposeState final : KernelState {
  const GemmIsa* isa;
  TransposeAttributes attributes;
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
  ONNXTOOL_ASSIGN(state->attributes, transpose_attributes(node));
  const int64_t group = state->attributes.group;
  const ConstView* w = node.constant(1);
  // What does not fit is reported when the input's shape is known too.
  if (!w || w->rank() < 3 || group < 1 || w->dims[0] % group != 0 || !is_float(w->dtype))
    return {std::move(state)};
  if (w->dtype == DataType::kDouble) {
    state->weights64 =
        pack_weights(*state->isa, static_cast<const double*>(w->data), w->dims, group);
  } else {
    const auto wide = widened_constant<float, AlignedArray<float>>(*w);
    state->weights = pack_weights(*state->isa, wide.data(), w->dims, group);
  }
  state->weight_type = w->dtype;
  state->weight_dims = to_dims(w->dims);
  node.drop_constant(1);
  return {std::move(state)};
}

const AlignedArray<float>& packed_weights(const TransposeState& s, float) { return s.weights; }
const AlignedArray<double>& packed_weights(const TransposeState& s, double) { return s.weights64; }

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
  ONNXTOOL_ASSIGN(const ConvShape shape, resolve_transpose(state.attributes, x.dims, w_dims));
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
