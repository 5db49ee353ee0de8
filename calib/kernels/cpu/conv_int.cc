// ConvInteger-10 and QLinearConv-10: sums of (x - x_zero_point) * (w - w_zero_point) in int32,
// which wrap; padding counts as x_zero_point. QLinearConv adds its int32 bias and stores
//   y = saturate(round_half_even(sum * (x_scale * w_scale[m] / y_scale)) + y_zero_point)
// with the factor and the product in float.

#include "calib/kernels/cpu/conv_common.h"
#include "calib/kernels/cpu/quant_params.h"
#include "calib/kernels/cpu/saturation.h"
#include "libopt/target/pair_sums.h"

namespace onnxtool {
namespace {

/// Indices of the inputs; -1: the operator has none.
struct Inputs {
  int x_zero_point, w, w_zero_point;
};
constexpr Inputs kConvIntegerInputs{2, 1, 3};
constexpr Inputs kQLinearConvInputs{2, 3, 5};

/// Depthwise windows up to this size are summed exactly in float: 255 * 255 * 256 < 2^24.
constexpr int64_t kExactTaps = 256;

/// Weights less their zero points, in the order that the loops read them.
struct IntWeights {
  AlignedArray<int16_t> packed;
  AlignedArray<float> lines;  // depthwise: [M, taps]
  explicit operator bool() const { return packed || lines; }
};

struct ConvIntState final : KernelState {
  const GemmIsa* isa;
  WindowAttributes attributes;
  int64_t group = 1;
  Pairs pairs = Pairs::kExact;
  Inputs at;
  // Arranged weights with their shape and type, when they and their zero points are constant.
  IntWeights weights;
  Dims weight_dims;
  DataType weight_type = DataType::kUndefined;
};

Result<IntWeights> arrange(const GemmIsa& isa, const ConstView& w, const ConstView* zero_points,
                           int64_t group, Pairs pairs) {
  const int64_t outputs = w.dims[0] / group, depth = product(w.dims, 1, w.dims.size());
  if (!is_8bit(w.dtype)) return unsupported_type(w.dtype, "weights");
  if (zero_points) {
    ONNXTOOL_TRY(check_zero_point_type(*zero_points, w.dtype, "w_zero_point"));
    if (zero_points->count != 1 && (zero_points->rank() != 1 || zero_points->count != w.dims[0]))
      return mismatch("w_zero_point has shape " + format_dims(zero_points->dims) +
                      ", expected one element or [" + std::to_string(w.dims[0]) + "]");
  }
  const bool per_channel = zero_points && zero_points->count > 1;
  IntWeights weights;
  const bool by_lines = pairs == Pairs::kExact || is_summed_depthwise(w.dims[1], outputs);
  if (is_depthwise(group, w.dims) && depth <= kExactTaps && by_lines) {
    weights.lines = AlignedArray<float>(w.count);
    for (int64_t i = 0; i < w.count; ++i)
      weights.lines.data()[i] = static_cast<float>(
          int8_at(w, i) - (zero_points ? int8_at(*zero_points, per_channel ? i / depth : 0) : 0));
    return weights;
  }
  const int mr = isa.mr_int;
  const int64_t size = packed_count<int16_t>(outputs, depth, mr);
  weights.packed = AlignedArray<int16_t>(size * group);
  for (int64_t g = 0; g < group; ++g) {
    const void* zero = !zero_points ? nullptr
                                    : static_cast<const std::byte*>(zero_points->data) +
                                          (per_channel ? g * outputs : 0);
    pack_panels<int16_t>(IntPanels({w.data, w.dtype == DataType::kInt8, zero, per_channel},
                                   g * outputs * depth, 1, depth),
                         outputs, depth, mr, 0, ceil_div(outputs, mr),
                         weights.packed.data() + g * size);
  }
  return weights;
}

template <Pairs kPairs = Pairs::kExact>
Result<std::unique_ptr<KernelState>> prepare(const NodeView& node) {
  auto state = std::make_unique<ConvIntState>();
  state->isa = &gemm_isa();  // exact: every level gives the same bits
  ONNXTOOL_ASSIGN(state->attributes, window_attributes(node));
  state->pairs = kPairs;
  state->group = node.attr_int("group", 1);
  const bool integer = node.op_type() == "ConvInteger";
  state->at = integer ? kConvIntegerInputs : kQLinearConvInputs;
  if (integer)
    ONNXTOOL_TRY(require_inputs(node, {0, 1}));
  else
    ONNXTOOL_TRY(require_inputs(node, {0, 1, 2, 3, 4, 5, 6, 7}));
  const ConstView* w = node.constant(state->at.w);
  const ConstView* zero = node.constant(state->at.w_zero_point);
  if (!w || (!zero && node.has_input(state->at.w_zero_point))) return {std::move(state)};
  // What does not fit is reported when the input's shape is known too.
  if (w->rank() < 3 || state->group < 1 || w->dims[0] % state->group != 0)
    return {std::move(state)};
  ONNXTOOL_ASSIGN(state->weights, arrange(*state->isa, *w, zero, state->group, kPairs));
  state->weight_dims = to_dims(w->dims);
  state->weight_type = w->dtype;
  if (kPairs == Pairs::kExact) node.drop_constant(state->at.w);
  return {std::move(state)};
}

/// Finished int32 sums of a stretch of output pixels of channel m of image n.
class SumsConsumer {
 public:
  virtual ~SumsConsumer() = default;
  /// sums may be overwritten. offset: of the first one in the output.
  virtual void take(int64_t m, int32_t* sums, int64_t n, int64_t offset) const = 0;
  /// Where the sums of the output from `offset` on should be made; nullptr: anywhere.
  virtual int32_t* place(int64_t offset) const = 0;
};

class ConvIntSink final : public ProductSink<int16_t> {
 public:
  ConvIntSink(const ConvShape& shape, const SumsConsumer& consumer)
      : shape_(shape), consumer_(consumer) {}
  int64_t buffer_count(int64_t count) const override { return consumer_.place(0) ? 0 : count; }
  int32_t* target(int64_t batch, const GemmRange& range, int32_t* buffer,
                  int64_t* stride) const override {
    int32_t* place = consumer_.place(offset(batch, range.m0, range.n0));
    *stride = place ? shape_.pixels() : range.n1 - range.n0;
    return place ? place : buffer;
  }
  void finish(int64_t batch, const GemmRange& range, int32_t* sums, int64_t stride) const override {
    const int64_t first = batch % shape_.group * shape_.group_outputs();
    for (int64_t m = range.m0; m < range.m1; ++m, sums += stride)
      consumer_.take(first + m, sums, range.n1 - range.n0, offset(batch, m, range.n0));
  }

