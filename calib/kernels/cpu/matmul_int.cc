// MatMulInteger-10, QLinearMatMul-10, 21 and com.microsoft's MatMulIntegerToFloat-1 and
// DynamicQuantizeMatMul-1, with numpy's broadcasting: sums of (a - a_zero_point) * (b -
// b_zero_point) in int32, which wrap. Parameters of a and y may be given per row, those of b per
// column.
//   QLinearMatMul: y = saturate(round_half_even(sum * (a_scale * b_scale / y_scale)) +
//   y_zero_point)
//   ...ToFloat, Dynamic...: y = sum * (a_scale * b_scale) + bias; the latter first quantizes its a
//   to uint8 over its range and 0, as DynamicQuantizeLinear does
// with factors and products in float.

#include <cmath>

#include "calib/kernels/cpu/gemm.h"
#include "calib/kernels/cpu/int_product_inputs.h"
#include "calib/kernels/cpu/matmul_shape.h"
#include "calib/kernels/cpu/quant_params.h"
#include "calib/kernels/cpu/saturation.h"
#include "calib/kernels/cpu/vector_math.h"

namespace onnxtool {
namespace {

struct MatMulIntState final : KernelState {
  const GemmIsa* isa;
  IntProductInputs at;
  Pairs pairs = Pairs::kExact;
  // Packed b with its shape, when it and its zero points are constant: run() then does not read it.
  AlignedArray<int16_t> b;
  Dims b_dims;
};

const IntProductInputs& inputs_of(const KernelContext& ctx) {
  return static_cast<const MatMulIntState&>(*ctx.state()).at;
}

struct Extents {
  int64_t count, k, n;  // matrices, and rows and columns of each
};
Extents extents_of(std::span<const int64_t> b) {
  if (b.size() == 1) return {1, b[0], 1};
  return {product(b, 0, b.size() - 2), b[b.size() - 2], b.back()};
}

/// The panels of all matrices of b, one after the other.
Result<AlignedArray<int16_t>> pack_b(const GemmIsa& isa, const ConstView& b,
                                     const ConstView* zero) {
  if (!is_8bit(b.dtype)) return unsupported_type(b.dtype, "b");
  const Extents e = extents_of(b.dims);
  LineParams spread;
  if (zero) {
    ONNXTOOL_TRY(check_zero_point_type(*zero, b.dtype, "b_zero_point"));
    ONNXTOOL_ASSIGN(spread, line_params(zero->dims, e.count, e.n, "b_zero_point"));
  }
  const int64_t size = packed_count<int16_t>(e.n, e.k, isa.nr_int);
  AlignedArray<int16_t> packed(e.count * size);
  for (int64_t i = 0; i < e.count; ++i) {
    const void* zero_points =
        zero ? static_cast<const std::byte*>(zero->data) + spread.offset(i) : nullptr;
    const IntPanels panels({b.data, b.dtype == DataType::kInt8, zero_points, spread.per_line()},
                           i * e.k * e.n, e.n, 1);
    pack_panels<int16_t>(panels, e.n, e.k, isa.nr_int, 0, ceil_div(e.n, isa.nr_int),
                         packed.data() + i * size);
  }
  return packed;
}

// Where zero points may be left out they are 0; not where y has one.
Status require_operands(const NodeView& node, const IntProductInputs& at) {
  ONNXTOOL_TRY(require_inputs(node, {0, at.b}));
  for (const int scale : {at.a_scale, at.b_scale, at.y_scale})
    if (scale >= 0) ONNXTOOL_TRY(require_inputs(node, {scale}));
  if (at.y_zero < 0) return {};
  return require_inputs(node, {at.a_zero, at.b_zero, at.y_zero});
}

template <Pairs kPairs = Pairs::kExact>
Result<std::unique_ptr<KernelState>> prepare(const NodeView& node) {
  auto state = std::make_unique<MatMulIntState>();
  state->isa = &gemm_isa();  // exact: every level gives the same bits
  state->at = int_product_inputs(node.op_type());
  ONNXTOOL_TRY(require_operands(node, state->at));
  state->pairs = kPairs;
  const ConstView* b = node.constant(state->at.b);
  const ConstView* zero = node.constant(state->at.b_zero);
  if (!b || b->rank() < 1 || (!zero && node.has_input(state->at.b_zero))) return {std::move(state)};
  ONNXTOOL_ASSIGN(state->b, pack_b(*state->isa, *b, zero));
  state->b_dims = to_dims(b->dims);
  if (kPairs == Pairs::kExact) node.drop_constant(state->at.b);
  return {std::move(state)};
}

/// MatMulInteger: the sums are the output.
class KeepSums final : public ProductSink<int16_t> {
 public:
  KeepSums(const MatMulShape& shape, int32_t* y) : shape_(shape), y_(y) {}
  int64_t buffer_count(int64_t) const override { return 0; }
  int32_t* target(int64_t batch, const GemmRange& range, int32_t*, int64_t* stride) const override {
    *stride = shape_.n;
    return y_ + (batch * shape_.m + range.m0) * shape_.n + range.n0;
  }
  void finish(int64_t, const GemmRange&, int32_t*, int64_t) const override {}

