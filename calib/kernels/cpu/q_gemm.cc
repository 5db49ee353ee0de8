// com.microsoft.QGemm-1 (a, a_scale, a_zero_point, b, b_scale, b_zero_point, c?, y_scale?,
// y_zero_point?):
//   sum = op(a - a_zero_point) * op(b - b_zero_point) + c   in int32, which wraps
//   y = sum * (alpha * a_scale * b_scale)                    without y_scale, in float; else
//   y = saturate(round_half_even(sum * (alpha * a_scale * b_scale / y_scale)) + y_zero_point)
// b's scale and zero point may be given per column; c is int32 and broadcasts to [m, n].

#include "calib/kernels/cpu/gemm.h"
#include "calib/kernels/cpu/quant_params.h"
#include "calib/kernels/cpu/saturation.h"

namespace onnxtool {
namespace {

struct QGemmState final : KernelState {
  const GemmIsa* isa;
  bool transpose_a = false, transpose_b = false;
  float alpha = 1;
  Pairs pairs = Pairs::kExact;
  // Packed b with its shape, when it and its zero points are constant: run() then does not read it.
  AlignedArray<int16_t> b;
  Dims b_dims;
};

Result<AlignedArray<int16_t>> pack_b(const QGemmState& state, const ConstView& b,
                                     const ConstView* zero) {
  if (!is_8bit(b.dtype)) return unsupported_type(b.dtype, "b");
  const int64_t k = b.dims[state.transpose_b ? 1 : 0], n = b.dims[state.transpose_b ? 0 : 1];
  LineParams spread;
  if (zero) {
    ONNXTOOL_TRY(check_zero_point_type(*zero, b.dtype, "b_zero_point"));
    ONNXTOOL_ASSIGN(spread, line_params(zero->dims, 1, n, "b_zero_point"));
  }
  const IntMatrix matrix{b.data, b.dtype == DataType::kInt8, zero ? zero->data : nullptr,
                         spread.per_line()};
  return pack_all<int16_t>(
      IntPanels(matrix, 0, state.transpose_b ? 1 : n, state.transpose_b ? k : 1), n, k,
      state.isa->nr_int);
}

template <Pairs kPairs = Pairs::kExact>
Result<std::unique_ptr<KernelState>> prepare(const NodeView& node) {
  ONNXTOOL_TRY(require_inputs(node, {0, 1, 2, 3, 4, 5}));
  auto state = std::make_unique<QGemmState>();
  state->isa = &gemm_isa();  // exact: every level gives the same bits
  state->transpose_a = node.attr_int("transA", 0) != 0;
  state->transpose_b = node.attr_int("transB", 0) != 0;
  state->pairs = kPairs;
  state->alpha = node.attr_float("alpha", 1);
  const ConstView *b = node.constant(3), *zero = node.constant(5);
  if (!b || !zero || b->rank() != 2) return {std::move(state)};
  ONNXTOOL_ASSIGN(state->b, pack_b(*state, *b, zero));
  state->b_dims = to_dims(b->dims);
  if (kPairs == Pairs::kExact) node.drop_constant(3);
  return {std::move(state)};
}

struct Extents {
  int64_t m, n, k;
};

/// Adds c to the sums and stores them as the output's type.
class QGemmSink final : public ProductSink<int16_t> {
 public:
  const GemmIsa& isa;
  Extents extents;
  std::vector<float> factors;  // one, or one for each column
  const int32_t* c = nullptr;
  int64_t c_row = 0, c_col = 0;  // strides of c
  float* floats = nullptr;       // the output, or
  uint8_t* bytes = nullptr;
  Quantization y;

