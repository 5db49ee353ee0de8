// Attention-23, 24: scaled dot-product attention over query, key and value of
// rank 4
// ([batch, heads, rows, size]) or 3 ([batch, rows, heads * size]).
//
// The causal border lies at key i + offset of query i: offset counts the keys
// before this call's queries (past_key's rows; nonpad_kv_seqlen - rows of the
// query; else 0), as onnx 1.23 words it for both versions. Half types are
// computed in float and rounded once.

#include <cmath>

#include "calib/kernels/cpu/attention_core.h"
#include "calib/kernels/cpu/convert.h"
#include "calib/kernels/cpu/float_io.h"

namespace onnxtool {
namespace {

enum Input : int { kQuery, kKey, kValue, kMask, kPastKey, kPastValue, kValidKeys };
enum Output : int { kResult, kPresentKey, kPresentValue, kScores };

struct AttentionState final : KernelState {
  const GemmIsa* isa;
};

template <const GemmIsa& (*kIsa)()>
Result<std::unique_ptr<KernelState>> prepare(const NodeView& node) {
  ONNXTOOL_TRY(require_inputs(node, {kQuery, kKey, kValue}));
  if (node.has_input(kPastKey) != node.has_input(kPastValue))
    return bad_model("past_key and past_value come together or not at all");
  if (node.has_input(kPastKey) && node.has_input(kValidKeys))
    return bad_model("past_key and nonpad_kv_seqlen exclude each other");
  const int64_t mode = node.attr_int("qk_matmul_output_mode", 0);
  if (mode < 0 || mode > 3)
    return bad_model("qk_matmul_output_mode is " + std::to_string(mode) + ", expected 0 to 3");
  auto state = std::make_unique<AttentionState>();
  state->isa = &kIsa();
  return {std::move(state)};
}

Result<HeadTensor> operand(const KernelContext& ctx, int i, std::string_view heads,
                           std::string_view what) {
  const ConstView& view = ctx.input(i);
  ONNXTOOL_ASSIGN(const HeadShape shape,
                  head_shape(view.dims, ctx.node().attr_int(heads, 0), what));
  return HeadTensor{view, shape};
}

Result<KeyWindow> key_window(const KernelContext& ctx, int64_t batches, int64_t queries) {
  KeyWindow window;
  if (ctx.node().attr_int("is_causal", 0) != 0) window.right = 0;
  if (ctx.has_input(kPastKey)) window.offsets = {ctx.input(kPastKey).dims[2]};
  if (!ctx.has_input(kValidKeys)) return window;
  ONNXTOOL_ASSIGN(window.valid, integer_values(ctx.input(kValidKeys), "nonpad_kv_seqlen"));
  if (static_cast<int64_t>(window.valid.size()) != batches)
    return mismatch("nonpad_kv_seqlen has " + std::to_string(window.valid.size()) +
                    " elements, expected one for each of " + std::to_string(batches) + " samples");
  for (int64_t& valid : window.valid) {
    valid = std::clamp<int64_t>(valid, 0, INT32_MAX);
    window.offsets.push_back(valid - queries);
  }
  return window;
}

// The type to compute in: double where anything is.
DataType compute_type(const KernelContext& ctx, const HeadTensor& q, const HeadTensor& v) {
  const auto softmax = ctx.node().attr_int("softmax_precision", 0);
  const bool wide = q.view.dtype == DataType::kDouble || v.view.dtype == DataType::kDouble ||
                    softmax == static_cast<int64_t>(DataType::kDouble);
  return wide ? DataType::kDouble : DataType::kFloat;
}

template <class T>
Status compute(KernelContext& ctx, const HeadTensor& q, const HeadTensor& k, const HeadTensor& v) {
  const NodeView& node = ctx.node();
  ONNXTOOL_ASSIGN(const ConstView q_wide, converted(ctx, q.view, dtype_of<T>));
  ONNXTOOL_ASSIGN(const ConstView k_wide, converted(ctx, k.view, dtype_of<T>));
  ONNXTOOL_ASSIGN(const ConstView v_wide, converted(ctx, v.view, dtype_of<T>));
  const HeadShape& s = q.shape;
  ONNXTOOL_ASSIGN(KeyWindow window, key_window(ctx, s.batches, s.rows));
  const Dims full{s.batches, s.heads, s.rows, k.shape.rows};
  ConstView mask;
  if (ctx.has_input(kMask)) {
    ONNXTOOL_ASSIGN(mask, as_bias(ctx, ctx.input(kMask), dtype_of<T>));
  }
  ONNXTOOL_ASSIGN(
      const MaskBias<T> bias,
      MaskBias<T>::make(std::move(window), ctx.has_input(kMask) ? &mask : nullptr, full));

  const bool packed = ctx.input(kQuery).rank() == 3;
  const Dims dims = packed ? Dims{s.batches, s.rows, s.heads * v.shape.size}
                           : Dims{s.batches, s.heads, s.rows, v.shape.size};
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(kResult, q.view.dtype, dims));
  ONNXTOOL_ASSIGN(const ComputedOutput<T> out, ComputedOutput<T>::make(ctx, y));
  AttentionProblem<T> problem;
  problem.q = s;
  problem.k = k.shape;
  problem.v = v.shape;
  problem.y = packed ? rows_first(s.batches, s.heads, s.rows, v.shape.size)
                     : heads_first(s.batches, s.heads, s.rows, v.shape.size);
  problem.q_data = static_cast<const T*>(q_wide.data);
  problem.k_data = static_cast<const T*>(k_wide.data);
  problem.v_data = static_cast<const T*>(v_wide.data);
  problem.y_data = out.data;
  problem.scale = node.has_attribute("scale")
                      ? static_cast<T>(node.attr_float("scale", 1))
                      : T{1} / std::sqrt(static_cast<T>(std::max<int64_t>(s.size, 1)));
  problem.softcap = static_cast<T>(node.attr_float("softcap", 0));
  problem.biases[0] = &bias;
  ComputedOutput<T> scores;
  if (ctx.wants_output(kScores)) {
    ONNXTOOL_ASSIGN(const MutableView view, ctx.output(kScores, q.view.dtype, full));
    ONNXTOOL_ASSIGN(scores, ComputedOutput<T>::make(ctx, view));
    problem.scores = scores.data;
    problem.stage = static_cast<ScoreStage>(node.attr_int("qk_matmul_output_mode", 0));
  }
  ONNXTOOL_TRY(attend(ctx, *static_cast<const AttentionState&>(*ctx.state()).isa, problem));
  out.store(ctx);
  if (problem.scores != nullptr) scores.store(ctx);
  return {};
}

Status run(KernelContext& ctx) {
  ONNXTOOL_ASSIGN(const HeadTensor q, operand(ctx, kQuery, "q_num_heads", "query"));
  ONNXTOOL_ASSIGN(HeadTensor k, operand(ctx, kKey, "kv_num_heads", "key"));
  ONNXTOOL_ASSIGN(HeadTensor v, operand(ctx, kValue, "kv_num_heads", "value"));
  const bool cached = ctx.has_input(kPastKey);
  if (cached || ctx.wants_output(kPresentKey)) {
    ONNXTOOL_ASSIGN(
        k, append_rows(ctx, cached ? &ctx.input(kPastKey) : nullptr, k, kPresentKey, "past_key"));
  }
  if (cached || ctx.wants_output(kPresentValue)) {
    ONNXTOOL_ASSIGN(v, append_rows(ctx, cached ? &ctx.input(kPastValue) : nullptr, v, kPresentValue,
                                   "past_value"));
  }
  ONNXTOOL_TRY(check_attention(q.shape, k.shape, v.shape));
  if (compute_type(ctx, q, v) == DataType::kDouble) return compute<double>(ctx, q, k, v);
  return compute<float>(ctx, q, k, v);
}

InputUse use(const NodeView&, int input) {
  return input == kValidKeys ? InputUse::kHost : InputUse::kData;
}

constexpr KernelInfo info(std::initializer_list<DataType> types,
                          Result<std::unique_ptr<KernelState>> (*prepare)(const NodeView&)) {
  return {.op = "Attention", .types = types, .prepare = prepare, .run = run, .use = use};
}

}  // namespace

constinit const KernelInfo kAttention = info(kFloatDataTypes, prepare<gemm_isa>);
constinit const KernelInfo kAttentionPortable = info(kFloatDataTypes, prepare<gemm_isa_portable>);

}  // namespace onnxtool