 private:
  const MatMulShape& shape_;
  int32_t* y_;
};

/// Scales and zero points of QLinearMatMul.
struct Requantization {
  std::vector<float> a_scale, b_scale, y_scale;
  std::vector<int32_t> y_zero_point;
  LineParams a, b, y, y_zero;
  DataType type = DataType::kUint8;
};

class Requantize final : public ProductSink<int16_t> {
 public:
  Requantize(const GemmIsa& isa, const MatMulShape& shape, const Requantization& r, uint8_t* y)
      : isa_(isa), shape_(shape), r_(r), y_(y) {}
  /// Sums, and a row of factors behind them.
  int64_t buffer_count(int64_t count) const override { return 2 * count; }
  int32_t* target(int64_t, const GemmRange& range, int32_t* buffer,
                  int64_t* stride) const override {
    *stride = range.n1 - range.n0;
    return buffer;
  }
  void finish(int64_t batch, const GemmRange& range, int32_t* sums, int64_t stride) const override {
    const int64_t n = range.n1 - range.n0;
    auto* factors = reinterpret_cast<float*>(sums + (range.m1 - range.m0) * n);
    const auto at = [](const auto& values, const LineParams& p, int64_t of, int64_t line) {
      return values[static_cast<size_t>(p.offset(of) + (p.per_line() ? line : 0))];
    };
    for (int64_t i = range.m0; i < range.m1; ++i, sums += stride) {
      const float a = at(r_.a_scale, r_.a, batch, i), y = at(r_.y_scale, r_.y, batch, i);
      const int64_t count = r_.b.per_line() ? n : 1;
      for (int64_t j = 0; j < count; ++j)
        factors[j] = a * at(r_.b_scale, r_.b, batch, range.n0 + j) / y;
      isa_.requantize_row({sums, 0, factors, count > 1, at(r_.y_zero_point, r_.y_zero, batch, i),
                           lowest_of(r_.type), highest_of(r_.type),
                           y_ + (batch * shape_.m + i) * shape_.n + range.n0, n});
    }
  }

