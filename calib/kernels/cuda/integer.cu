// MatMulInteger, QLinearMatMul, ConvInteger, QLinearConv and com.microsoft's MatMulIntegerToFloat
// and DynamicQuantizeMatMul on a device: sums of (a - a_zero_point) * (b - b_zero_point) in int32,
// which wrap; padding counts as the zero point.
//   codes:  y = saturate(round_half_even(sum * (a_scale * b_scale / y_scale)) + y_zero_point)
//   floats: y = sum * (a_scale * b_scale) + bias
// with factors and products in float, as on the host: codes are equal. Parameters stay on the
// device.
//
// Sums are those of tensor cores (integer_product.h); convolutions multiply by what each output
// position sees, for as many images at a time as kMostColumnBytes holds. Groups of few terms,
// matrices that do not lie evenly, and what no tensor core takes have one thread an output.

#include <cmath>

#include "calib/kernels/cpu/cells.h"
#include "calib/kernels/cpu/conv_common.h"
#include "calib/kernels/cpu/int_product_inputs.h"
#include "calib/kernels/cpu/matmul_shape.h"
#include "calib/kernels/cpu/quant_params.h"
#include "calib/kernels/cuda/dynamic_quantize.h"
#include "calib/kernels/cuda/integer_product.h"
#include "calib/kernels/cuda/window.h"

namespace onnxtool {
namespace {

using device::ByteOperand;
using device::Codes;
using device::DeviceWindow;
using device::Divider;
using device::kUnit;
using device::LineParameter;
using device::PackedCodes;
using device::RawSums;

#if defined(__CUDACC__)
constexpr int64_t kMostColumnBytes = int64_t{256} << 20;
#else
constexpr int64_t kMostColumnBytes = 8 << 10;  // tests see images in parts
#endif

// What is done with a sum of product `batch`; a convolution is one product whose rows are alike and
// whose columns are channels.
struct Finish {
  enum class Result : uint8_t { kSums, kCodes, kFloats };
  Result result = Result::kSums;
  LineParameter<float> a_scale, b_scale, y_scale;
  LineParameter<int32_t> y_zero;
  const int32_t* bias = nullptr;  // of columns; or of floats:
  const float* float_bias = nullptr;
  int32_t low = 0, high = 0;
  void* y = nullptr;

