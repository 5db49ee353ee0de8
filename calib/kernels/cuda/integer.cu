// MatMulInteger, QLinearMatMul, ConvInteger and QLinearConv on a device, one thread an output: sums
// of (a - a_zero_point) * (b - b_zero_point) in int32, which wrap; padding counts as the zero point.
//   y = saturate(round_half_even(sum * (a_scale * b_scale / y_scale)) + y_zero_point)
// with the factor and the product in float, as on the host: codes are equal. Parameters are looked
// at on the host. What is given for each row of a product stays there.

#include <cmath>

#include "calib/kernels/cpu/conv_common.h"
#include "calib/kernels/cpu/matmul_shape.h"
#include "calib/kernels/cpu/quant_params.h"
#include "calib/kernels/cuda/window.h"

namespace onnxtool {
namespace {

using device::DeviceWindow;

// Indices of inputs; -1: the operator has none.
struct Inputs {
  int b, a_zero, b_zero, a_scale, b_scale, y_scale, y_zero, bias;
};
constexpr Inputs kInteger{1, 2, 3, -1, -1, -1, -1, -1};
constexpr Inputs kQLinear{3, 2, 5, 1, 4, 6, 7, 8};

// What is done with a sum; `line` is the column of a product or the channel of a convolution.
struct Finish {
  const float* factors = nullptr;  // nullptr: the sum is the result
  const int32_t* bias = nullptr;
  bool per_line = false;
  int32_t zero_point = 0, low = 0, high = 0;
  void* y = nullptr;