 private:
  const GemmIsa& isa_;
  const MatMulShape& shape_;
  const Requantization& r_;
  uint8_t* y_;
};

/// Shape, and b packed, as both operators need them.
struct Prepared {
  MatMulShape shape;
  Dims out;
  Dims b_dims;
  const int16_t* b = nullptr;
  AlignedArray<int16_t> temporary;
};
bool one_value(const KernelContext& ctx, std::initializer_list<int> inputs) {
  return std::ranges::all_of(
      inputs, [&](int i) { return i < 0 || !ctx.has_input(i) || ctx.input(i).count == 1; });
}
Status prepare_run(KernelContext& ctx, Prepared& p) {
  const auto& state = static_cast<const MatMulIntState&>(*ctx.state());
  p.b_dims = state.b ? state.b_dims : to_dims(ctx.input(state.at.b).dims);
  ONNXTOOL_ASSIGN(p.shape, resolve_matmul(ctx.input(0).dims, p.b_dims, false, false));
  p.out = p.shape.out;
  // Where no parameter is given per row, all rows are alike.
  const IntProductInputs& at = state.at;
  const bool alike = one_value(ctx, {at.a_scale, at.a_zero, at.y_scale, at.y_zero});
  p.shape.collapse(alike && ctx.input(0).rank() > 1);
  p.b = state.b.data();
  if (state.b) return {};
  const ConstView* zero = ctx.has_input(state.at.b_zero) ? &ctx.input(state.at.b_zero) : nullptr;
  ONNXTOOL_ASSIGN(p.temporary, pack_b(*state.isa, ctx.input(state.at.b), zero));
  p.b = p.temporary.data();
  return {};
}

/// a with its zero points.
struct Left {
  IntMatrix matrix;
  LineParams spread;
};
Result<Left> left_of(KernelContext& ctx, const MatMulShape& shape) {
  const auto& state = static_cast<const MatMulIntState&>(*ctx.state());
  const ConstView& a = ctx.input(0);
  Left left{{a.data, a.dtype == DataType::kInt8, nullptr, false}, {}};
  if (!ctx.has_input(state.at.a_zero)) return left;
  const ConstView& zero = ctx.input(state.at.a_zero);
  ONNXTOOL_TRY(check_zero_point_type(zero, a.dtype, "a_zero_point"));
  ONNXTOOL_ASSIGN(left.spread,
                  line_params(zero.dims, product(shape.a_batch), shape.m, "a_zero_point"));
  left.matrix.zero_points = zero.data;
  left.matrix.zero_point_per_line = left.spread.per_line();
  return left;
}

Status multiply_exactly(KernelContext& ctx, const Prepared& p, const Left& left,
                        const ProductSink<int16_t>& sink) {
  const GemmIsa& isa = *static_cast<const MatMulIntState&>(*ctx.state()).isa;
  const MatMulShape& shape = p.shape;
  const Dims a_index = shape.a_index(), b_index = shape.b_index();
  const int64_t size = packed_count<int16_t>(shape.n, shape.k, isa.nr_int);
  return for_each_product<int16_t>(
      ctx, isa, shape.batches(), shape.m, shape.n, shape.k,
      [&](int64_t batch) {
        const int64_t i = a_index[static_cast<size_t>(batch)];
        IntMatrix matrix = left.matrix;
        if (matrix.zero_points)
          matrix.zero_points =
              static_cast<const std::byte*>(matrix.zero_points) + left.spread.offset(i);
        return IntPanels(matrix, i * shape.m * shape.k, 1, shape.k);
      },
      [&](int64_t batch) {
        return PackedPanels<int16_t>(p.b + b_index[static_cast<size_t>(batch)] * size, shape.n,
                                     isa.nr_int);
      },
      sink);
}

Status multiply(KernelContext& ctx, const Prepared& p, const Left& left,
                const ProductSink<int16_t>& sink) {
  const auto& state = static_cast<const MatMulIntState&>(*ctx.state());
  if (state.pairs == Pairs::kExact || ctx.input(state.at.b).dtype != DataType::kInt8)
    return multiply_exactly(ctx, p, left, sink);
  const MatMulShape& shape = p.shape;
  const Dims a_index = shape.a_index(), b_index = shape.b_index();
  const void* b = ctx.input(state.at.b).data;
  PairOperands operands;
  operands.depth = shape.k;
  operands.rows = [&](int64_t batch, int64_t i, uint8_t* codes) {
    copy_data_codes(left.matrix.data, left.matrix.is_signed,
                    (a_index[static_cast<size_t>(batch)] * shape.m + i) * shape.k, 1, shape.k,
                    codes);
  };
  operands.columns = [&](int64_t batch, int64_t j, uint8_t* codes) {
    copy_data_codes(b, false, b_index[static_cast<size_t>(batch)] * shape.k * shape.n + j, shape.n,
                    shape.k, codes);
  };
  return multiply_exactly(ctx, p, left, SaturatingSink(sink, std::move(operands)));
}

Status run_integer(KernelContext& ctx) {
  Prepared p;
  ONNXTOOL_TRY(prepare_run(ctx, p));
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, DataType::kInt32, p.out));
  if (y.count == 0) return {};
  ONNXTOOL_ASSIGN(const Left left, left_of(ctx, p.shape));
  return multiply(ctx, p, left, KeepSums(p.shape, static_cast<int32_t*>(y.data)));
}

