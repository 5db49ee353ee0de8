// com.microsoft's 8-bit elementwise operators, version 1: each takes values v = scale * (code -
// zero_point), computes in float and stores saturate(round_half_even(v / scale) + zero_point); sums
// and products round as onnxruntime does, which adds the zero point first.
//   QLinearAdd, QLinearMul (a, a_scale, a_zero_point, b, b_scale, b_zero_point,
//                           y_scale, y_zero_point?)
//   QLinearSigmoid, QLinearLeakyRelu (x, x_scale, x_zero_point?, y_scale, y_zero_point?)
//   QLinearConcat (y_scale, y_zero_point, x1, x1_scale, x1_zero_point, ...)

#include <cmath>
#include <cstring>

#include "calib/kernels/cpu/cells.h"
#include "calib/kernels/cpu/elementwise.h"
#include "calib/kernels/cpu/quant_params.h"
#include "calib/kernels/cpu/vector_math.h"
#include "calib/kernels/cpu/walk.h"

namespace onnxtool {
namespace {

using Table = std::array<uint8_t, 256>;

/// What each input byte becomes.
template <class F>
Table table_of(const Quantization& x, const Quantization& y, F&& f) {
  Table table{};
  const std::array<float, 256> values = x.values();
  for (size_t i = 0; i < table.size(); ++i) table[i] = y.code(f(values[i]));
  return table;
}

struct BinaryQuantization {
  Quantization a, b, y;
};

// Scales are often such that products tie: y = round_half_even(ratio * product + zero_point), each
// step rounded to float, falls as in onnxruntime. The products of differences are exact.
struct MultiplyCodes {
  BinaryQuantization q;
  float ratio;
  explicit MultiplyCodes(const BinaryQuantization& of)
      : q(of), ratio(of.a.scale * of.b.scale / of.y.scale) {}
  ONNXTOOL_HD int32_t operator()(int32_t a, int32_t b) const {
    const auto product = static_cast<float>((a - q.a.zero_point) * (b - q.b.zero_point));
    const float scaled = rounded_product(product, ratio);
    const Quantization steps{1, 0, q.y.type};
    return steps.code(scaled + static_cast<float>(q.y.zero_point));
  }
};

// Sums nearly tie often, as scales of both sides are alike: ratios, their order and single
// roundings are onnxruntime's, so that ties fall as they do there.
struct AddCodes {
  CodeSum sum;
  DataType type;
  explicit AddCodes(const BinaryQuantization& q)
      : sum{.a_ratio = q.a.scale / q.y.scale,
            .b_ratio = q.b.scale / q.y.scale,
            .offset = 0,
            .low = lowest_of(q.y.type),
            .high = highest_of(q.y.type)},
        type(q.y.type) {
    const auto zero = [](const Quantization& x) { return static_cast<float>(x.zero_point); };
    sum.offset = zero(q.y) - std::fma(sum.a_ratio, zero(q.a), sum.b_ratio * zero(q.b));
  }
  ONNXTOOL_HD int32_t operator()(int32_t a, int32_t b) const {
    float v = std::fma(static_cast<float>(b), sum.b_ratio, sum.offset);
    v = std::fma(static_cast<float>(a), sum.a_ratio, v);
    const auto low = static_cast<float>(sum.low), high = static_cast<float>(sum.high);
    v = v > low ? v : low;
    return static_cast<int32_t>(std::nearbyint(v < high ? v : high));
  }
};

#if defined(ONNXTOOL_DEVICE_KERNELS)

template <class Op>
constexpr BinaryRun run_of = zip_run<int32_t, int32_t, Op>;

struct MapCodes {
  Table table;
  const uint8_t* x;
  uint8_t* y;
  ONNXTOOL_HD void operator()(int64_t i) const { y[i] = table[x[i]]; }
};
void map_codes(KernelContext&, const Table& table, const uint8_t* x, uint8_t* y, int64_t count) {
  device::for_each_index(count, MapCodes{table, x, y});
}

#else

/// Elements of a stretch whose values fit the first-level cache.
constexpr int64_t kBlock = 512;

/// code - zero_point of n codes that step by 0 or 1.
void read_differences(const Quantization& q, const void* codes, int64_t step, float* out,
                      int64_t n) {
  constexpr float kOne = 1;
  const QuantLine line{&kOne, &q.zero_point, 0};
  const int64_t count = step == 0 ? 1 : n;
  if (q.type == DataType::kInt8)
    vector_math().dequantize_s8(static_cast<const int8_t*>(codes), line, out, count);
  else
    vector_math().dequantize_u8(static_cast<const uint8_t*>(codes), line, out, count);
}

void run_codes(const MultiplyCodes& op, const void* a, int64_t a_step, const void* b,
               int64_t b_step, void* out, int64_t n) {
  const BinaryQuantization& q = op.q;
  constexpr float kOne = 1;
  constexpr int32_t kNone = 0;
  const QuantLine line{&kOne, &kNone, 0};
  const float zero = static_cast<float>(q.y.zero_point);
  std::array<float, kBlock> left, right, both;
  for (int64_t i = 0; i < n; i += kBlock) {
    const int64_t m = std::min(kBlock, n - i);
    read_differences(q.a, static_cast<const uint8_t*>(a) + i * a_step, a_step, left.data(), m);
    read_differences(q.b, static_cast<const uint8_t*>(b) + i * b_step, b_step, right.data(), m);
    vector_math().mul(left.data(), a_step, right.data(), b_step, both.data(), m);
    vector_math().mul(both.data(), 1, &op.ratio, 0, both.data(), m);
    vector_math().add(both.data(), 1, &zero, 0, both.data(), m);
    vector_math().quantize8(both.data(), line, lowest_of(q.y.type), highest_of(q.y.type),
                            static_cast<uint8_t*>(out) + i, m);
  }
}

void run_codes(const AddCodes& op, const void* a, int64_t a_step, const void* b, int64_t b_step,
               void* out, int64_t n) {
  auto* y = static_cast<uint8_t*>(out);
  if (op.type == DataType::kInt8)
    vector_math().add_codes_s8(static_cast<const int8_t*>(a), a_step, static_cast<const int8_t*>(b),
                               b_step, op.sum, y, n);
  else
    vector_math().add_codes_u8(static_cast<const uint8_t*>(a), a_step,
                               static_cast<const uint8_t*>(b), b_step, op.sum, y, n);
}

template <class Op>
void run_of(const void* closure, const void* a, int64_t a_step, const void* b, int64_t b_step,
            void* out, int64_t n) {
  run_codes(*static_cast<const Op*>(closure), a, a_step, b, b_step, out, n);
}

void map_codes(KernelContext& ctx, const Table& table, const uint8_t* x, uint8_t* y,
               int64_t count) {
  ctx.parallel(count, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) y[i] = table[x[i]];
  });
}