  ONNXTOOL_HD void operator()(int64_t i, int64_t line, uint32_t sum) const {
    if (!factors) {
      static_cast<int32_t*>(y)[i] = static_cast<int32_t>(sum);
      return;
    }
    if (bias) sum += static_cast<uint32_t>(bias[line]);
    const float lowest = static_cast<float>(low - zero_point),
                highest = static_cast<float>(high - zero_point);
    float v = static_cast<float>(static_cast<int32_t>(sum)) * factors[per_line ? line : 0];
    v = v > lowest ? v : lowest;
    v = v < highest ? v : highest;
    static_cast<uint8_t*>(y)[i] =
        static_cast<uint8_t>(static_cast<int32_t>(std::nearbyint(v)) + zero_point);
  }
};

// An 8-bit operand less its zero point, which may be one for each line.
struct Operand {
  DataType type = DataType::kUint8;
  const void* data = nullptr;
  const int32_t* zero_points = nullptr;  // nullptr: 0
  bool per_line = false;
  ONNXTOOL_HD int32_t at(int64_t i, int64_t line) const {
    const int32_t zero = zero_points ? zero_points[per_line ? line : 0] : 0;
    return device::load<int32_t>(type, data, i) - zero;
  }
};

struct ProductElements {
  Operand a, b;
  const int64_t *a_index, *b_index;
  int64_t m, n, k;
  Finish done;
  ONNXTOOL_HD void operator()(int64_t i) const {
    const int64_t batch = i / (m * n), row = i / n % m, column = i % n;
    const int64_t from = (a_index[batch] * m + row) * k, with = b_index[batch] * k * n + column;
    uint32_t sum = 0;
    for (int64_t j = 0; j < k; ++j)
      sum += static_cast<uint32_t>(a.at(from + j, 0) * b.at(with + j * n, column));
    done(i, column, sum);
  }
};

struct ConvElements {
  DeviceWindow w;
  Operand x, weights;
  int64_t channels, out_channels, group_channels, group_outputs;
  Finish done;
  ONNXTOOL_HD void operator()(int64_t i) const {
    const int64_t p = i % w.out_size(), m = i / w.out_size() % out_channels,
                  image = i / w.out_size() / out_channels;
    const int64_t first = image * channels + m / group_outputs * group_channels, taps = w.taps();
    uint32_t sum = 0;
    for (int64_t c = 0; c < group_channels; ++c)
      for (int64_t t = 0; t < taps; ++t)
        if (const int64_t at = w.at(p, t); at >= 0)
          sum += static_cast<uint32_t>(x.at((first + c) * w.in_size() + at, 0) *
                                       weights.at((m * group_channels + c) * taps + t, m));
    done(i, m, sum);
  }
};

template <class T>
Result<const T*> on_device(KernelContext& ctx, const std::vector<T>& values) {
  const size_t size = values.size() * sizeof(T);
  ONNXTOOL_ASSIGN(void* to, ctx.scratch(size));
  device::upload(to, values.data(), size);
  return static_cast<const T*>(to);
}

// Input `data` with the zero points of input `zero`: one, or where allowed one for each of `lines`.
Result<Operand> operand(KernelContext& ctx, int data, int zero, int64_t lines,
                        std::string_view what) {
  Operand o;
  o.type = ctx.input(data).dtype;
  o.data = ctx.input(data).data;
  if (!is_8bit(o.type)) return unsupported_type(o.type, "an operand");
  if (!ctx.has_input(zero)) return o;
  const ConstView& view = ctx.input(zero);
  ONNXTOOL_TRY(check_zero_point_type(view, o.type, what));
  if (view.count != 1 && view.count != lines)
    return mismatch(std::string(what) + " has shape " + format_dims(view.dims) +
                    ", expected one element or [" + std::to_string(lines) + "]");
  std::vector<int32_t> values(static_cast<size_t>(view.count));
  for (size_t i = 0; i < values.size(); ++i) values[i] = int8_at(view, static_cast<int64_t>(i));
  o.per_line = view.count > 1;
  ONNXTOOL_ASSIGN(o.zero_points, on_device(ctx, values));
  return o;
}

// The type of the result, and what to do with sums; the output is made by the caller.
Result<Finish> finish_of(KernelContext& ctx, const Inputs& in, int64_t lines) {
  Finish f;
  if (in.y_scale < 0) return f;
  ONNXTOOL_ASSIGN(const float a_scale, scale_scalar(ctx.input(in.a_scale), "the left scale"));
  ONNXTOOL_ASSIGN(std::vector<float> factors, scale_values(ctx.input(in.b_scale), "a scale"));
  ONNXTOOL_ASSIGN(const float y_scale, scale_scalar(ctx.input(in.y_scale), "y_scale"));
  if (factors.size() != 1 && factors.size() != static_cast<size_t>(lines))
    return mismatch("there are " + std::to_string(factors.size()) + " scales, expected 1 or " +
                    std::to_string(lines));
  for (float& v : factors) v = a_scale * v / y_scale;
  const DataType type = ctx.input(in.y_zero).dtype;
  if (!is_8bit(type)) return unsupported_type(type, "y_zero_point");
  ONNXTOOL_ASSIGN(f.zero_point, zero_point_scalar(ctx.input(in.y_zero), type, "y_zero_point"));
  f.low = lowest_of(type), f.high = highest_of(type);
  f.per_line = factors.size() > 1;
  ONNXTOOL_ASSIGN(f.factors, on_device(ctx, factors));
  return f;
}

DataType result_type(const KernelContext& ctx, const Inputs& in) {
  return in.y_zero < 0 ? DataType::kInt32 : ctx.input(in.y_zero).dtype;
}

template <const Inputs& in>
Status run_product(KernelContext& ctx) {
  ONNXTOOL_ASSIGN(MatMulShape s,
                  resolve_matmul(ctx.input(0).dims, ctx.input(in.b).dims, false, false));
  ONNXTOOL_ASSIGN(const Operand a, operand(ctx, 0, in.a_zero, 1, "a_zero_point"));
  ONNXTOOL_ASSIGN(const Operand b, operand(ctx, in.b, in.b_zero, s.n, "b_zero_point"));
  ONNXTOOL_ASSIGN(Finish done, finish_of(ctx, in, s.n));
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, result_type(ctx, in), s.out));
  if (y.count == 0) return {};
  done.y = y.data;
  ONNXTOOL_ASSIGN(const int64_t* a_index, on_device(ctx, s.a_index()));
  ONNXTOOL_ASSIGN(const int64_t* b_index, on_device(ctx, s.b_index()));
  device::for_each_index(y.count, ProductElements{a, b, a_index, b_index, s.m, s.n, s.k, done});
  return {};
}

struct ConvState final : KernelState {
  WindowAttributes attributes;
};

