#include "calib/kernels/dnnl/int_product.h"

#include <algorithm>

#include "calib/kernels/dnnl/exact_sums.h"
#include "calib/kernels/dnnl/requantize.h"
#include "libopt/ir/code_type.h"

namespace onnxtool {
namespace {

const ConstView* constant_at(const NodeView& node, int i) {
  return i >= 0 && node.has_input(i) ? node.constant(i) : nullptr;
}
// Absent, or a constant of this type with one element (or `also` many).
bool absent_or(const NodeView& node, int i, DataType type, int64_t also = 1) {
  if (i < 0 || !node.has_input(i)) return true;
  const ConstView* c = node.constant(i);
  return c && c->dtype == type && (c->count == 1 || c->count == also);
}

// Of the codes on the left.
DataType left_type(const NodeView& node) {
  return is_dynamic(node) ? DataType::kUint8 : node.input_dtype(0);
}

ConvolutionProblem int_problem(int64_t rows, int64_t k, int64_t n, DnnlType source) {
  ConvolutionProblem p = rows_problem(rows, k, n);
  p.types = {.source = source, .weights = DnnlType::s8, .target = DnnlType::s32};
  return p;
}
DnnlType source_of(DataType type) { return type == DataType::kInt8 ? DnnlType::s8 : DnnlType::u8; }

ProductSides sides_of(const NodeView& node, const ConstView& b) {
  const bool transposed = node.op_type() == "QGemm" && node.attr_int("transB", 0) != 0;
  return {b.dims[transposed ? 1 : 0], b.dims[transposed ? 0 : 1], transposed};
}

template <class T>
std::vector<T> per_column(const ConstView& v, int64_t n) {
  std::vector<T> values(v.as<T>().begin(), v.as<T>().end());
  if (v.count == 1) values.assign(static_cast<size_t>(n), values[0]);
  return values;
}

// b as signed codes, with what follows from it for each column.
void read_b(const NodeView& node, const ConstView& b, const ProductSides& sides,
            IntProductState& state) {
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
  const IntProductInputs& at = state.at;
  if (at.b_scale < 0) return;
  state.b_scales = per_column<float>(*node.constant(at.b_scale), state.n);
  const ConstView* bias = constant_at(node, at.bias);
  if (node.op_type() == "MatMulIntegerToFloat" || is_dynamic(node)) {
    state.result = IntOutcome::kFloats;
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
  state.result = y_scale ? IntOutcome::kCodes : IntOutcome::kFloats;
  state.y_type = node.input_dtype(0);
  if (const ConstView* zero = constant_at(node, at.y_zero)) {
    state.y_type = zero->dtype;
    state.y_zero_point = code_at(*zero, 0);
  }
}

}  // namespace

bool accepts_int_product(const NodeView& node) {
  const IntProductInputs at = int_product_inputs(node.op_type());
  const ConstView* b = constant_at(node, at.b);
  if (!has_exact_int8() || !is_8bit(left_type(node)) || !b || b->rank() != 2 ||
      !is_8bit(b->dtype) || b->count == 0)
    return false;
  const bool gemm = node.op_type() == "QGemm";
  if (gemm && node.attr_int("transA", 0) != 0) return false;
  const ProductSides sides = sides_of(node, *b);
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

Result<std::shared_ptr<const ConvolutionPlan>> int_product_plan(const IntProductState& state,
                                                                int64_t rows, int threads) {
  return state.plans.get({rows}, [&] {
    return ConvolutionPlan::make(int_problem(rows, state.k, state.n, state.source), false, {},
                                 threads, state.weights);
  });
}

Result<std::unique_ptr<KernelState>> prepare_int_product(const NodeView& node) {
  auto state = std::make_unique<IntProductState>();
  state->at = int_product_inputs(node.op_type());
  const ConstView& b = *node.constant(state->at.b);
  const ProductSides sides = sides_of(node, b);
  state->k = sides.k;
  state->n = sides.n;
  state->source = source_of(left_type(node));
  state->bias.assign(static_cast<size_t>(sides.n), 0);
  read_b(node, b, sides, *state);
  read_scales(node, *state);
  state->weights.set_original(rows_weights(sides.k, sides.n, sides.transposed, DnnlType::s8),
                              state->codes.data());
  ONNXTOOL_ASSIGN(const auto made, int_product_plan(*state, expected_rows(node), node.threads()));
  node.drop_constant(state->at.b);
  return {std::move(state)};
}

}  // namespace onnxtool