/// Parameters of the products of y; those of a and b are those of the matrices that each product
/// reads.
Status read_requantization(KernelContext& ctx, const MatMulShape& shape, Requantization& r) {
  const int64_t batches = shape.batches();
  const auto read = [&](int i, int64_t lines, std::string_view what, std::vector<float>& values,
                        LineParams& spread) -> Status {
    ONNXTOOL_ASSIGN(values, scale_values(ctx.input(i), what));
    ONNXTOOL_ASSIGN(spread, line_params(ctx.input(i).dims, batches, lines, what));
    return {};
  };
  const IntProductInputs& at = inputs_of(ctx);
  ONNXTOOL_TRY(read(at.a_scale, shape.m, "a_scale", r.a_scale, r.a));
  ONNXTOOL_TRY(read(at.b_scale, shape.n, "b_scale", r.b_scale, r.b));
  ONNXTOOL_TRY(read(at.y_scale, shape.m, "y_scale", r.y_scale, r.y));
  const ConstView& zero = ctx.input(at.y_zero);
  r.type = zero.dtype;
  if (!is_8bit(r.type)) return unsupported_type(r.type, "y_zero_point");
  for (int64_t i = 0; i < zero.count; ++i) r.y_zero_point.push_back(int8_at(zero, i));
  ONNXTOOL_ASSIGN(r.y_zero, line_params(zero.dims, batches, shape.m, "y_zero_point"));
  return {};
}

Status run_qlinear(KernelContext& ctx) {
  Prepared p;
  ONNXTOOL_TRY(prepare_run(ctx, p));
  Requantization r;
  ONNXTOOL_ASSIGN(const MutableView y,
                  ctx.output(0, ctx.input(inputs_of(ctx).y_zero).dtype, p.out));
  if (y.count == 0) return {};
  ONNXTOOL_TRY(read_requantization(ctx, p.shape, r));
  const GemmIsa& isa = *static_cast<const MatMulIntState&>(*ctx.state()).isa;
  ONNXTOOL_ASSIGN(const Left left, left_of(ctx, p.shape));
  return multiply(ctx, p, left, Requantize(isa, p.shape, r, static_cast<uint8_t*>(y.data)));
}

/// Scales and bias of a float result.
struct FloatScales {
  std::vector<float> a, b;
  LineParams a_spread, b_spread;
  const float* bias = nullptr;  // [n]
};

class Dequantize final : public ProductSink<int16_t> {
 public:
  Dequantize(const MatMulShape& shape, const FloatScales& scales, float* y)
      : shape_(shape), s_(scales), y_(y) {}
  int64_t buffer_count(int64_t count) const override { return count; }
  int32_t* target(int64_t, const GemmRange& range, int32_t* buffer,
                  int64_t* stride) const override {
    *stride = range.n1 - range.n0;
    return buffer;
  }
  void finish(int64_t batch, const GemmRange& range, int32_t* sums, int64_t stride) const override {
    for (int64_t i = range.m0; i < range.m1; ++i, sums += stride) {
      const float a =
          s_.a[static_cast<size_t>(s_.a_spread.offset(batch) + (s_.a_spread.per_line() ? i : 0))];
      float* to = y_ + (batch * shape_.m + i) * shape_.n;
      for (int64_t j = range.n0; j < range.n1; ++j) {
        const float b =
            s_.b[static_cast<size_t>(s_.b_spread.offset(batch) + (s_.b_spread.per_line() ? j : 0))];
        to[j] = static_cast<float>(sums[j - range.n0]) * (a * b) + (s_.bias ? s_.bias[j] : 0);
      }
    }
  }

 private:
  const MatMulShape& shape_;
  const FloatScales& s_;
  float* y_;
};

Status read_bias(KernelContext& ctx, int i, int64_t n, FloatScales& scales) {
  if (!ctx.has_input(i)) return {};
  const ConstView& bias = ctx.input(i);
  if (bias.dtype != DataType::kFloat) return unsupported_type(bias.dtype, "bias");
  if (bias.count != n)
    return mismatch("bias has shape " + format_dims(bias.dims) + ", expected [" +
                    std::to_string(n) + "]");
  scales.bias = static_cast<const float*>(bias.data);
  return {};
}

Status run_to_float(KernelContext& ctx) {
  Prepared p;
  ONNXTOOL_TRY(prepare_run(ctx, p));
  FloatScales scales;
  const IntProductInputs& at = inputs_of(ctx);
  const int64_t batches = p.shape.batches();
  if (ctx.input(at.a_scale).dtype != DataType::kFloat)
    return unsupported_type(ctx.input(at.a_scale).dtype, "a_scale");
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, DataType::kFloat, p.out));
  if (y.count == 0) return {};
  ONNXTOOL_ASSIGN(scales.a, scale_values(ctx.input(at.a_scale), "a_scale"));
  ONNXTOOL_ASSIGN(scales.a_spread,
                  line_params(ctx.input(at.a_scale).dims, batches, p.shape.m, "a_scale"));
  ONNXTOOL_ASSIGN(scales.b, scale_values(ctx.input(at.b_scale), "b_scale"));
  ONNXTOOL_ASSIGN(scales.b_spread,
                  line_params(ctx.input(at.b_scale).dims, batches, p.shape.n, "b_scale"));
  ONNXTOOL_TRY(read_bias(ctx, at.bias, p.shape.n, scales));
  ONNXTOOL_ASSIGN(const Left left, left_of(ctx, p.shape));
  return multiply(ctx, p, left, Dequantize(p.shape, scales, static_cast<float*>(y.data)));
}