  ONNXTOOL_HD void operator()(int64_t i, int64_t batch, int64_t row, int64_t column,
                              uint32_t sum) const {
    if (bias) sum += static_cast<uint32_t>(bias[column]);
    const auto value = static_cast<int32_t>(sum);
    if (result == Result::kSums) {
      static_cast<int32_t*>(y)[i] = value;
      return;
    }
    const float factor = a_scale.at(batch, row) * b_scale.at(batch, column);
    if (result == Result::kFloats) {
      static_cast<float*>(y)[i] =
          static_cast<float>(value) * factor + (float_bias ? float_bias[column] : 0);
      return;
    }
    const int32_t zero = y_zero.at(batch, row);
    const float lowest = static_cast<float>(low - zero), highest = static_cast<float>(high - zero);
    float v = static_cast<float>(value) * (factor / y_scale.at(batch, row));
    v = v > lowest ? v : lowest;
    v = v < highest ? v : highest;
    static_cast<uint8_t*>(y)[i] =
        static_cast<uint8_t>(static_cast<int32_t>(std::nearbyint(v)) + zero);
  }
};

struct ProductElements {
  ByteOperand a, b;
  const int64_t *a_index, *b_index;
  int64_t m, n, k;
  Finish done;
  ONNXTOOL_HD void operator()(int64_t i) const {
    const int64_t batch = i / (m * n), row = i / n % m, column = i % n;
    const int64_t from = (a_index[batch] * m + row) * k, with = b_index[batch] * k * n + column;
    const int32_t za = a.zero(a_index[batch], row), zb = b.zero(b_index[batch], column);
    uint32_t sum = 0;
    for (int64_t j = 0; j < k; ++j)
      sum += static_cast<uint32_t>((a.code(from + j) - za) * (b.code(with + j * n) - zb));
    done(i, batch, row, column, sum);
  }
};

struct ConvElements {
  DeviceWindow w;
  ByteOperand x, weights;
  int64_t channels, out_channels, group_channels, group_outputs;
  Finish done;
  ONNXTOOL_HD void operator()(int64_t i) const {
    const int64_t p = i % w.out_size(), m = i / w.out_size() % out_channels,
                  image = i / w.out_size() / out_channels;
    const int64_t first = image * channels + m / group_outputs * group_channels, taps = w.taps();
    const int32_t zx = x.zero(0, 0), zw = weights.zero(0, m);
    uint32_t sum = 0;
    for (int64_t c = 0; c < group_channels; ++c)
      for (int64_t t = 0; t < taps; ++t)
        if (const int64_t at = w.at(p, t); at >= 0)
          sum += static_cast<uint32_t>((x.code((first + c) * w.in_size() + at) - zx) *
                                       (weights.code((m * group_channels + c) * taps + t) - zw));
    done(i, 0, 0, m, sum);
  }
};

struct FinishProducts {
  RawSums raw;
  Divider n, m;
  Finish done;
  ONNXTOOL_HD void operator()(int64_t i) const {
    int64_t product = i;
    const int64_t column = n.split(product), row = m.split(product);
    done(i, product, row, column, raw.at(product, row, column));
  }
};

// codes [position of all images, tap of all channels] of one group; what is padded has the zero
// point's code, which adds nothing.
struct PackImages {
  DeviceWindow w;
  ByteOperand x;
  Codes* out;
  Divider units, pixels, taps;
  int64_t first, images, channels, group_channels;  // of x: the first channel of the first image
  ONNXTOOL_HD void operator()(int64_t i) const {
    int64_t image = i;
    const int64_t from = units.split(image) * kUnit, p = pixels.split(image);
    const auto nothing = static_cast<int8_t>(x.shifted_zero(0, 0));
    Codes c;
    for (int64_t j = 0; j < kUnit; ++j) {
      int64_t channel = from + j;
      const int64_t tap = taps.split(channel);
      const bool exists = image < images && channel < group_channels;
      const int64_t at = exists ? w.at(p, tap) : -1;
      c.code[j] = !exists  ? int8_t{0}
                  : at < 0 ? nothing
                           : x.shifted((first + image * channels + channel) * w.in_size() + at);
    }
    out[i] = c;
  }
};

// From [channel of the group, image, position] to [image, channel, position].
struct FinishConv {
  RawSums raw;
  Divider pixels, group_outputs;
  int64_t out_channels, first_image, first_channel;
  Finish done;
  ONNXTOOL_HD void operator()(int64_t i) const {
    int64_t image = i;
    const int64_t p = pixels.split(image), row = group_outputs.split(image),
                  channel = first_channel + row;
    const uint32_t sum = raw.at(0, row, image * pixels.by() + p);
    done(((first_image + image) * out_channels + channel) * pixels.by() + p, 0, 0, channel, sum);
  }
};

struct IntegerState final : KernelState {
  IntProductInputs at;
  bool a_is_centered = false, b_is_centered = false;  // constants
  WindowAttributes attributes;                        // of convolutions
};

constexpr bool is_convolution(std::string_view op) {
  return op == "ConvInteger" || op == "QLinearConv";
}
constexpr IntProductInputs inputs_of(std::string_view op) {
  if (op == "ConvInteger") return int_product_inputs("MatMulInteger");
  if (op != "QLinearConv") return int_product_inputs(op);
  IntProductInputs at = int_product_inputs("QLinearMatMul");
  at.bias = 8;
  return at;
}

bool is_centered(const NodeView& node, int zero) {
  const ConstView* c = zero >= 0 && node.has_input(zero) ? node.constant(zero) : nullptr;
  if (!c || !is_8bit(c->dtype)) return false;
  const int32_t middle = c->dtype == DataType::kUint8 ? 128 : 0;
  for (int64_t i = 0; i < c->count; ++i)
    if (int8_at(*c, i) != middle) return false;
  return true;
}

Result<std::unique_ptr<KernelState>> prepare(const NodeView& node) {
  auto state = std::make_unique<IntegerState>();
  const IntProductInputs at = state->at = inputs_of(node.op_type());
  ONNXTOOL_TRY(require_inputs(node, {0, at.b}));
  for (const int i : {at.a_scale, at.b_scale, at.y_scale, at.y_zero})
    if (i >= 0) ONNXTOOL_TRY(require_inputs(node, {i}));
  if (at.y_zero >= 0) ONNXTOOL_TRY(require_inputs(node, {at.a_zero, at.b_zero}));
  state->a_is_centered = is_centered(node, at.a_zero);
  state->b_is_centered = is_centered(node, at.b_zero);
  if (is_convolution(node.op_type())) {
    ONNXTOOL_ASSIGN(state->attributes, window_attributes(node));
  }
  return {std::move(state)};
}

template <class T>
Result<LineParameter<T>> parameter(KernelContext& ctx, int input, int64_t matrices, int64_t lines,
                                   std::string_view what) {
  const ConstView& view = ctx.input(input);
  ONNXTOOL_ASSIGN(const LineParams spread, line_params(view.dims, matrices, lines, what));
  return LineParameter<T>{view.dtype, view.data, spread.offset(1), spread.per_line()};
}
Result<LineParameter<float>> scale(KernelContext& ctx, int input, int64_t matrices, int64_t lines,
                                   std::string_view what) {
  const DataType type = ctx.input(input).dtype;
  if (!is_float(type) || wide_type(type) != DataType::kFloat) return unsupported_type(type, what);
  return parameter<float>(ctx, input, matrices, lines, what);
}

// Input `data` with the zero points of input `zero`, one or one for each line of each matrix.
Result<ByteOperand> operand(KernelContext& ctx, int data, int zero, bool is_centered,
                            int64_t matrices, int64_t lines, std::string_view what) {
  ByteOperand o;
  o.type = ctx.input(data).dtype;
  o.data = ctx.input(data).data;
  if (!is_8bit(o.type)) return unsupported_type(o.type, "an operand");
  o.is_centered = is_centered || (o.type == DataType::kInt8 && !ctx.has_input(zero));
  if (!ctx.has_input(zero)) return o;
  ONNXTOOL_TRY(check_zero_point_type(ctx.input(zero), o.type, what));
  ONNXTOOL_ASSIGN(o.zero_point, parameter<int32_t>(ctx, zero, matrices, lines, what));
  return o;
}

DataType result_type(const KernelContext& ctx, const IntProductInputs& at) {
  if (at.y_zero >= 0) return ctx.input(at.y_zero).dtype;
  return at.b_scale < 0 ? DataType::kInt32 : DataType::kFloat;
}

// What to do with sums of `batches` products [rows, columns]; the output is made by the caller.
Result<Finish> finish_of(KernelContext& ctx, const IntProductInputs& at, int64_t batches,
                         int64_t rows, int64_t columns) {
  Finish f;
  if (at.b_scale < 0) return f;
  f.result = at.y_scale < 0 ? Finish::Result::kFloats : Finish::Result::kCodes;
  if (at.a_scale >= 0) {
    ONNXTOOL_ASSIGN(f.a_scale, scale(ctx, at.a_scale, batches, rows, "a_scale"));
  }
  ONNXTOOL_ASSIGN(f.b_scale, scale(ctx, at.b_scale, batches, columns, "b_scale"));
  if (at.bias >= 0 && ctx.has_input(at.bias)) {
    const ConstView& bias = ctx.input(at.bias);
    const DataType type = at.y_scale < 0 ? DataType::kFloat : DataType::kInt32;
    if (bias.count != columns)
      return mismatch("bias has shape " + format_dims(bias.dims) + ", expected [" +
                      std::to_string(columns) + "]");
    if (bias.dtype != type) return unsupported_type(bias.dtype, "bias");
    if (type == DataType::kFloat)
      f.float_bias = static_cast<const float*>(bias.data);
    else
      f.bias = static_cast<const int32_t*>(bias.data);
  }
  if (at.y_scale < 0) return f;
  ONNXTOOL_ASSIGN(f.y_scale, scale(ctx, at.y_scale, batches, rows, "y_scale"));
  const DataType type = ctx.input(at.y_zero).dtype;
  if (!is_8bit(type)) return unsupported_type(type, "y_zero_point");
  ONNXTOOL_ASSIGN(f.y_zero, parameter<int32_t>(ctx, at.y_zero, batches, rows, "y_zero_point"));
  f.low = lowest_of(type), f.high = highest_of(type);
  return f;
}

// On tensor cores; false: these matrices cannot.
Result<bool> multiply(KernelContext& ctx, const MatMulShape& s, const ByteOperand& a,
                      const ByteOperand& b, const Finish& done) {
  const auto a_step = device::even_step(s.a_index()), b_step = device::even_step(s.b_index());
  if (!a_step || !b_step) return false;
  const int64_t count = s.batches();
  ONNXTOOL_ASSIGN(const PackedCodes left,
                  device::pack_rows(ctx, a, product(s.a_batch), s.m, s.k, !b.is_centered));
  ONNXTOOL_ASSIGN(const PackedCodes right,
                  device::pack_columns(ctx, b, product(s.b_batch), s.n, s.k, !a.is_centered));
  ONNXTOOL_ASSIGN(int32_t * sums, device::raw_sums(ctx, count, s.m, right.rows));
  RawSums raw;
  raw.a = a, raw.b = b, raw.k = s.k;
  ONNXTOOL_ASSIGN(const bool fits,
                  device::multiply_codes(ctx, left, right, count, *a_step, *b_step, sums, raw));
  if (fits)
    device::for_each_index(count * s.m * s.n,
                           FinishProducts{raw, Divider(s.n), Divider(s.m), done});
  return fits;
}

bool one_value(const KernelContext& ctx, std::initializer_list<int> inputs) {
  return std::ranges::all_of(
      inputs, [&](int i) { return i < 0 || !ctx.has_input(i) || ctx.input(i).count == 1; });
}

Status run_product(KernelContext& ctx) {
  const auto& state = static_cast<const IntegerState&>(*ctx.state());
  const IntProductInputs& at = state.at;
  const ConstView& x = ctx.input(0);
  ONNXTOOL_ASSIGN(MatMulShape s, resolve_matmul(x.dims, ctx.input(at.b).dims, false, false));
  const Dims out = s.out;
  // Where no parameter is given per row, all rows are alike.
  s.collapse(one_value(ctx, {at.a_scale, at.a_zero, at.y_scale, at.y_zero}) && x.rank() > 1);
  ONNXTOOL_ASSIGN(const ByteOperand b, operand(ctx, at.b, at.b_zero, state.b_is_centered,
                                               product(s.b_batch), s.n, "b_zero_point"));
  ONNXTOOL_ASSIGN(Finish done, finish_of(ctx, at, s.batches(), s.m, s.n));
  ByteOperand a;
  const bool is_dynamic = at.a_scale < 0 && at.b_scale >= 0;
  if (!is_dynamic) {
    ONNXTOOL_ASSIGN(a, operand(ctx, 0, at.a_zero, state.a_is_centered, product(s.a_batch), s.m,
                               "a_zero_point"));
  }
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, result_type(ctx, at), out));
  if (y.count == 0) return {};
  done.y = y.data;
  if (is_dynamic) {
    ONNXTOOL_ASSIGN(void* codes, ctx.scratch(static_cast<size_t>(x.count)));
    ONNXTOOL_ASSIGN(void* parameters, ctx.scratch(2 * sizeof(float)));
    auto* step = static_cast<float*>(parameters);
    auto* zero = reinterpret_cast<uint8_t*>(step + 1);
    ONNXTOOL_TRY(device::quantize_by_range(ctx, static_cast<const float*>(x.data), x.count, step,
                                           zero, static_cast<uint8_t*>(codes)));
    a.data = codes;
    a.zero_point = {DataType::kUint8, zero, 0, false};
    done.a_scale = {DataType::kFloat, step, 0, false};
  }
  ONNXTOOL_ASSIGN(const bool is_done, multiply(ctx, s, a, b, done));
  if (is_done) return {};
  const Dims a_rows = s.a_index(), b_rows = s.b_index();
  ONNXTOOL_ASSIGN(const int64_t* a_index, shared_values(ctx, a_rows));
  ONNXTOOL_ASSIGN(const int64_t* b_index, shared_values(ctx, b_rows));
  device::for_each_index(y.count, ProductElements{a, b, a_index, b_index, s.m, s.n, s.k, done});
  return {};
}

