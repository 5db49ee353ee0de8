// MatMulInteger-10, QLinearMatMul-10, 21 and com.microsoft's MatMulIntegerToFloat-1, QGemm-1 and
// DynamicQuantizeMatMul-1 where the right side is a constant matrix: exact sums, and the bits of
// the cpu kernels.
//   sum of (a - za) * (b - zb) = sum of a * b - za * sum of b - zb * (sum of a - K * za)
// in int32, which wraps. oneDNN adds up the products of codes; the rest is a bias for each column,
// and for each row too where za varies by row or zb is not 0. Unsigned b counts from 128.

#include <algorithm>
#include <new>

#include "calib/kernels/cpu/dynamic_range.h"
#include "calib/kernels/cpu/vector_math.h"
#include "calib/kernels/dnnl/int_product.h"
#include "calib/kernels/dnnl/kernels.h"
#include "calib/kernels/dnnl/multiversion.h"
#include "calib/kernels/dnnl/requantize.h"
#include "calib/kernels/dnnl/windows.h"

namespace onnxtool {
namespace {

// One value, or one for each row of a matrix or of all.
struct RowValues {
  const ConstView* view = nullptr;  // nullptr: 0
  int64_t rows_of_matrix = 1;

  int64_t index(int64_t row) const {
    return view->count == 1 ? 0 : view->count == rows_of_matrix ? row % rows_of_matrix : row;
  }
  bool varies() const { return view && view->count != 1; }
};
Result<RowValues> row_values(KernelContext& ctx, int i, std::string_view what, DataType type) {
  const ConstView& a = ctx.input(0);
  RowValues v{nullptr, a.rank() > 1 ? a.dims[a.dims.size() - 2] : 1};
  if (i < 0 || !ctx.has_input(i)) return v;
  v.view = &ctx.input(i);
  const int64_t rows = a.count / a.dims.back();
  if (v.view->dtype != type)
    return kernel_error(ErrorCode::kMismatch, std::string(what) + " has another element type");
  if (v.view->count != 1 && v.view->count != v.rows_of_matrix && v.view->count != rows)
    return kernel_error(ErrorCode::kMismatch, std::string(what) + " has dims " +
                                                  dims_text(v.view->dims) + ", a has " +
                                                  dims_text(a.dims));
  return v;
}

// The codes on the left with their parameters. Views of what was computed lie in scratch memory.
struct Left {
  ConstView codes;
  RowValues zero, scale;
};
Result<Left> quantized(KernelContext& ctx) {
  struct Computed {
    DynamicRange range;
    ConstView zero, scale;
    uint8_t zero_code;
  };
  const ConstView& a = ctx.input(0);
  ONNXTOOL_ASSIGN(void* scratch, ctx.scratch(sizeof(Computed)));
  ONNXTOOL_ASSIGN(void* memory, ctx.scratch(static_cast<size_t>(a.count)));
  auto* c =
      new (scratch) Computed{.range = dynamic_range(static_cast<const float*>(a.data), a.count)};
  c->zero_code = static_cast<uint8_t>(c->range.zero_point);
  c->zero = {.dtype = DataType::kUint8, .data = &c->zero_code, .count = 1};
  c->scale = {.dtype = DataType::kFloat, .data = &c->range.scale, .count = 1};
  auto* codes = static_cast<uint8_t*>(memory);
  ctx.parallel(a.count, 16 * 1024, [&](int64_t begin, int64_t end) {
    vector_math().quantize8(static_cast<const float*>(a.data) + begin,
                            {&c->range.scale, &c->range.zero_point, 0}, 0, 255, codes + begin,
                            end - begin);
  });
  Left left{.codes = a, .zero = {&c->zero}, .scale = {&c->scale}};
  left.codes.dtype = DataType::kUint8;
  left.codes.data = codes;
  return left;
}
Result<Left> left_of(KernelContext& ctx, const IntProductState& state) {
  if (is_dynamic(ctx.node())) return quantized(ctx);
  Left left{.codes = ctx.input(0), .zero = {}, .scale = {}};
  ONNXTOOL_ASSIGN(left.zero, row_values(ctx, state.at.a_zero, "a_zero_point", left.codes.dtype));
  ONNXTOOL_ASSIGN(left.scale, row_values(ctx, state.at.a_scale, "a_scale", DataType::kFloat));
  return left;
}

// Wraps, as all that it is used for does.
int32_t sum_of_codes(const ConstView& a, int64_t row, int64_t k) {
  uint32_t sum = 0;
  for (int64_t i = row * k; i < row * k + k; ++i) sum += static_cast<uint32_t>(code_at(a, i));
  return static_cast<int32_t>(sum);
}

// bias[j] - za * column_sums[j] - zb[j] * (sum of the row - K * za)
void bias_of_row(const IntProductState& s, int32_t a_zero, int32_t row_sum, int32_t* out) {
  const auto za = static_cast<uint32_t>(a_zero);
  const uint32_t rest = static_cast<uint32_t>(row_sum) - static_cast<uint32_t>(s.k) * za;
  for (size_t j = 0; j < s.column_sums.size(); ++j) {
    uint32_t b = static_cast<uint32_t>(s.bias[j]) - za * static_cast<uint32_t>(s.column_sums[j]);
    if (!s.b_zero_points.empty()) b -= static_cast<uint32_t>(s.b_zero_points[j]) * rest;
    out[j] = static_cast<int32_t>(b);
  }
}

ONNXTOOL_MULTIVERSION void add_bias(const int32_t* sums, const int32_t* bias, int64_t n,
                                    int32_t* y) {
  for (int64_t j = 0; j < n; ++j)
    y[j] = static_cast<int32_t>(static_cast<uint32_t>(sums[j]) + static_cast<uint32_t>(bias[j]));
}
ONNXTOOL_MULTIVERSION void scale_sums(const int32_t* sums, const int32_t* bias,
                                      const float* factors, int64_t n, float* y) {
  for (int64_t j = 0; j < n; ++j)
    y[j] = static_cast<float>(static_cast<int32_t>(static_cast<uint32_t>(sums[j]) +
                                                   static_cast<uint32_t>(bias[j]))) *
           factors[j];
}
ONNXTOOL_MULTIVERSION void scale_sums_by_row(const int32_t* sums, const int32_t* bias, float a,
                                             const float* b, const float* shift, int64_t n,
                                             float* y) {
  for (int64_t j = 0; j < n; ++j)
    y[j] = static_cast<float>(static_cast<int32_t>(static_cast<uint32_t>(sums[j]) +
                                                   static_cast<uint32_t>(bias[j]))) *
               (a * b[j]) +
           shift[j];
}

// What is done with a row of sums.
struct Finish {
  const IntProductState& state;
  RowValues a_scale;
  void* y;

