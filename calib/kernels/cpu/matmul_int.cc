// MatMulInteger-10 and QLinearMatMul-10, 21 with numpy's broadcasting: sums of (a - a_zero_point) *
// (b - b_zero_point) in int32, which wrap. Parameters of a and y may be given per row, those of b per
// column. QLinearMatMul stores
//   y = saturate(round_half_even(sum * (a_scale * b_scale / y_scale)) + y_zero_point)
// with the factor and the product in float.

#include "calib/kernels/cpu/gemm.h"
#include "calib/kernels/cpu/matmul_shape.h"
#include "calib/kernels/cpu/quant_params.h"

namespace onnxtool { namespace {

/// Indices of the inputs.
struct Inputs {
  int a_zero_point, b, b_zero_point;
};
constexpr Inputs kMatMulIntegerInputs{2, 1, 3};
constexpr Inputs kQLinearMatMulInputs{2, 3, 5};

struct MatMulIntState final : KernelState {
  const GemmIsa* isa;
  Inputs at;
  // Packed b with its shape, when it and its zero points are constant: run() then does not read it.
  AlignedArray<int16_t> b;
  Dims b_dims;
};

struct Extents {
  int64_t count, k, n;  // matrices, and rows and columns of each
};
Extents extents_of(std::span<const int64_t> b) {
  if (b.size() == 1) return {1, b[0], 1};
  return {product(b, 0, b.size() - 2), b[b.size() - 2], b.back()};
}

/// The panels of all matrices of b, one after the other.
Result<AlignedArray<int16_t>> pack_b(const GemmIsa& isa, const ConstView& b, const ConstView* zero) {
  if (!is_int8(b.dtype)) return unsupported_type(b.dtype, "b");
  const Extents e = extents_of(b.dims);
  LineParams spread;
  if (zero) {
    ONNXTOOL_TRY(check_zero_point_type(*zero, b.dtype, "b_zero_point"));
    ONNXTOOL_ASSIGN(spread, line_params(zero->dims, e.count, e.n, "b_zero_point"));
  }
  const int64_t size = packed_count<int16_t>(e.n, e.k, isa.nr_int);
  AlignedArray<int16_t> packed(e.count * size);
  for (int64_t i = 0; i < e.count; ++i) {
    const void* zero_points = zero ? static_cast<const std::byte*>(zero->data) + spread.offset(i) : nullptr;
    const IntPanels panels({b.data, b.dtype == DataType::kInt8, zero_points, spread.per_line()}, i * e.k * e.n, e.n, 1);
    pack_panels<int16_t>(panels, e.n, e.k, isa.nr_int, 0, ceil_div(e.n, isa.nr_int), packed.data() + i * size);
  }
  return packed;
}

Result<std::unique_ptr<KernelState>> prepare(const NodeView& node) {
  auto state = std::make_unique<MatMulIntState>();
  state->isa = &gemm_isa();  // exact: every level gives the same bits
  const bool integer = node.op_type() == "MatMulInteger";
  state->at = integer ? kMatMulIntegerInputs : kQLinearMatMulInputs;
  if (integer) ONNXTOOL_TRY(require_inputs(node, {0, 1}));
  else ONNXTOOL_TRY(require_inputs(node, {0, 1, 2, 3, 4, 5, 6, 7}));
  const ConstView* b = node.constant(state->at.b);
  const ConstView* zero = node.constant(state->at.b_zero_point);
  if (!b || b->rank() < 1 || (!zero && node.has_input(state->at.b_zero_point))) return {std::move(state)};
  ONNXTOOL_ASSIGN(state->b, pack_b(*state->isa, *b, zero));
  state->b_dims = to_dims(b->dims);
  node.drop_constant(state->at.b);
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
  int32_t* target(int64_t, const GemmRange& range, int32_t* buffer, int64_t* stride) const override {
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
      for (int64_t j = 0; j < count; ++j) factors[j] = a * at(r_.b_scale, r_.b, batch, range.n0 + j) / y;
      isa_.requantize_row({sums, 0, factors, count > 1, at(r_.y_zero_point, r_.y_zero, batch, i), lowest_of(r_.type),
                           highest_of(r_.type), y_ + (batch * shape_.m + i) * shape_.n + range.n0, n});
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
  return std::ranges::all_of(inputs, [&](int i) { return !ctx.has_input(i) || ctx.input(i).count == 1; });
}
Status prepare_run(KernelContext& ctx, Prepared& p) {
  const auto& state = static_cast<const MatMulIntState&>(*ctx.state());
  p.b_dims = state.b ? state.b_dims : to_dims(ctx.input(state.at.b).dims);
  ONNXTOOL_ASSIGN(p.shape, resolve_matmul(ctx.input(0).dims, p.b_dims, false, false));
  p.out = p.shape.out;
  // Parameters of a and y; where none is given per row, all rows are alike.
  const bool alike = ctx.node().op_type() == "MatMulInteger" ? one_value(ctx, {2}) : one_value(ctx, {1, 2, 6, 7});
  p.shape.collapse(alike && ctx.input(0).rank() > 1);
  p.b = state.b.data();
  if (state.b) return {};
  const ConstView* zero = ctx.has_input(state.at.b_zero_point) ? &ctx.input(state.at.b_zero_point) : nullptr;
  ONNXTOOL_ASSIGN(p.temporary, pack_b(*state.isa, ctx.input(state.at.b), zero));
  p.b = p.temporary.data();
  return {};
}

Status multiply(KernelContext& ctx, const Prepared& p, const ProductSink<int16_t>& sink) {
  const auto& state = static_cast<const MatMulIntState&>(*ctx.state());
  const GemmIsa& isa = *state.isa;
  const MatMulShape& shape = p.shape;
  const ConstView& a = ctx.input(0);
  IntMatrix left{a.data, a.dtype == DataType::kInt8, nullptr, false};
  LineParams spread;
  if (ctx.has_input(state.at.a_zero_point)) {
    const ConstView& zero = ctx.input(state.at.a_zero_point);
    ONNXTOOL_TRY(check_zero_point_type(zero, a.dtype, "a_zero_point"));
    ONNXTOOL_ASSIGN(spread, line_params(zero.dims, product(shape.a_batch), shape.m, "a_zero_point"));
    left.zero_points = zero.data;
    left.zero_point_per_line = spread.per_line();
  }
  const Dims a_index = shape.a_index(), b_index = shape.b_index();
  const int64_t size = packed_count<int16_t>(shape.n, shape.k, isa.nr_int);
  return for_each_product<int16_t>(
      ctx, isa, shape.batches(), shape.m, shape.n, shape.k,
      [&](int64_t batch) {
        const int64_t i = a_index[static_cast<size_t>(batch)];
        IntMatrix matrix = left;
        if (matrix.zero_points) matrix.zero_points = static_cast<const std::byte*>(matrix.zero_points) + spread.offset(i);
        return IntPanels(matrix, i * shape.m * shape.k, 1, shape.k);
      },
      [&](int64_t batch) {
        return PackedPanels<int16_t>(p.b + b_index[static_cast<size_t>(batch)] * size, shape.n, isa.nr_int);
      },
      sink);
}

Status run_integer(KernelContext& ctx) {
  Prepared p;
  ONNXTOOL_TRY(prepare_run(ctx, p));
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, DataType::kInt32, p.out));
  if (y.count == 0) return {};
  return multiply(ctx, p, KeepSums(p.shape, static_cast<int32_t*>(y.data)));
}

/// Parameters of the products of y; those of a and b are those of the matrices that each product reads.
Status read_requantization(KernelContext& ctx, const MatMulShape& shape, Requantization& r) {
  const int64_t batches = shape.batches();
  const auto read = [&](int i, int64_t lines, std::string_view what, std::vector<float>& values, LineParams& spread) -> Status {
    ONNXTOOL_ASSIGN(values, scale_values(ctx.input(i), what));
    ONNXTOOL_ASSIGN(spread, line_params(ctx.input(i).dims, batches, lines, what));
    return {};
  };
  ONNXTOOL_TRY(read(1, shape.m, "a_scale", r.a_scale, r.a));
  ONNXTOOL_TRY(read(4, shape.n, "b_scale", r.b_scale, r.b));
  ONNXTOOL_TRY(read(6, shape.m, "y_scale", r.y_scale, r.y));
  const ConstView& zero = ctx.input(7);
  r.type = zero.dtype;
  if (!is_int8(r.type)) return unsupported_type(r.type, "y_zero_point");
  for (int64_t i = 0; i < zero.count; ++i) r.y_zero_point.push_back(int8_at(zero, i));
  ONNXTOOL_ASSIGN(r.y_zero, line_params(zero.dims, batches, shape.m, "y_zero_point"));
  return {};
}

Status run_qlinear(KernelContext& ctx) {
  Prepared p;
  ONNXTOOL_TRY(prepare_run(ctx, p));
  Requantization r;
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, ctx.input(7).dtype, p.out));
  if (y.count == 0) return {};
  ONNXTOOL_TRY(read_requantization(ctx, p.shape, r));
  const GemmIsa& isa = *static_cast<const MatMulIntState&>(*ctx.state()).isa;
  return multiply(ctx, p, Requantize(isa, p.shape, r, static_cast<uint8_t*>(y.data)));
}

constexpr std::initializer_list<DataType> kTypes = {DataType::kUint8, DataType::kInt8};

}  // namespace

constinit const KernelInfo kMatMulInteger{
    .op = "MatMulInteger", .since = 10, .types = kTypes, .prepare = prepare, .run = run_integer};
constinit const KernelInfo kQLinearMatMul{
    .op = "QLinearMatMul", .since = 10, .types = kTypes, .prepare = prepare, .run = run_qlinear};

}  // namespace onnxtool