 private:
  int64_t offset(int64_t batch, int64_t m, int64_t pixel) const {
    return (batch * shape_.group_outputs() + m) * shape_.pixels() + pixel;
  }
  const ConvShape& shape_;
  const SumsConsumer& consumer_;
};

/// ConvInteger: the sums are the output.
class KeepSums final : public SumsConsumer {
 public:
  explicit KeepSums(int32_t* y) : y_(y) {}
  void take(int64_t, int32_t* sums, int64_t n, int64_t offset) const override {
    if (sums != y_ + offset) std::copy_n(sums, n, y_ + offset);
  }
  int32_t* place(int64_t offset) const override { return y_ + offset; }

 private:
  int32_t* y_;
};

/// QLinearConv: the sums become 8 bits.
class Requantize final : public SumsConsumer {
 public:
  Requantize(const GemmIsa& isa, std::vector<float> multipliers, const int32_t* bias,
             int32_t zero_point, DataType type, uint8_t* y)
      : isa_(isa),
        multipliers_(std::move(multipliers)),
        bias_(bias),
        zero_point_(zero_point),
        type_(type),
        y_(y) {}
  void take(int64_t m, int32_t* sums, int64_t n, int64_t offset) const override {
    isa_.requantize_row({sums, bias_ ? bias_[m] : 0,
                         &multipliers_[multipliers_.size() == 1 ? 0 : static_cast<size_t>(m)], 0,
                         zero_point_, lowest_of(type_), highest_of(type_), y_ + offset, n});
  }
  int32_t* place(int64_t) const override { return nullptr; }

