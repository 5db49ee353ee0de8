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
#include "calib/kernels/dnnl/exact_sums.h"
#include "calib/kernels/dnnl/fusion.h"
#include "calib/kernels/dnnl/kernels.h"
#include "calib/kernels/dnnl/multiversion.h"
#include "calib/kernels/dnnl/requantize.h"
#include "calib/kernels/dnnl/rows.h"
#include "calib/kernels/dnnl/shape_cache.h"
#include "calib/kernels/dnnl/windows.h"
#include "libopt/ir/code_type.h"

namespace onnxtool {
namespace {

// Where an operator has its inputs; -1: it has none such.
struct Inputs {
  int a_scale = -1, a_zero = -1, b = -1, b_scale = -1, b_zero = -1, bias = -1, y_scale = -1,
      y_zero = -1;
};
Inputs inputs_of(const NodeView& node) {
  const std::string_view op = node.op_type();
  if (op == "MatMulInteger") return {.a_zero = 2, .b = 1, .b_zero = 3};
  if (op == "QLinearMatMul")
    return {
        .a_scale = 1, .a_zero = 2, .b = 3, .b_scale = 4, .b_zero = 5, .y_scale = 6, .y_zero = 7};
  if (op == "DynamicQuantizeMatMul") return {.b = 1, .b_scale = 2, .b_zero = 3, .bias = 4};
  if (op == "MatMulIntegerToFloat")
    return {.a_scale = 2, .a_zero = 4, .b = 1, .b_scale = 3, .b_zero = 5, .bias = 6};
  return {.a_scale = 1,
          .a_zero = 2,
          .b = 3,
          .b_scale = 4,
          .b_zero = 5,
          .bias = 6,
          .y_scale = 7,
          .y_zero = 8};
}

const ConstView* constant_at(const NodeView& node, int i) {
  return i >= 0 && node.has_input(i) ? node.constant(i) : nullptr;
}
// Absent, or a constant of this type with one element (or `also` many).
bool absent_or(const NodeView& node, int i, DataType type, int64_t also = 1) {
  if (i < 0 || !node.has_input(i)) return true;
  const ConstView* c = node.constant(i);
  return c && c->dtype == type && (c->count == 1 || c->count == also);
}

bool is_dynamic(const NodeView& node) { return node.op_type() == "DynamicQuantizeMatMul"; }
// Of the codes on the left.
DataType left_type(const NodeView& node) {
  return is_dynamic(node) ? DataType::kUint8 : node.input_dtype(0);
}

enum class Outcome : uint8_t { kSums, kFloats, kCodes };

struct IntProductState final : KernelState {
  Inputs at;
  Outcome result = Outcome::kSums;
  int64_t k = 0, n = 0;
  DnnlType source = DnnlType::u8;
  std::vector<int8_t> codes;             // of b: orders for signed sources cannot be made of others
  std::vector<int32_t> column_sums;      // of those
  std::vector<int32_t> b_zero_points;    // [n], of those; empty: all are 0
  std::vector<int32_t> bias;             // [n], of QGemm
  std::vector<float> b_scales, factors;  // [n]; factors make codes, or QGemm's floats
  std::vector<float> float_bias;         // [n], where a has scales of its own
  int32_t y_zero_point = 0;
  DataType y_type = DataType::kUint8;
  mutable WeightStore weights;  // touched under the cache's lock only
  mutable ShapeCache<ConvolutionPlan> plans;
};

ConvolutionProblem int_problem(int64_t rows, int64_t k, int64_t n, DnnlType source) {
  ConvolutionProblem p = rows_problem(rows, k, n);
  p.types = {.source = source, .weights = DnnlType::s8, .target = DnnlType::s32};
  return p;
}
DnnlType source_of(DataType type) { return type == DataType::kInt8 ? DnnlType::s8 : DnnlType::u8; }

struct Sides {
  int64_t k, n;
  bool transposed;
};
Sides sides_of(const NodeView& node, const ConstView& b) {
  const bool transposed = node.op_type() == "QGemm" && node.attr_int("transB", 0) != 0;
  return {b.dims[transposed ? 1 : 0], b.dims[transposed ? 0 : 1], transposed};
}

bool accepts(const NodeView& node) {
  const Inputs at = inputs_of(node);
  const ConstView* b = constant_at(node, at.b);
  if (!has_exact_int8() || !is_8bit(left_type(node)) || !b || b->rank() != 2 ||
      !is_8bit(b->dtype) || b->count == 0)
    return false;
  const bool gemm = node.op_type() == "QGemm";
  if (gemm && node.attr_int("transA", 0) != 0) return false;
  const Sides sides = sides_of(node, *b);
  if (!absent_or(node, at.b_zero, b->dtype, sides.n) ||
      !absent_or(node, at.b_scale, DataType::kFloat, sides.n))
    return false;
  // One column per value, never one row.
  if (const ConstView* bias = constant_at(node, at.bias); bias && bias->rank() > 1)
    if (bias->rank() > 2 || bias->dims[0] != 1) return false;
  if (!absent_or(node, at.bias, gemm ? DataType::kInt32 : DataType::kFloat, sides.n)) return false;
  // Of codes every parameter is constant and belongs to a whole tensor.
  if (gemm || node.op_type() == "QLinearMatMul") {
    const ConstView* zero = constant_at(node, at.y_zero);
    if (!absent_or(node, at.a_scale, DataType::kFloat) ||
        !absent_or(node, at.a_zero, node.input_dtype(0)) ||
        !absent_or(node, at.y_scale, DataType::kFloat) ||
        (node.has_input(at.y_zero) && (!zero || !is_8bit(zero->dtype) || zero->count != 1)))
      return false;
  }
  for (const int i : {at.a_scale, at.b_scale})
    if (i >= 0 && !node.has_input(i)) return false;
  if (node.op_type() == "QLinearMatMul" &&
      (!node.has_input(at.y_scale) || !node.has_input(at.y_zero)))
    return false;
  const DnnlType source = source_of(left_type(node));
  if (source == DnnlType::s8 && !sums_fit_float(*b, sides.n, !sides.transposed)) return false;
  return has_fast_convolution(int_problem(expected_rows(node), sides.k, sides.n, source));
}

template <class T>
std::vector<T> per_column(const ConstView& v, int64_t n) {
  std::vector<T> values(v.as<T>().begin(), v.as<T>().end());
  if (v.count == 1) values.assign(static_cast<size_t>(n), values[0]);
  return values;
}

// b as signed codes, with what follows from it for each column.
void read_b(const NodeView& node, const ConstView& b, const Sides& sides, IntProductState& state) {
  const int32_t shift = b.dtype == DataType::kUint8 ? 128 : 0;
  state.codes.resize(static_cast<size_t>(b.count));
  state.column_sums.assign(static_cast<size_t>(sides.n), 0);
  for (int64_t i = 0; i < b.count; ++i) {
    const int32_t code = code_at(b, i) - shift;
    state.codes[static_cast<size_t>(i)] = static_cast<int8_t>(code);
    int32_t& sum =
        state.column_sums[static_cast<size_t>(sides.transposed ? i / sides.k : i % sides.n)];
    sum = static_cast<int32_t>(static_cast<uint32_t>(sum) + static_cast<uint32_t>(code));
  }
  const ConstView* zero = constant_at(node, state.at.b_zero);
  for (int64_t i = 0; i < sides.n; ++i)
    state.b_zero_points.push_back((zero ? code_at(*zero, zero->count == 1 ? 0 : i) : 0) - shift);
  if (std::ranges::all_of(state.b_zero_points, [](int32_t z) { return z == 0; }))
    state.b_zero_points.clear();
}

void read_scales(const NodeView& node, IntProductState& state) {
  const Inputs& at = state.at;
  if (at.b_scale < 0) return;
  state.b_scales = per_column<float>(*node.constant(at.b_scale), state.n);
  const ConstView* bias = constant_at(node, at.bias);
  if (node.op_type() == "MatMulIntegerToFloat" || is_dynamic(node)) {
    state.result = Outcome::kFloats;
    state.float_bias.assign(static_cast<size_t>(state.n), 0.0f);
    if (bias) state.float_bias = per_column<float>(*bias, state.n);
    return;
  }
  if (bias) state.bias = per_column<int32_t>(*bias, state.n);
  const ConstView* y_scale = constant_at(node, at.y_scale);
  const float a = node.constant(at.a_scale)->as<float>()[0],
              y = y_scale ? y_scale->as<float>()[0] : 1.0f,
              alpha = node.op_type() == "QGemm" ? node.attr_float("alpha", 1) : 1.0f;
  for (const float b : state.b_scales) state.factors.push_back(alpha * a * b / y);
  state.result = y_scale ? Outcome::kCodes : Outcome::kFloats;
  state.y_type = node.input_dtype(0);
  if (const ConstView* zero = constant_at(node, at.y_zero)) {
    state.y_type = zero->dtype;
    state.y_zero_point = code_at(*zero, 0);
  }
}

Result<std::shared_ptr<const ConvolutionPlan>> plan_for(const IntProductState& state, int64_t rows,
                                                        int threads) {
  return state.plans.get({rows}, [&] {
    return ConvolutionPlan::make(int_problem(rows, state.k, state.n, state.source), false, {},
                                 threads, state.weights);
  });
}

Result<std::unique_ptr<KernelState>> prepare(const NodeView& node) {
  auto state = std::make_unique<IntProductState>();
  state->at = inputs_of(node);
  const ConstView& b = *node.constant(state->at.b);
  const Sides sides = sides_of(node, b);
  state->k = sides.k;
  state->n = sides.n;
  state->source = source_of(left_type(node));
  state->bias.assign(static_cast<size_t>(sides.n), 0);
  read_b(node, b, sides, *state);
  read_scales(node, *state);
  state->weights.set_original(rows_weights(sides.k, sides.n, sides.transposed, DnnlType::s8),
                              state->codes.data());
  ONNXTOOL_ASSIGN(const auto made, plan_for(*state, expected_rows(node), node.threads()));
  node.drop_constant(state->at.b);
  return {std::move(state)};
}

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
    if (s.result == Outcome::kSums) return add_bias(sums, bias, n, static_cast<int32_t*>(y) + at);
    if (s.result == Outcome::kCodes) {
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
  return s.result == Outcome::kSums     ? DataType::kInt32
         : s.result == Outcome::kFloats ? DataType::kFloat
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
  ONNXTOOL_ASSIGN(const auto plan, plan_for(state, rows, ctx.node().threads()));
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
                                          .prepare = prepare,
                                          .run = run,
                                          .accepts = accepts};
constinit const KernelInfo kQLinearMatMul{.op = "QLinearMatMul",
                                          .since = 10,
                                          .types = kTypes,
                                          .prepare = prepare,
                                          .run = run,
                                          .accepts = accepts};
constinit const KernelInfo kMatMulIntegerToFloat{.domain = "com.microsoft",
                                                 .op = "MatMulIntegerToFloat",
                                                 .types = kTypes,
                                                 .prepare = prepare,
                                                 .run = run,
                                                 .accepts = accepts};
constinit const KernelInfo kQGemm{.domain = "com.microsoft",
                                  .op = "QGemm",
                                  .types = kTypes,
                                  .prepare = prepare,
                                  .run = run,
                                  .accepts = accepts};

constinit const KernelInfo kDynamicQuantizeMatMul{.domain = "com.microsoft",
                                                  .op = "DynamicQuantizeMatMul",
                                                  .types = {DataType::kFloat},
                                                  .prepare = prepare,
                                                  .run = run,
                                                  .accepts = accepts};

}  // namespace onnxtool