  // Of the row's sums only those of `columns` are there; the bias is the whole row's.
  void row(const int32_t* sums, const int32_t* bias, int64_t row, const IndexRange& columns) const {
    const IntProductState& s = state;
    const int64_t first = columns.first, n = columns.count, at = row * s.n + first;
    bias += first;
    if (s.result == IntOutcome::kSums)
      return add_bias(sums, bias, n, static_cast<int32_t*>(y) + at);
    if (s.result == IntOutcome::kCodes) {
      const bool is_signed = s.y_type == DataType::kInt8;
      return requantize(sums, 1,
                        {.multipliers = s.factors.data() + first,
                         .bias = bias,
                         .channels = n,
                         .zero_point = s.y_zero_point,
                         .low = is_signed ? -128 : 0,
                         .high = is_signed ? 127 : 255},
                        static_cast<uint8_t*>(y) + at, n);
    }
    float* to = static_cast<float*>(y) + at;
    if (!s.factors.empty()) return scale_sums(sums, bias, s.factors.data() + first, n, to);
    const float a = static_cast<const float*>(a_scale.view->data)[a_scale.index(row)];
    scale_sums_by_row(sums, bias, a, s.b_scales.data() + first, s.float_bias.data() + first, n, to);
  }
};

DataType result_type(const IntProductState& s) {
  return s.result == IntOutcome::kSums     ? DataType::kInt32
         : s.result == IntOutcome::kFloats ? DataType::kFloat
                                           : s.y_type;
}

Status run(KernelContext& ctx) {
  const auto& state = static_cast<const IntProductState&>(*ctx.state());
  const ConstView& a = ctx.input(0);
  if (a.rank() < 1 || a.dims.back() != state.k ||
      (ctx.node().op_type() == "QGemm" && a.rank() != 2))
    return kernel_error(ErrorCode::kMismatch, "left side has dims " + dims_text(a.dims) +
                                                  ", right side [" + std::to_string(state.k) +
                                                  ", " + std::to_string(state.n) + "]");
  std::vector<int64_t> dims(a.dims.begin(), a.dims.end());
  dims.back() = state.n;
  ONNXTOOL_ASSIGN(const MutableView out, ctx.output(0, result_type(state), dims));
  const int64_t rows = a.count / state.k;
  if (rows == 0) return {};
  ONNXTOOL_ASSIGN(const Left left, left_of(ctx, state));
  ONNXTOOL_ASSIGN(const auto plan, int_product_plan(state, rows, ctx.node().threads()));
  const auto zero_at = [&](int64_t row) {
    return left.zero.view ? code_at(*left.zero.view, left.zero.index(row)) : 0;
  };
  const bool by_row = left.zero.varies() || !state.b_zero_points.empty();
  std::vector<int32_t> common(static_cast<size_t>(state.n));
  if (!by_row) bias_of_row(state, zero_at(0), 0, common.data());
  const Finish finish{state, left.scale, out.data};
  ConvolutionOperands operands{};
  operands.source = left.codes.data;
  return plan->run(
      ctx, operands, [&](const int32_t* sums, const IndexRange& pixels, const IndexRange& columns) {
        std::vector<int32_t> own(by_row ? static_cast<size_t>(state.n) : 0);
        for (int64_t i = 0; i < pixels.count; ++i) {
          const int64_t row = pixels.first + i;
          if (by_row)
            bias_of_row(state, zero_at(row), sum_of_codes(left.codes, row, state.k), own.data());
          finish.row(sums + i * columns.count, by_row ? own.data() : common.data(), row, columns);
        }
      });
}

constexpr std::initializer_list<DataType> kTypes = {DataType::kUint8, DataType::kInt8};

}  // namespace

constinit const KernelInfo kMatMulInteger{.op = "MatMulInteger",
                                          .since = 10,
                                          .types = kTypes,
                                          .prepare = prepare_int_product,
                                          .run = run,
                                          .accepts = accepts_int_product};
constinit const KernelInfo kQLinearMatMul{.op = "QLinearMatMul",
                                          .since = 10,
                                          .types = kTypes,
                                          .prepare = prepare_int_product,
                                          .run = run,
                                          .accepts = accepts_int_product};
constinit const KernelInfo kMatMulIntegerToFloat{.domain = "com.microsoft",
                                                 .op = "MatMulIntegerToFloat",
                                                 .types = kTypes,
                                                 .prepare = prepare_int_product,
                                                 .run = run,
                                                 .accepts = accepts_int_product};
constinit const KernelInfo kQGemm{.domain = "com.microsoft",
                                  .op = "QGemm",
                                  .types = kTypes,
                                  .prepare = prepare_int_product,
                                  .run = run,
                                  .accepts = accepts_int_product};

constinit const KernelInfo kDynamicQuantizeMatMul{.domain = "com.microsoft",
                                                  .op = "DynamicQuantizeMatMul",
                                                  .types = {DataType::kFloat},
                                                  .prepare = prepare_int_product,
                                                  .run = run,
                                                  .accepts = accepts_int_product};

}  // namespace onnxtool
