// com.microsoft.MultiHeadAttention-1: attention over projected query, key and value.
//   query [batch, rows, heads * size], or with key and value packed [batch, rows, heads, 3, size]
//   key, value [batch, keys, heads * size], [batch, heads, keys, size], or packed in key
//   [batch, keys, heads, 2, size]; past_key and past_value come before them, and present_key and
//   present_value are both together. bias is added to query, key and value, in this order; to key
//   and value with the heads first, which are another layer's, it is not (onnxruntime 1.31).
// Computed in float; half types are rounded once.

#include <cmath>

#include "calib/kernels/cpu/convert.h"
#include "calib/kernels/cpu/float_io.h"
#include "calib/kernels/cpu/key_padding.h"

namespace onnxtool {
namespace {

enum Input : int {
  kQuery,
  kKey,
  kValue,
  kBias,
  kPadding,
  kAddedBias,
  kPastKey,
  kPastValue,
  kPastLength,
  kBeams
};
enum Output : int { kResult, kPresentKey, kPresentValue, kScores };

struct HeadsState final : KernelState {
  const GemmIsa* isa;
  int64_t heads;
};

template <const GemmIsa& (*kIsa)()>
Result<std::unique_ptr<KernelState>> prepare(const NodeView& node) {
  ONNXTOOL_TRY(require_inputs(node, {kQuery}));
  auto state = std::make_unique<HeadsState>();
  state->isa = &kIsa();
  state->heads = node.attr_int("num_heads", 0);
  if (state->heads < 1)
    return bad_model("num_heads is " + std::to_string(state->heads) + ", expected at least 1");
  if (node.has_input(kPastKey) != node.has_input(kPastValue))
    return bad_model("past_key and past_value come together or not at all");
  for (const int i : {kPastLength, kBeams})
    if (node.has_input(i))
      return kernel_error(ErrorCode::kUnsupported,
                          "input " + std::to_string(i) + " is not supported");
  return {std::move(state)};
}

// Part `part` of `parts` that lie side by side in [batch, rows, heads, parts, size].
Result<HeadTensor> packed_part(const ConstView& view, int64_t part, int64_t parts, int64_t heads) {
  const std::span<const int64_t> d = view.dims;
  if (d.size() != 5 || d[2] != heads || d[3] != parts)
    return mismatch("a packed input has shape " + format_dims(d) + ", expected [batch, rows, " +
                    std::to_string(heads) + ", " + std::to_string(parts) + ", size]");
  HeadTensor t{view, rows_first(d[0], heads, d[1], d[4])};
  t.shape.head_stride = parts * d[4];
  t.shape.row_stride = heads * parts * d[4];
  t.shape.batch_stride = d[1] * t.shape.row_stride;
  if (view.count > 0) t.view.data = static_cast<const float*>(view.data) + part * d[4];
  return t;
}

struct Operands {
  HeadTensor q, k, v;
};

Result<HeadTensor> operand(KernelContext& ctx, int i, int64_t heads, std::string_view what) {
  ONNXTOOL_ASSIGN(const ConstView view, converted(ctx, ctx.input(i), DataType::kFloat));
  ONNXTOOL_ASSIGN(const HeadShape shape, head_shape(view.dims, heads, what));
  return HeadTensor{view, shape};
}

Result<Operands> read_operands(KernelContext& ctx, int64_t heads) {
  Operands o;
  if (!ctx.has_input(kKey)) {
    ONNXTOOL_ASSIGN(const ConstView all, converted(ctx, ctx.input(kQuery), DataType::kFloat));
    ONNXTOOL_ASSIGN(o.q, packed_part(all, 0, 3, heads));
    ONNXTOOL_ASSIGN(o.k, packed_part(all, 1, 3, heads));
    ONNXTOOL_ASSIGN(o.v, packed_part(all, 2, 3, heads));
    return o;
  }
  if (ctx.input(kQuery).rank() != 3)
    return mismatch("query has shape " + format_dims(ctx.input(kQuery).dims) + ", expected rank 3");
  ONNXTOOL_ASSIGN(o.q, operand(ctx, kQuery, heads, "query"));
  if (!ctx.has_input(kValue)) {
    ONNXTOOL_ASSIGN(const ConstView both, converted(ctx, ctx.input(kKey), DataType::kFloat));
    ONNXTOOL_ASSIGN(o.k, packed_part(both, 0, 2, heads));
    ONNXTOOL_ASSIGN(o.v, packed_part(both, 1, 2, heads));
    return o;
  }
  ONNXTOOL_ASSIGN(o.k, operand(ctx, kKey, heads, "key"));
  ONNXTOOL_ASSIGN(o.v, operand(ctx, kValue, heads, "value"));
  return o;
}

struct AddBias {
  const float* x;
  HeadShape shape;
  const float* bias;
  float* y;  // rows first
  struct Row {
    const float *x, *bias;
    float* y;
    ONNXTOOL_HD void operator()(int64_t i) const { y[i] = x[i] + bias[i]; }
  };
  ONNXTOOL_HD Row row(int64_t i) const {
    const int64_t head = i % shape.heads, row = i / shape.heads % shape.rows,
                  batch = i / shape.heads / shape.rows;
    return {x + shape.offset(batch, head) + row * shape.row_stride, bias + head * shape.size,
            y + i * shape.size};
  }
};

// The tensor plus bias[first + head * size + i], rows first, in scratch.
Result<HeadTensor> biased(KernelContext& ctx, const HeadTensor& x, const float* bias) {
  const HeadShape& s = x.shape;
  const Dims dims{s.batches, s.rows, s.heads, s.size};
  const auto count = checked_product(dims);
  if (!count) return kernel_error(ErrorCode::kLimit, "an operand is too large");
  ONNXTOOL_ASSIGN(void* buffer, ctx.scratch(static_cast<size_t>(*count) * sizeof(float)));
  auto* out = static_cast<float*>(buffer);
  HeadTensor y{x.view, rows_first(s.batches, s.heads, s.rows, s.size)};
  y.view.data = out;
  y.view.count = *count;
  if (*count == 0) return y;
  for_each_cell(ctx, s.batches * s.rows * s.heads, s.size,
                AddBias{static_cast<const float*>(x.view.data), s, bias, out});
  return y;
}

Status add_bias(KernelContext& ctx, Operands& o) {
  if (!ctx.has_input(kBias)) return {};
  ONNXTOOL_ASSIGN(const ConstView view, converted(ctx, ctx.input(kBias), DataType::kFloat));
  const int64_t q = o.q.shape.heads * o.q.shape.size, k = o.k.shape.heads * o.k.shape.size,
                v = o.v.shape.heads * o.v.shape.size;
  if (view.count != q + k + v)
    return mismatch("bias has shape " + format_dims(view.dims) + ", expected [" +
                    std::to_string(q + k + v) + "]");
  const auto* bias = static_cast<const float*>(view.data);
  ONNXTOOL_ASSIGN(o.q, biased(ctx, o.q, bias));
  if (ctx.has_input(kKey) && ctx.input(kKey).rank() == 4) return {};
  ONNXTOOL_ASSIGN(o.k, biased(ctx, o.k, bias + q));
  ONNXTOOL_ASSIGN(o.v, biased(ctx, o.v, bias + q + k));
  return {};
}

// Rows of the cache and of `now`, in float; the present output has the model's type.
Result<HeadTensor> with_past(KernelContext& ctx, int past, const HeadTensor& now, int output) {
  const bool cached = ctx.has_input(past);
  if (!cached && !ctx.wants_output(output)) return now;
  ConstView before;
  if (cached) {
    ONNXTOOL_ASSIGN(before, converted(ctx, ctx.input(past), DataType::kFloat));
  }
  const DataType type = ctx.input(kQuery).dtype;
  const bool direct = type == DataType::kFloat;
  ONNXTOOL_ASSIGN(const HeadTensor all, append_rows(ctx, cached ? &before : nullptr, now,
                                                    direct ? output : -1, "the past"));
  if (direct || !ctx.wants_output(output)) return all;
  const HeadShape& s = all.shape;
  ONNXTOOL_ASSIGN(const MutableView present,
                  ctx.output(output, type, Dims{s.batches, s.heads, s.rows, s.size}));
  convert_into(ctx, DataType::kFloat, all.view.data, present);
  return all;
}

Status run(KernelContext& ctx) {
  const auto& state = static_cast<const HeadsState&>(*ctx.state());
  const DataType type = ctx.input(kQuery).dtype;
  ONNXTOOL_ASSIGN(Operands o, read_operands(ctx, state.heads));
  ONNXTOOL_TRY(add_bias(ctx, o));
  ONNXTOOL_ASSIGN(o.k, with_past(ctx, kPastKey, o.k, kPresentKey));
  ONNXTOOL_ASSIGN(o.v, with_past(ctx, kPastValue, o.v, kPresentValue));
  ONNXTOOL_TRY(check_attention(o.q.shape, o.k.shape, o.v.shape));
  const HeadShape& s = o.q.shape;
  KeyWindow window;
  if (ctx.node().attr_int("unidirectional", 0) != 0) {
    window.right = 0;
    window.offsets = {o.k.shape.rows - s.rows};
  }
  ONNXTOOL_ASSIGN(const TwoBiases biases,
                  read_biases(ctx, window, kPadding, kAddedBias, s, o.k.shape.rows));
  const int64_t value_size = o.v.shape.size;
  ONNXTOOL_ASSIGN(
      const WideOutput y,
      WideOutput::make(ctx, kResult, type, Dims{s.batches, s.rows, s.heads * value_size}));
  AttentionProblem<float> problem;
  problem.q = s;
  problem.k = o.k.shape;
  problem.v = o.v.shape;
  problem.y = rows_first(s.batches, s.heads, s.rows, value_size);
  problem.q_data = static_cast<const float*>(o.q.view.data);
  problem.k_data = static_cast<const float*>(o.k.view.data);
  problem.v_data = static_cast<const float*>(o.v.view.data);
  problem.y_data = y.data<float>();
  problem.scale = scale_or_default(ctx.node(), s.size);
  problem.biases = {&biases.first, &biases.second};
  // Only the added bias can hide every key from a query, padding and order cannot.
  problem.blind_gives_nan = true;
  ComputedOutput<float> scores;
  if (ctx.wants_output(kScores)) {
    ONNXTOOL_ASSIGN(const MutableView view,
                    ctx.output(kScores, type, Dims{s.batches, s.heads, s.rows, o.k.shape.rows}));
    ONNXTOOL_ASSIGN(scores, ComputedOutput<float>::make(ctx, view));
    problem.scores = scores.data;
  }
  ONNXTOOL_TRY(attend(ctx, *state.isa, problem));
  y.finish(ctx);
  if (problem.scores != nullptr) scores.store(ctx);
  return {};
}

constexpr std::initializer_list<DataType> kTypes = {DataType::kFloat, DataType::kFloat16,
                                                    DataType::kBfloat16};

constexpr KernelInfo info(std::initializer_list<DataType> types,
                          Result<std::unique_ptr<KernelState>> (*prepare)(const NodeView&)) {
  return {.domain = "com.microsoft",
          .op = "MultiHeadAttention",
          .types = types,
          .prepare = prepare,
          .run = run};
}

}  // namespace

constinit const KernelInfo kMultiHeadAttention = info(kTypes, prepare<gemm_isa>);
constinit const KernelInfo kMultiHeadAttentionPortable = info(kTypes, prepare<gemm_isa_portable>);

}  // namespace onnxtool