Status run_dynamic(KernelContext& ctx) {
  Prepared p;
  ONNXTOOL_TRY(prepare_run(ctx, p));
  const ConstView& a = ctx.input(0);
  FloatScales scales;
  const IntProductInputs& at = inputs_of(ctx);
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, DataType::kFloat, p.out));
  if (y.count == 0) return {};
  ONNXTOOL_ASSIGN(scales.b, scale_values(ctx.input(at.b_scale), "b_scale"));
  ONNXTOOL_ASSIGN(scales.b_spread,
                  line_params(ctx.input(at.b_scale).dims, p.shape.batches(), p.shape.n, "b_scale"));
  ONNXTOOL_TRY(read_bias(ctx, at.bias, p.shape.n, scales));
  const float* in = static_cast<const float*>(a.data);
  const Quantization quantization = dynamic_quantization(in, a.count);
  scales.a = {quantization.scale};
  ONNXTOOL_ASSIGN(void* scratch, ctx.scratch(static_cast<size_t>(a.count)));
  auto* quantized = static_cast<uint8_t*>(scratch);
  ctx.parallel(a.count, kGrain, [&](int64_t begin, int64_t end) {
    vector_math().quantize8(in + begin, {&quantization.scale, &quantization.zero_point, 0}, 0, 255,
                            quantized + begin, end - begin);
  });
  const auto zero = static_cast<uint8_t>(quantization.zero_point);
  return multiply(ctx, p, {{quantized, false, &zero, false}, {}},
                  Dequantize(p.shape, scales, static_cast<float*>(y.data)));
}

constexpr std::initializer_list<DataType> kTypes = {DataType::kUint8, DataType::kInt8};

}  // namespace

constinit const KernelInfo kMatMulInteger{
    .op = "MatMulInteger", .since = 10, .types = kTypes, .prepare = prepare<>, .run = run_integer};
constinit const KernelInfo kQLinearMatMul{
    .op = "QLinearMatMul", .since = 10, .types = kTypes, .prepare = prepare<>, .run = run_qlinear};
constinit const KernelInfo kMatMulIntegerToFloat{.domain = "com.microsoft",
                                                 .op = "MatMulIntegerToFloat",
                                                 .types = kTypes,
                                                 .prepare = prepare<>,
                                                 .run = run_to_float};
constinit const KernelInfo kDynamicQuantizeMatMul{.domain = "com.microsoft",
                                                  .op = "DynamicQuantizeMatMul",
                                                  .types = {DataType::kFloat},
                                                  .prepare = prepare<>,
                                                  .run = run_dynamic};

constinit const KernelInfo kMatMulIntegerNoVnni{.op = "MatMulInteger",
                                                .since = 10,
                                                .types = kTypes,
                                                .prepare = prepare<Pairs::kSaturating>,
                                                .run = run_integer};
constinit const KernelInfo kQLinearMatMulNoVnni{.op = "QLinearMatMul",
                                                .since = 10,
                                                .types = kTypes,
                                                .prepare = prepare<Pairs::kSaturating>,
                                                .run = run_qlinear};
constinit const KernelInfo kMatMulIntegerToFloatNoVnni{.domain = "com.microsoft",
                                                       .op = "MatMulIntegerToFloat",
                                                       .types = kTypes,
                                                       .prepare = prepare<Pairs::kSaturating>,
                                                       .run = run_to_float};
constinit const KernelInfo kDynamicQuantizeMatMulNoVnni{.domain = "com.microsoft",
                                                        .op = "DynamicQuantizeMatMul",
                                                        .types = {DataType::kFloat},
                                                        .prepare = prepare<Pairs::kSaturating>,
                                                        .run = run_dynamic};

}  // namespace onnxtool