template <const Inputs& in>
Status run_conv(KernelContext& ctx) {
  const auto& state = static_cast<const ConvState&>(*ctx.state());
  const ConstView& x = ctx.input(0);
  ONNXTOOL_ASSIGN(const ConvShape s,
                  resolve_conv(state.attributes, ctx.node().attr_int("group", 1), x.dims,
                               ctx.input(in.b).dims));
  ONNXTOOL_ASSIGN(const Operand image, operand(ctx, 0, in.a_zero, 1, "x_zero_point"));
  ONNXTOOL_ASSIGN(const Operand weights,
                  operand(ctx, in.b, in.b_zero, s.out_channels, "w_zero_point"));
  ONNXTOOL_ASSIGN(Finish done, finish_of(ctx, in, s.out_channels));
  if (in.bias >= 0 && ctx.has_input(in.bias)) {
    ONNXTOOL_TRY(check_vector(ctx.input(in.bias), "bias", s.out_channels));
    if (ctx.input(in.bias).dtype != DataType::kInt32)
      return unsupported_type(ctx.input(in.bias).dtype, "bias");
    done.bias = static_cast<const int32_t*>(ctx.input(in.bias).data);
  }
  ONNXTOOL_ASSIGN(const MutableView y,
                  ctx.output(0, result_type(ctx, in),
                             s.window.output_dims(s.batch, s.out_channels)));
  done.y = y.data;
  device::for_each_index(
      y.count, ConvElements{DeviceWindow(s.window), image, weights, s.channels, s.out_channels,
                            s.group_channels(), s.group_outputs(), done});
  return {};
}

Result<std::unique_ptr<KernelState>> prepare_conv(const NodeView& node) {
  auto state = std::make_unique<ConvState>();
  ONNXTOOL_ASSIGN(state->attributes, window_attributes(node));
  return {std::move(state)};
}

InputUse use_of(const Inputs& in, int input) {
  return input == 0 || input == in.b || input == in.bias ? InputUse::kData : InputUse::kHost;
}
template <const Inputs& in>
InputUse use(const NodeView&, int input) {
  return use_of(in, input);
}

// At most one axis of parameters, whose extent is not 1.
bool one_value(const NodeView& node, int i) {
  if (i < 0 || !node.has_input(i)) return true;
  const ConstView* c = node.constant(i);
  return c && c->count == 1;
}
// Of b's parameters a constant of rank 0 or 1.
bool one_line(const NodeView& node, int i) {
  if (i < 0 || !node.has_input(i)) return true;
  const ConstView* c = node.constant(i);
  return c && c->rank() <= 1;
}
template <const Inputs& in>
bool accepts(const NodeView& node) {
  for (const int i : {in.a_zero, in.a_scale, in.y_scale, in.y_zero})
    if (!one_value(node, i)) return false;
  if (in.y_zero >= 0)
    for (int i = 0; i <= in.y_zero; ++i)
      if (!node.has_input(i)) return false;
  return node.has_input(0) && node.has_input(in.b) && one_line(node, in.b_zero) &&
         one_line(node, in.b_scale);
}

constexpr std::initializer_list<DataType> kTypes = {DataType::kUint8, DataType::kInt8};

}  // namespace

constinit const KernelInfo kMatMulInteger{.op = "MatMulInteger",
                                          .since = 10,
                                          .types = kTypes,
                                          .run = run_product<kInteger>,
                                          .accepts = accepts<kInteger>,
                                          .use = use<kInteger>};
constinit const KernelInfo kQLinearMatMul{.op = "QLinearMatMul",
                                          .since = 10,
                                          .types = kTypes,
                                          .run = run_product<kQLinear>,
                                          .accepts = accepts<kQLinear>,
                                          .use = use<kQLinear>};
constinit const KernelInfo kConvInteger{.op = "ConvInteger",
                                        .since = 10,
                                        .types = kTypes,
                                        .prepare = prepare_conv,
                                        .run = run_conv<kInteger>,
                                        .accepts = accepts<kInteger>,
                                        .use = use<kInteger>};
constinit const KernelInfo kQLinearConv{.op = "QLinearConv",
                                        .since = 10,
                                        .types = kTypes,
                                        .prepare = prepare_conv,
                                        .run = run_conv<kQLinear>,
                                        .accepts = accepts<kQLinear>,
                                        .use = use<kQLinear>};

}  // namespace onnxtool