// On tensor cores; false: they do not take it.
Result<bool> convolve(KernelContext& ctx, const ConvShape& s, const ByteOperand& x,
                      const ByteOperand& weights, const Finish& done) {
  constexpr int64_t kFewTerms = 64;
  if (s.group > 1 && s.depth() <= kFewTerms) return false;
  const int64_t pixels = s.pixels(), rows = s.group_outputs();
  const int64_t image_bytes = pixels * std::max<int64_t>(device::to_units(s.depth()) * kUnit,
                                                         rows * int64_t{sizeof(int32_t)});
  const int64_t most =
      std::clamp<int64_t>(kMostColumnBytes / std::max<int64_t>(image_bytes, 1), 1, s.batch);
  ONNXTOOL_ASSIGN(const PackedCodes all,
                  device::pack_rows(ctx, weights, s.group, rows, s.depth(), !x.is_centered));
  ONNXTOOL_ASSIGN(PackedCodes columns,
                  device::packed_codes(ctx, 1, device::to_units(most * pixels) * kUnit, s.depth(),
                                       !weights.is_centered));
  ONNXTOOL_ASSIGN(int32_t * sums, device::raw_sums(ctx, 1, rows, columns.rows));
  RawSums raw;
  raw.a = weights, raw.b = x, raw.k = s.depth();
  for (int64_t first = 0; first < s.batch; first += most) {
    const int64_t images = std::min(most, s.batch - first);
    columns.rows = device::to_units(images * pixels) * kUnit;
    for (int64_t g = 0; g < s.group; ++g) {
      device::for_each_index(
          columns.rows * columns.units,
          PackImages{DeviceWindow(s.window), x, columns.codes, Divider(columns.units),
                     Divider(pixels), Divider(volume(s.window.kernel)),
                     first * s.channels + g * s.group_channels(), images, s.channels,
                     s.group_channels()});
      device::sum_codes(columns, 1);
      PackedCodes left = all;
      left.codes += g * rows * all.units;
      if (left.sums) left.sums += g * rows;
      if (weights.zero_point.per_line)  // one byte each
        raw.a.zero_point.data = static_cast<const std::byte*>(weights.zero_point.data) + g * rows;
      ONNXTOOL_ASSIGN(const bool fits,
                      device::multiply_codes(ctx, left, columns, 1, 0, 0, sums, raw));
      if (!fits) return false;
      device::for_each_index(
          images * rows * pixels,
          FinishConv{raw, Divider(pixels), Divider(rows), s.out_channels, first, g * rows, done});
    }
  }
  return true;
}

