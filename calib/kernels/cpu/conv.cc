// Conv-1, 11, 22 and com.microsoft.FusedConv-1:
//   y[n, m, o] = b[m] + sum over c in group(m), k of x[n, c, o * stride - pad + k * dilation] *
//   w[m, c, k]
// f32 and f64; f16 and bf16 are computed in float and rounded once. FusedConv adds z, then
// activates.
//
// Dense windows are a blocked product over im2col panels, depthwise ones run along pixels. A task
// owns a tile of the output, so that the result does not depend on the number of threads.

#include "calib/kernels/cpu/conv_common.h"
#include "calib/kernels/cpu/epilogue.h"
#include "calib/kernels/cpu/float_io.h"
#include "calib/kernels/cpu/vector_math.h"

namespace onnxtool {
namespace {

/// Weights in the order that the loops read them: lines [M, taps] for depthwise, else packed
/// panels.
template <class T>
AlignedArray<T> arrange_weights(const GemmIsa& isa, const T* w, std::span<const int64_t> dims,
                                int64_t group) {
  const int64_t outputs = dims[0] / group, depth = product(dims, 1, dims.size());
  if (is_depthwise(group, dims) && std::is_same_v<T, float>) {
    AlignedArray<T> lines(dims[0] * depth);
    std::copy_n(w, dims[0] * depth, lines.data());
    return lines;
  }
  const int mr = tile_rows_of<T>(isa);
  const int64_t group_size = packed_count<T>(outputs, depth, mr);
  AlignedArray<T> packed(group_size * group);
  for (int64_t g = 0; g < group; ++g)
    pack_panels<T>(MatrixPanels<T>(w + g * outputs * depth, 1, depth), outputs, depth, mr, 0,
                   ceil_div(outputs, mr), packed.data() + g * group_size);
  return packed;
}

struct ConvState final : KernelState {
  const GemmIsa* isa;
  WindowAttributes attributes;
  int64_t group = 1;
  std::vector<EpilogueOp> own;  // FusedConv
  // Arranged weights with their type and shape, when they are constant: run() then reads no
  // input 1.
  AlignedArray<float> weights;
  AlignedArray<double> weights64;
  DataType weight_type = DataType::kUndefined;
  Dims weight_dims;

  bool packed() const { return weights || weights64; }
};

template <const GemmIsa& (*kIsa)()>
Result<std::unique_ptr<KernelState>> prepare(const NodeView& node) {
  ONNXTOOL_TRY(require_inputs(node, {0, 1}));
  auto state = std::make_unique<ConvState>();
  state->isa = &kIsa();
  ONNXTOOL_ASSIGN(state->attributes, window_attributes(node));
  state->group = node.attr_int("group", 1);
  if (node.op_type() == "FusedConv") {
    if (node.has_input(3)) state->own.push_back({.kind = EpilogueOp::Kind::kAdd, .input = 3});
    ONNXTOOL_ASSIGN(const std::vector<EpilogueOp> activation, fused_activation(node));
    state->own.insert(state->own.end(), activation.begin(), activation.end());
  }
  const ConstView* w = node.constant(1);
  // What does not fit is reported when the input's shape is known too.
  if (!w || w->rank() < 3 || state->group < 1 || w->dims[0] % state->group != 0)
    return {std::move(state)};
  if (w->dtype == DataType::kDouble) {
    state->weights64 =
        arrange_weights(*state->isa, static_cast<const double*>(w->data), w->dims, state->group);
  } else if (is_float(w->dtype)) {
    const auto wide = widened_constant<float, AlignedArray<float>>(*w);
    state->weights = arrange_weights(*state->isa, wide.data(), w->dims, state->group);
  }
  if (state->packed()) {
    state->weight_type = w->dtype;
    state->weight_dims = to_dims(w->dims);
    node.drop_constant(1);
  }
  return {std::move(state)};
}

const AlignedArray<float>& arranged(const ConvState& s, float) { return s.weights; }
const AlignedArray<double>& arranged(const ConvState& s, double) { return s.weights64; }

template <class T>
void add_bias(T* y, int64_t n, T bias) {
  if constexpr (std::is_same_v<T, float>)
    vector_math().add(y, 1, &bias, 0, y, n);
  else
    for (int64_t i = 0; i < n; ++i) y[i] += bias;
}

/// Sums go straight to y, [N, M, pixels].
template <class T>
class OutputSink final : public ProductSink<T> {
 public:
  OutputSink(const ConvShape& shape, T* y, const T* bias, const Epilogue<T>& epilogue)
      : shape_(shape), y_(y), bias_(bias), epilogue_(epilogue) {}
  int64_t buffer_count(int64_t) const override { return 0; }
  T* target(int64_t batch, const GemmRange& range, T*, int64_t* stride) const override {
    *stride = shape_.pixels();
    return y_ + (batch * shape_.group_outputs() + range.m0) * shape_.pixels() + range.n0;
  }
  void finish(int64_t batch, const GemmRange& range, T* sums, int64_t stride) const override {
    for (int64_t m = range.m0; m < range.m1; ++m, sums += stride) {
      if (bias_)
        add_bias(sums, range.n1 - range.n0,
                 bias_[batch % shape_.group * shape_.group_outputs() + m]);
      epilogue_.apply(sums, range.n1 - range.n0,
                      (batch * shape_.group_outputs() + m) * shape_.pixels() + range.n0);
    }
  }