#endif

struct MapRows {
  Table table;
  const uint8_t* x;
  uint8_t* y;
  int64_t from, to;  // codes of a row
  struct Row {
    const uint8_t* table;
    const uint8_t* x;
    uint8_t* y;
    ONNXTOOL_HD void operator()(int64_t i) const { y[i] = table[x[i]]; }
  };
  ONNXTOOL_HD Row row(int64_t i) const { return {table.data(), x + i * from, y + i * to}; }
};

template <class Op>
Status binary(KernelContext& ctx) {
  ConstView a = ctx.input(0), b = ctx.input(3);
  if (a.dtype != b.dtype)
    return bad_model("inputs have element types " + std::string(name(a.dtype)) + " and " +
                     std::string(name(b.dtype)) + ", expected equal ones");
  BinaryQuantization q;
  ONNXTOOL_ASSIGN(q.a, quantization_of(ctx, 1, 2, a.dtype));
  ONNXTOOL_ASSIGN(q.b, quantization_of(ctx, 4, 5, b.dtype));
  ONNXTOOL_ASSIGN(q.y, quantization_of(ctx, 6, 7, a.dtype));
  ONNXTOOL_ASSIGN(const Dims dims, broadcast_dims({a.dims, b.dims}));
  if (a.layout != b.layout || to_dims(a.dims) != to_dims(b.dims)) {
    ONNXTOOL_ASSIGN(a, in_plain_order(ctx, a));
    ONNXTOOL_ASSIGN(b, in_plain_order(ctx, b));
  }
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, a.dtype, dims, a.layout));
  const Op op(q);
  binary_into(ctx, a, b, y, true, run_of<Op>, &op);
  return {};
}

template <class F>
Status unary(KernelContext& ctx, F&& f) {
  const ConstView& x = ctx.input(0);
  ONNXTOOL_ASSIGN(const Quantization x_quant, quantization_of(ctx, 1, 2, x.dtype));
  ONNXTOOL_ASSIGN(const Quantization y_quant, quantization_of(ctx, 3, 4, x.dtype));
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output_in_place(0, 0, x.dtype, x.dims));
  const Table table = table_of(x_quant, y_quant, f);
  const auto* from = static_cast<const uint8_t*>(x.data);
  auto* to = static_cast<uint8_t*>(y.data);
  map_codes(ctx, table, from, to, physical_count(x.dims, x.layout, x.count));
  clear_padding(y);
  return {};
}

Status sigmoid(KernelContext& ctx) {
  return unary(ctx, [](float x) { return 1 / (1 + std::exp(-x)); });
}
Status leaky_relu(KernelContext& ctx) {
  const float alpha = ctx.node().attr_float("alpha", 0.01f);
  return unary(ctx, [=](float x) { return x < 0 ? alpha * x : x; });
}