// Parameters of x and y are one value.
Status check_one_value(const KernelContext& ctx, const IntProductInputs& at) {
  for (const int i : {at.a_zero, at.a_scale, at.y_scale, at.y_zero})
    if (i >= 0 && ctx.has_input(i) && ctx.input(i).count != 1)
      return mismatch("input " + std::to_string(i) + " has shape " +
                      format_dims(ctx.input(i).dims) + ", expected one element");
  return {};
}

Status run_conv(KernelContext& ctx) {
  const auto& state = static_cast<const IntegerState&>(*ctx.state());
  const IntProductInputs& at = state.at;
  const ConstView& x = ctx.input(0);
  ONNXTOOL_ASSIGN(const ConvShape s, resolve_conv(state.attributes, ctx.node().attr_int("group", 1),
                                                  x.dims, ctx.input(at.b).dims));
  ONNXTOOL_TRY(check_one_value(ctx, at));
  ONNXTOOL_ASSIGN(const ByteOperand image,
                  operand(ctx, 0, at.a_zero, state.a_is_centered, 1, 1, "x_zero_point"));
  ONNXTOOL_ASSIGN(const ByteOperand weights, operand(ctx, at.b, at.b_zero, state.b_is_centered, 1,
                                                     s.out_channels, "w_zero_point"));
  ONNXTOOL_ASSIGN(Finish done, finish_of(ctx, at, 1, 1, s.out_channels));
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, result_type(ctx, at),
                                                  s.window.output_dims(s.batch, s.out_channels)));
  if (y.count == 0) return {};
  done.y = y.data;
  ONNXTOOL_ASSIGN(const bool is_done, convolve(ctx, s, image, weights, done));
  if (is_done) return {};
  device::for_each_index(
      y.count, ConvElements{DeviceWindow(s.window), image, weights, s.channels, s.out_channels,
                            s.group_channels(), s.group_outputs(), done});
  return {};
}

constexpr std::initializer_list<DataType> kCodes = {DataType::kUint8, DataType::kInt8};
constexpr std::initializer_list<DataType> kFloats = {DataType::kFloat};

constexpr KernelInfo standard(std::string_view op) {
  return {.op = op,
          .since = 10,
          .types = kCodes,
          .prepare = prepare,
          .run = is_convolution(op) ? run_conv : run_product};
}
constexpr KernelInfo microsoft(std::string_view op, std::initializer_list<DataType> types) {
  return {
      .domain = "com.microsoft", .op = op, .types = types, .prepare = prepare, .run = run_product};
}

}  // namespace

constinit const KernelInfo kMatMulInteger = standard("MatMulInteger");
constinit const KernelInfo kQLinearMatMul = standard("QLinearMatMul");
constinit const KernelInfo kConvInteger = standard("ConvInteger");
constinit const KernelInfo kQLinearConv = standard("QLinearConv");
constinit const KernelInfo kMatMulIntegerToFloat = microsoft("MatMulIntegerToFloat", kCodes);
constinit const KernelInfo kDynamicQuantizeMatMul = microsoft("DynamicQuantizeMatMul", kFloats);

}  // namespace onnxtool