 private:
  const ConvShape& shape_;
  T* y_;
  const T* bias_;
  const Epilogue<T>& epilogue_;
};

Status depthwise(KernelContext& ctx, const GemmIsa& isa, const ConvShape& shape, const float* x,
                 const float* w, const float* bias, const Epilogue<float>& epilogue, float* y) {
  const Window& window = shape.window;
  const int64_t taps = volume(window.kernel);
  const int64_t n = window.out[2];
  const auto offset = [&](int64_t at, int64_t position) { return at * shape.pixels() + position; };
  return for_each_window_row(
      ctx, window, shape.batch * shape.out_channels, shape.group_outputs(), x, 0.0f, 0.0f,
      [&](int64_t at, const float* const* rows, int64_t count, float* out) {
        const int64_t m = at % shape.out_channels;
        isa.depthwise_row(
            {rows, w + m * taps, static_cast<int>(taps), bias ? bias[m] : 0, out, count});
      },
      [&](int64_t at, int64_t position) { return y + offset(at, position); },
      [&](int64_t at, int64_t position, const float* values, float*) {
        float* to = y + offset(at, position);
        if (values != to) std::copy_n(values, n, to);
        epilogue.apply(to, n, offset(at, position));
      });
}

template <class T>
Status compute(KernelContext& ctx, const ConvState& state, const ConvShape& shape,
               std::span<const int64_t> w_dims, const T* x, const T* bias,
               const Epilogue<T>& epilogue, T* y) {
  const T* w = arranged(state, T{}).data();
  AlignedArray<T> temporary;
  if (!w) {
    ONNXTOOL_ASSIGN(const T* wide, float_input<T>(ctx, 1, ctx.input(1).dtype, "weights"));
    temporary = arrange_weights(*state.isa, wide, w_dims, shape.group);
    w = temporary.data();
  }
  if constexpr (std::is_same_v<T, float>)
    if (is_depthwise(shape.group, w_dims))
      return depthwise(ctx, *state.isa, shape, x, w, bias, epilogue, y);
  return conv_gemm<T, T>(ctx, *state.isa, shape, x, T{}, w,
                         OutputSink<T>(shape, y, bias, epilogue));
}

Status run(KernelContext& ctx) {
  const auto& state = static_cast<const ConvState&>(*ctx.state());
  const ConstView& x = ctx.input(0);
  const DataType w_type = state.packed() ? state.weight_type : ctx.input(1).dtype;
  const std::span<const int64_t> w_dims = state.packed() ? state.weight_dims : ctx.input(1).dims;
  if (w_type != x.dtype)
    return mismatch("weights have element type " + std::string(name(w_type)) + ", expected " +
                    std::string(name(x.dtype)));
  ONNXTOOL_ASSIGN(const ConvShape shape,
                  resolve_conv(state.attributes, state.group, x.dims, w_dims));
  if (ctx.has_input(2)) ONNXTOOL_TRY(check_vector(ctx.input(2), "bias", shape.out_channels));
  const Dims dims = shape.window.output_dims(shape.batch, shape.out_channels);
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, x.dtype, dims));
  return dispatch_float(x.dtype, [&]<class T>() -> Status {
    ONNXTOOL_ASSIGN(const T* data, float_input<T>(ctx, 0, x.dtype, "input"));
    ONNXTOOL_ASSIGN(const T* bias, optional_float_input<T>(ctx, 2, x.dtype, "bias"));
    ONNXTOOL_ASSIGN(const Epilogue<T> epilogue, Epilogue<T>::make(ctx, state.own, dims));
    ONNXTOOL_ASSIGN(const FloatOutput<T> out, FloatOutput<T>::make(ctx, y));
    ONNXTOOL_TRY(compute<T>(ctx, state, shape, w_dims, data, bias, epilogue, out.data));
    out.store(ctx);
    return {};
  });
}

constexpr KernelInfo conv_info(
    std::string_view domain, std::string_view op,
    Result<std::unique_ptr<KernelState>> (*prepare_isa)(const NodeView&)) {
  return {.domain = domain,
          .op = op,
          .types = kFloatDataTypes,
          .prepare = prepare_isa,
          .run = run,
          .fuses = epilogue_fuses};
}

}  // namespace

constinit const KernelInfo kConv = conv_info("", "Conv", prepare<gemm_isa>);
constinit const KernelInfo kConvPortable = conv_info("", "Conv", prepare<gemm_isa_portable>);
constinit const KernelInfo kFusedConv = conv_info("com.microsoft", "FusedConv", prepare<gemm_isa>);
constinit const KernelInfo kFusedConvPortable =
    conv_info("com.microsoft", "FusedConv", prepare<gemm_isa_portable>);

}  // namespace onnxtool