 private:
  const GemmIsa& isa_;
  std::vector<float> multipliers_;
  const int32_t* bias_;
  int32_t zero_point_;
  DataType type_;
  uint8_t* y_;
};

/// Weights and windows in the order of PairOrder: the channels of one tap after those of another.
template <class From>
PairOperands pair_operands(const ConvShape& shape, const From* x, From zero, const int8_t* w) {
  const int64_t taps = volume(shape.window.kernel), channels = shape.group_channels();
  constexpr uint8_t kFlip = std::is_signed_v<From> ? 0x80 : 0;
  PairOperands operands;
  operands.weights_are_rows = true;
  operands.depth = taps * channels;
  operands.rows = [=, &shape](int64_t batch, int64_t m, uint8_t* codes) {
    const int8_t* own = w + (batch % shape.group * shape.group_outputs() + m) * taps * channels;
    for (int64_t t = 0; t < taps; ++t)
      for (int64_t c = 0; c < channels; ++c)
        codes[t * channels + c] = static_cast<uint8_t>(own[c * taps + t]);
  };
  operands.columns = [=, &shape](int64_t batch, int64_t pixel, uint8_t* codes) {
    const Window& v = shape.window;
    const int64_t plane = volume(v.in);
    const From* image = x + batch * channels * plane;
    const Spatial at{pixel / (v.out[1] * v.out[2]), pixel / v.out[2] % v.out[1], pixel % v.out[2]};
    int64_t t = 0;
    for (int64_t i = 0; i < v.kernel[0]; ++i)
      for (int64_t j = 0; j < v.kernel[1]; ++j)
        for (int64_t k = 0; k < v.kernel[2]; ++k, ++t) {
          const int64_t tap[] = {i, j, k};
          int64_t offset = 0;
          bool inside = true;
          for (size_t axis = 0; axis < 3; ++axis) {
            const int64_t p =
                at[axis] * v.stride[axis] + tap[axis] * v.dilation[axis] - v.pad_begin[axis];
            inside = inside && p >= 0 && p < v.in[axis];
            offset = offset * v.in[axis] + p;
          }
          for (int64_t c = 0; c < channels; ++c)
            codes[t * channels + c] =
                static_cast<uint8_t>(inside ? image[c * plane + offset] : zero) ^ kFlip;
        }
  };
  return operands;
}

template <class From>
Status convolve(KernelContext& ctx, const GemmIsa& isa, const ConvShape& shape,
                const IntWeights& weights, const From* x, From zero, const SumsConsumer& consumer) {
  if (!weights.lines) {
    const auto& state = static_cast<const ConvIntState&>(*ctx.state());
    const ConvIntSink sink(shape, consumer);
    const auto multiply = [&](const ProductSink<int16_t>& to) {
      return conv_gemm<int16_t, From>(ctx, isa, shape, x, zero, weights.packed.data(), to);
    };
    if (state.pairs == Pairs::kExact || ctx.input(state.at.w).dtype != DataType::kInt8 ||
        is_summed_depthwise(shape.group_channels(), shape.group_outputs()))
      return multiply(sink);
    const auto* w = static_cast<const int8_t*>(ctx.input(state.at.w).data);
    return multiply(SaturatingSink(sink, pair_operands(shape, x, zero, w)));
  }
  const Window& w = shape.window;
  const int64_t taps = volume(w.kernel);
  return for_each_window_row(
      ctx, w, shape.batch * shape.out_channels, shape.group_outputs(), x, zero, 0.0f,
      [&](int64_t at, const float* const* rows, int64_t n, float* out) {
        const int64_t m = at % shape.out_channels;
        isa.depthwise_row(
            {rows, weights.lines.data() + m * taps, static_cast<int>(taps), 0, out, n});
      },
      [](int64_t, int64_t) -> float* { return nullptr; },
      [&](int64_t at, int64_t position, const float* values, float* work) {
        auto* sums = reinterpret_cast<int32_t*>(work);
        for (int64_t i = 0; i < w.out[2]; ++i) sums[i] = static_cast<int32_t>(values[i]);
        consumer.take(at % shape.out_channels, sums, w.out[2], at * shape.pixels() + position);
      });
}

/// What both operators do up to the output.
struct Prepared {
  ConvShape shape;
  const IntWeights* weights = nullptr;
  IntWeights temporary;
  int32_t x_zero_point = 0;
};
Status prepare_run(KernelContext& ctx, Prepared& p) {
  const auto& state = static_cast<const ConvIntState&>(*ctx.state());
  const ConstView& x = ctx.input(0);
  const std::span<const int64_t> w_dims =
      state.weights ? std::span<const int64_t>(state.weight_dims) : ctx.input(state.at.w).dims;
  ONNXTOOL_ASSIGN(p.shape, resolve_conv(state.attributes, state.group, x.dims, w_dims));
  if (ctx.has_input(state.at.x_zero_point)) {
    ONNXTOOL_ASSIGN(p.x_zero_point,
                    zero_point_scalar(ctx.input(state.at.x_zero_point), x.dtype, "x_zero_point"));
  }
  p.weights = &state.weights;
  if (state.weights) return {};
  const ConstView* zero =
      ctx.has_input(state.at.w_zero_point) ? &ctx.input(state.at.w_zero_point) : nullptr;
  ONNXTOOL_ASSIGN(p.temporary,
                  arrange(*state.isa, ctx.input(state.at.w), zero, state.group, state.pairs));
  p.weights = &p.temporary;
  return {};
}

Status compute(KernelContext& ctx, const Prepared& p, const SumsConsumer& consumer) {
  const GemmIsa& isa = *static_cast<const ConvIntState&>(*ctx.state()).isa;
  const ConstView& x = ctx.input(0);
  if (x.dtype == DataType::kInt8)
    return convolve<int8_t>(ctx, isa, p.shape, *p.weights, static_cast<const int8_t*>(x.data),
                            static_cast<int8_t>(p.x_zero_point), consumer);
  return convolve<uint8_t>(ctx, isa, p.shape, *p.weights, static_cast<const uint8_t*>(x.data),
                           static_cast<uint8_t>(p.x_zero_point), consumer);
}

Status run_integer(KernelContext& ctx) {
  Prepared p;
  ONNXTOOL_TRY(prepare_run(ctx, p));
  ONNXTOOL_ASSIGN(const MutableView y,
                  ctx.output(0, DataType::kInt32,
                             p.shape.window.output_dims(p.shape.batch, p.shape.out_channels)));
  return compute(ctx, p, KeepSums(static_cast<int32_t*>(y.data)));
}

Status run_qlinear(KernelContext& ctx) {
  Prepared p;
  ONNXTOOL_TRY(prepare_run(ctx, p));
  const auto& state = static_cast<const ConvIntState&>(*ctx.state());
  ONNXTOOL_ASSIGN(const float x_scale, scale_scalar(ctx.input(1), "x_scale"));
  ONNXTOOL_ASSIGN(std::vector<float> multipliers, scale_values(ctx.input(4), "w_scale"));
  ONNXTOOL_ASSIGN(const float y_scale, scale_scalar(ctx.input(6), "y_scale"));
  const int64_t outputs = p.shape.out_channels;
  if (multipliers.size() != 1 && multipliers.size() != static_cast<size_t>(outputs))
    return mismatch("w_scale has " + std::to_string(multipliers.size()) +
                    " elements, expected 1 or " + std::to_string(outputs));
  for (float& m : multipliers) m = x_scale * m / y_scale;
  const DataType type = ctx.input(7).dtype;
  if (!is_8bit(type)) return unsupported_type(type, "y_zero_point");
  ONNXTOOL_ASSIGN(const int32_t y_zero_point,
                  zero_point_scalar(ctx.input(7), type, "y_zero_point"));
  const int32_t* bias = nullptr;
  if (ctx.has_input(8)) {
    ONNXTOOL_TRY(check_vector(ctx.input(8), "bias", outputs));
    if (ctx.input(8).dtype != DataType::kInt32) return unsupported_type(ctx.input(8).dtype, "bias");
    bias = static_cast<const int32_t*>(ctx.input(8).data);
  }
  ONNXTOOL_ASSIGN(const MutableView y,
                  ctx.output(0, type, p.shape.window.output_dims(p.shape.batch, outputs)));
  return compute(ctx, p,
                 Requantize(*state.isa, std::move(multipliers), bias, y_zero_point, type,
                            static_cast<uint8_t*>(y.data)));
}

constexpr std::initializer_list<DataType> kTypes = {DataType::kUint8, DataType::kInt8};

}  // namespace

constinit const KernelInfo kConvInteger{
    .op = "ConvInteger", .since = 10, .types = kTypes, .prepare = prepare<>, .run = run_integer};
constinit const KernelInfo kQLinearConv{
    .op = "QLinearConv", .since = 10, .types = kTypes, .prepare = prepare<>, .run = run_qlinear};
constinit const KernelInfo kQLinearConvNoVnni{.op = "QLinearConv",
                                              .since = 10,
                                              .types = kTypes,
                                              .prepare = prepare<Pairs::kSaturating>,
                                              .run = run_qlinear};

}  // namespace onnxtool