  QGemmSink(const GemmIsa& level, const Extents& e) : isa(level), extents(e) {}
  int64_t buffer_count(int64_t count) const override { return count; }
  int32_t* target(int64_t, const GemmRange& range, int32_t* buffer,
                  int64_t* stride) const override {
    *stride = range.n1 - range.n0;
    return buffer;
  }
  void finish(int64_t, const GemmRange& range, int32_t* sums, int64_t stride) const override {
    const int64_t n = range.n1 - range.n0;
    const bool per_column = factors.size() > 1;
    const float* factor = factors.data() + (per_column ? range.n0 : 0);
    for (int64_t i = range.m0; i < range.m1; ++i, sums += stride) {
      const int64_t at = i * extents.n + range.n0;
      for (int64_t j = 0; c && j < n; ++j)
        sums[j] =
            static_cast<int32_t>(static_cast<uint32_t>(sums[j]) +
                                 static_cast<uint32_t>(c[i * c_row + (range.n0 + j) * c_col]));
      if (bytes) {
        isa.requantize_row({sums, 0, factor, per_column, y.zero_point, lowest_of(y.type),
                            highest_of(y.type), bytes + at, n});
        continue;
      }
      for (int64_t j = 0; j < n; ++j)
        floats[at + j] = static_cast<float>(sums[j]) * factor[per_column ? j : 0];
    }
  }
};

Status read_c(KernelContext& ctx, QGemmSink& sink) {
  if (!ctx.has_input(6)) return {};
  const ConstView& c = ctx.input(6);
  if (c.dtype != DataType::kInt32) return unsupported_type(c.dtype, "c");
  const int64_t rows = c.rank() > 1 ? c.dims[c.dims.size() - 2] : 1,
                cols = c.rank() > 0 ? c.dims.back() : 1;
  if (c.rank() > 2 || (rows != 1 && rows != sink.extents.m) ||
      (cols != 1 && cols != sink.extents.n))
    return mismatch("c has shape " + format_dims(c.dims) + ", which does not broadcast to [" +
                    std::to_string(sink.extents.m) + ", " + std::to_string(sink.extents.n) + "]");
  sink.c = static_cast<const int32_t*>(c.data);
  sink.c_row = rows == 1 ? 0 : cols;
  sink.c_col = cols == 1 ? 0 : 1;
  return {};
}

Status run(KernelContext& ctx) {
  const auto& state = static_cast<const QGemmState&>(*ctx.state());
  const ConstView& a = ctx.input(0);
  const std::span<const int64_t> b =
      state.b ? std::span<const int64_t>(state.b_dims) : ctx.input(3).dims;
  if (a.rank() != 2 || b.size() != 2)
    return mismatch("a has shape " + format_dims(a.dims) + " and b has shape " + format_dims(b) +
                    ", expected rank 2");
  const size_t ta = state.transpose_a ? 1 : 0, tb = state.transpose_b ? 1 : 0;
  const Extents e{a.dims[ta], b[1 - tb], a.dims[1 - ta]};
  if (b[tb] != e.k)
    return mismatch("a has shape " + format_dims(a.dims) + " and b has shape " + format_dims(b) +
                    ": the products are over " + std::to_string(e.k) + " and " +
                    std::to_string(b[tb]) + " elements");
  ONNXTOOL_ASSIGN(const int32_t a_zero, zero_point_scalar(ctx.input(2), a.dtype, "a_zero_point"));
  ONNXTOOL_ASSIGN(const float a_scale, scale_scalar(ctx.input(1), "a_scale"));
  QGemmSink sink(*state.isa, e);
  ONNXTOOL_ASSIGN(sink.factors, scale_values(ctx.input(4), "b_scale"));
  if (sink.factors.size() != 1 && sink.factors.size() != static_cast<size_t>(e.n))
    return mismatch("b_scale has shape " + format_dims(ctx.input(4).dims) +
                    ", expected one element or " + std::to_string(e.n));
  ONNXTOOL_TRY(read_c(ctx, sink));
  const bool quantizes = ctx.has_input(7);
  if (quantizes) {
    ONNXTOOL_ASSIGN(sink.y,
                    quantization_of(ctx, 7, 8, ctx.has_input(8) ? ctx.input(8).dtype : a.dtype));
  }
  for (float& f : sink.factors) f = state.alpha * a_scale * f / (quantizes ? sink.y.scale : 1.0f);
  ONNXTOOL_ASSIGN(const MutableView y,
                  ctx.output(0, quantizes ? sink.y.type : DataType::kFloat, Dims{e.m, e.n}));
  if (quantizes)
    sink.bytes = static_cast<uint8_t*>(y.data);
  else
    sink.floats = static_cast<float*>(y.data);
  AlignedArray<int16_t> temporary;
  if (!state.b) {
    ONNXTOOL_ASSIGN(temporary, pack_b(state, ctx.input(3), &ctx.input(5)));
  }
  const int16_t* packed = state.b ? state.b.data() : temporary.data();
  const auto zero = static_cast<uint8_t>(a_zero);
  const IntMatrix left{a.data, a.dtype == DataType::kInt8, &zero, false};
  const auto multiply = [&](const ProductSink<int16_t>& to) {
    return for_each_product<int16_t>(
        ctx, *state.isa, 1, e.m, e.n, e.k,
        [&](int64_t) {
          return IntPanels(left, 0, state.transpose_a ? e.m : 1, state.transpose_a ? 1 : e.k);
        },
        [&](int64_t) { return PackedPanels<int16_t>(packed, e.n, state.isa->nr_int); }, to);
  };
  if (state.pairs == Pairs::kExact || ctx.input(3).dtype != DataType::kInt8) return multiply(sink);
  PairOperands operands;
  operands.depth = e.k;
  operands.rows = [&](int64_t, int64_t i, uint8_t* codes) {
    copy_data_codes(a.data, left.is_signed, state.transpose_a ? i : i * e.k,
                    state.transpose_a ? e.m : 1, e.k, codes);
  };
  operands.columns = [&](int64_t, int64_t j, uint8_t* codes) {
    copy_data_codes(ctx.input(3).data, false, state.transpose_b ? j * e.k : j,
                    state.transpose_b ? 1 : e.n, e.k, codes);
  };
  return multiply(SaturatingSink(sink, std::move(operands)));
}

}  // namespace

constinit const KernelInfo kQGemm{.domain = "com.microsoft",
                                  .op = "QGemm",
                                  .types = {DataType::kUint8, DataType::kInt8},
                                  .prepare = prepare<>,
                                  .run = run};
constinit const KernelInfo kQGemmNoVnni{.domain = "com.microsoft",
                                        .op = "QGemm",
                                        .types = {DataType::kUint8, DataType::kInt8},
                                        .prepare = prepare<Pairs::kSaturating>,
                                        .run = run};

}  // namespace onnxtool