Status concat(KernelContext& ctx) {
  const int parts = (ctx.node().num_inputs() - 2) / 3;
  if (parts < 1 || ctx.node().num_inputs() != 2 + 3 * parts)
    return bad_model("there are " + std::to_string(ctx.node().num_inputs()) +
                     " inputs, expected 2 and 3 for each part");
  const DataType type = ctx.input(1).dtype;
  ONNXTOOL_ASSIGN(const Quantization y_quant, quantization_of(ctx, 0, 1, type));
  Dims dims = to_dims(ctx.input(2).dims);
  ONNXTOOL_ASSIGN(const int64_t axis,
                  resolve_axis(ctx.node().attr_int("axis", 0), static_cast<int64_t>(dims.size())));
  const auto a = static_cast<size_t>(axis);
  std::vector<Table> tables;
  for (int i = 0; i < parts; ++i) {
    const ConstView& x = ctx.input(2 + 3 * i);
    Dims expected = to_dims(x.dims);
    if (expected.size() == dims.size()) expected[a] = dims[a];
    if (i > 0 && expected != dims)
      return mismatch("part " + std::to_string(i) + " has shape " + format_dims(x.dims) +
                      ", which does not continue " + format_dims(dims) + " along axis " +
                      std::to_string(axis));
    if (i > 0) {
      const auto extent = checked_add(dims[a], x.dims[a]);
      if (!extent) return mismatch("the extents along axis " + std::to_string(axis) + " overflow");
      dims[a] = *extent;
    }
    ONNXTOOL_ASSIGN(const Quantization quant, quantization_of(ctx, 3 + 3 * i, 4 + 3 * i, x.dtype));
    tables.push_back(table_of(quant, y_quant, [](float v) { return v; }));
  }
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, type, dims));
  const int64_t outer = product(dims, 0, a), row = product(dims, a, dims.size());
  auto* to = static_cast<uint8_t*>(y.data);
  for (int i = 0; i < parts; ++i) {
    const ConstView& x = ctx.input(2 + 3 * i);
    const int64_t n = product(x.dims, a, x.dims.size());
    const auto* from = static_cast<const uint8_t*>(x.data);
    for_each_cell(ctx, outer, n, MapRows{tables[static_cast<size_t>(i)], from, to, n, row});
    to += n;
  }
  return {};
}

/// y_zero_point (7) may be absent.
Result<std::unique_ptr<KernelState>> prepare_binary(const NodeView& node) {
  ONNXTOOL_TRY(require_inputs(node, {0, 1, 3, 4, 6}));
  return std::unique_ptr<KernelState>();
}
Result<std::unique_ptr<KernelState>> prepare_unary(const NodeView& node) {
  ONNXTOOL_TRY(require_inputs(node, {0, 1, 3}));
  return std::unique_ptr<KernelState>();
}

// Scales and zero points are looked at.
InputUse use_binary(const NodeView&, int input) {
  return input == 0 || input == 3 ? InputUse::kData : InputUse::kHost;
}
InputUse use_concat(const NodeView&, int input) {
  return input >= 2 && input % 3 == 2 ? InputUse::kData : InputUse::kHost;
}

constexpr std::initializer_list<DataType> kTypes = {DataType::kUint8, DataType::kInt8};

}  // namespace

constinit const KernelInfo kQLinearAdd{.domain = "com.microsoft",
                                       .op = "QLinearAdd",
                                       .types = kTypes,
                                       .prepare = prepare_binary,
                                       .run = binary<AddCodes>,
                                       .takes_layout = takes_any_layout,
                                       .use = use_binary};
constinit const KernelInfo kQLinearMul{.domain = "com.microsoft",
                                       .op = "QLinearMul",
                                       .types = kTypes,
                                       .prepare = prepare_binary,
                                       .run = binary<MultiplyCodes>,
                                       .takes_layout = takes_any_layout,
                                       .use = use_binary};
constinit const KernelInfo kQLinearSigmoid{.domain = "com.microsoft",
                                           .op = "QLinearSigmoid",
                                           .types = kTypes,
                                           .prepare = prepare_unary,
                                           .run = sigmoid,
                                           .takes_layout = takes_any_layout,
                                           .use = parameters_on_host};
constinit const KernelInfo kQLinearLeakyRelu{.domain = "com.microsoft",
                                             .op = "QLinearLeakyRelu",
                                             .types = kTypes,
                                             .prepare = prepare_unary,
                                             .run = leaky_relu,
                                             .takes_layout = takes_any_layout,
                                             .use = parameters_on_host};
constinit const KernelInfo kQLinearConcat{.domain = "com.microsoft",
                                          .op = "QLinearConcat",
                                          .prepare = needs_every_input,
                                          .run = concat,
                                          .use = use_concat};

}  // namespace onnxtool
