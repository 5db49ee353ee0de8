// LinearAttention-27: attention as a recurrence over a state S of [key size, value size] per head.
//   S = exp(g_t) * S ("gated" rules);  u = v_t, or beta_t * (v_t - S^T k_t) ("delta" rules);
//   S = S + k_t u^T;  o_t = scale * q_t^T S
// Computed in float. One task owns a head of keys, so that the result does not depend on threads.

#include <cmath>

#include "calib/kernels/cpu/attention_core.h"
#include "calib/kernels/cpu/convert.h"
#include "calib/kernels/cpu/float_io.h"

namespace onnxtool {
namespace {

enum Input : int { kQuery, kKey, kValue, kPast, kDecay, kBeta };

struct LinearAttentionState final : KernelState {
  int64_t heads, kv_heads;
  bool gated, delta;
};

Result<std::unique_ptr<KernelState>> prepare(const NodeView& node) {
  ONNXTOOL_TRY(require_inputs(node, {kQuery, kKey, kValue}));
  auto state = std::make_unique<LinearAttentionState>();
  const std::string_view rule = node.attr_string("update_rule", "gated_delta");
  state->gated = rule == "gated" || rule == "gated_delta";
  state->delta = rule == "delta" || rule == "gated_delta";
  if (!state->gated && !state->delta && rule != "linear")
    return bad_model("update_rule is '" + std::string(rule) +
                     "', expected linear, gated, delta or gated_delta");
  if (node.has_input(kDecay) != state->gated)
    return bad_model("input decay belongs to the gated update rules, and is " +
                     std::string(state->gated ? "absent" : "given"));
  if (node.has_input(kBeta) != state->delta)
    return bad_model("input beta belongs to the delta update rules, and is " +
                     std::string(state->delta ? "absent" : "given"));
  state->heads = node.attr_int("q_num_heads", 0);
  state->kv_heads = node.attr_int("kv_num_heads", 0);
  if (state->kv_heads < 1 || state->heads < 1 || state->heads % state->kv_heads != 0)
    return bad_model("q_num_heads is " + std::to_string(state->heads) +
                     ", expected a multiple of kv_num_heads, " + std::to_string(state->kv_heads));
  return {std::move(state)};
}

// All inputs as floats, [batch, row, head * size].
struct Problem {
  HeadShape q, k, v;
  const float *q_data, *k_data, *v_data;
  const float* decay = nullptr;  // decay_size values per head: 1 or the key size
  int64_t decay_size = 0;
  const float* beta = nullptr;  // beta_heads values per row: 1 or the heads of keys
  int64_t beta_heads = 0;
  float scale = 1;
  float* state = nullptr;  // [batch, head, key size, value size]
  float* y = nullptr;
};

Result<const float*> floats(KernelContext& ctx, int i) {
  ONNXTOOL_ASSIGN(const ConstView view, converted(ctx, ctx.input(i), DataType::kFloat));
  return static_cast<const float*>(view.data);
}

// The last extent of decay or beta, which is one of two.
Result<int64_t> parameter_extent(const KernelContext& ctx, int i, const HeadShape& k, int64_t one,
                                 int64_t other, std::string_view what) {
  const std::span<const int64_t> dims = ctx.input(i).dims;
  if (dims.size() == 3 && dims[0] == k.batches && dims[1] == k.rows &&
      (dims[2] == one || dims[2] == other))
    return dims[2];
  return mismatch(std::string(what) + " has shape " + format_dims(dims) + ", expected [" +
                  std::to_string(k.batches) + ", " + std::to_string(k.rows) + ", " +
                  std::to_string(one) + " or " + std::to_string(other) + "]");
}

Status read_parameters(KernelContext& ctx, Problem& p) {
  if (ctx.has_input(kDecay)) {
    ONNXTOOL_ASSIGN(const int64_t extent,
                    parameter_extent(ctx, kDecay, p.k, p.k.heads, p.k.heads * p.k.size, "decay"));
    p.decay_size = extent / p.k.heads;
    ONNXTOOL_ASSIGN(p.decay, floats(ctx, kDecay));
  }
  if (ctx.has_input(kBeta)) {
    ONNXTOOL_ASSIGN(p.beta_heads, parameter_extent(ctx, kBeta, p.k, p.k.heads, 1, "beta"));
    ONNXTOOL_ASSIGN(p.beta, floats(ctx, kBeta));
  }
  return {};
}

// One step of one head; `update` has room for a value.
void step(const Problem& p, int64_t batch, int64_t head, int64_t t, float* state, float* update) {
  const int64_t keys = p.k.size, values = p.v.size, row = batch * p.k.rows + t;
  const float* k = p.k_data + p.k.offset(batch, head) + t * p.k.row_stride;
  const float* v = p.v_data + p.v.offset(batch, head) + t * p.v.row_stride;
  if (p.decay != nullptr) {
    const float* decay = p.decay + (row * p.k.heads + head) * p.decay_size;
    for (int64_t i = 0; i < keys; ++i) {
      const float factor = std::exp(decay[p.decay_size == 1 ? 0 : i]);
      for (int64_t j = 0; j < values; ++j) state[i * values + j] *= factor;
    }
  }
  std::copy_n(v, values, update);
  if (p.beta != nullptr) {
    for (int64_t i = 0; i < keys; ++i)
      for (int64_t j = 0; j < values; ++j) update[j] -= k[i] * state[i * values + j];
    const float beta = p.beta[row * p.beta_heads + (p.beta_heads == 1 ? 0 : head)];
    for (int64_t j = 0; j < values; ++j) update[j] *= beta;
  }
  for (int64_t i = 0; i < keys; ++i)
    for (int64_t j = 0; j < values; ++j) state[i * values + j] += k[i] * update[j];

  const int64_t group = p.q.heads / p.k.heads;
  for (int64_t h = head * group; h < (head + 1) * group; ++h) {
    const float* q = p.q_data + p.q.offset(batch, h) + t * p.q.row_stride;
    float* y = p.y + (row * p.q.heads + h) * values;
    std::fill_n(y, values, 0.0f);
    for (int64_t i = 0; i < keys; ++i)
      for (int64_t j = 0; j < values; ++j) y[j] += q[i] * state[i * values + j];
    for (int64_t j = 0; j < values; ++j) y[j] *= p.scale;
  }
}

void recur(KernelContext& ctx, const Problem& p) {
  const int64_t size = p.k.size * p.v.size;
  ctx.parallel(p.k.batches * p.k.heads, grain_of(4 * size * p.k.rows),
               [&](int64_t begin, int64_t end) {
                 std::vector<float> update(static_cast<size_t>(p.v.size));
                 for (int64_t i = begin; i < end; ++i)
                   for (int64_t t = 0; t < p.k.rows; ++t)
                     step(p, i / p.k.heads, i % p.k.heads, t, p.state + i * size, update.data());
               });
}

Status run(KernelContext& ctx) {
  const auto& state = static_cast<const LinearAttentionState&>(*ctx.state());
  const DataType type = ctx.input(kQuery).dtype;
  for (const int i : {kQuery, kKey, kValue})
    if (ctx.input(i).rank() != 3)
      return mismatch("input " + std::to_string(i) + " has shape " +
                      format_dims(ctx.input(i).dims) + ", expected rank 3");
  Problem p{};
  ONNXTOOL_ASSIGN(p.q, head_shape(ctx.input(kQuery).dims, state.heads, "query"));
  ONNXTOOL_ASSIGN(p.k, head_shape(ctx.input(kKey).dims, state.kv_heads, "key"));
  ONNXTOOL_ASSIGN(p.v, head_shape(ctx.input(kValue).dims, state.kv_heads, "value"));
  ONNXTOOL_TRY(check_attention(p.q, p.k, p.v));
  if (p.q.rows != p.k.rows)
    return mismatch("query has " + std::to_string(p.q.rows) + " rows but key has " +
                    std::to_string(p.k.rows));
  ONNXTOOL_ASSIGN(p.q_data, floats(ctx, kQuery));
  ONNXTOOL_ASSIGN(p.k_data, floats(ctx, kKey));
  ONNXTOOL_ASSIGN(p.v_data, floats(ctx, kValue));
  ONNXTOOL_TRY(read_parameters(ctx, p));
  p.scale = scale_or_default(ctx.node(), p.k.size);

  const Dims state_dims{p.k.batches, p.k.heads, p.k.size, p.v.size};
  const ConstView* past = ctx.has_input(kPast) ? &ctx.input(kPast) : nullptr;
  if (past != nullptr && !std::ranges::equal(past->dims, state_dims))
    return mismatch("past_state has shape " + format_dims(past->dims) + ", expected " +
                    format_dims(state_dims));
  if (past != nullptr && !is_float(past->dtype)) return unsupported_type(past->dtype, "past_state");
  const Dims y_dims{p.q.batches, p.q.rows, p.q.heads * p.v.size};
  ONNXTOOL_ASSIGN(const WideOutput y, WideOutput::make(ctx, 0, type, y_dims));
  const auto state_count = checked_product(state_dims);
  if (!state_count) return mismatch("the state " + format_dims(state_dims) + " is too large");
  ONNXTOOL_ASSIGN(void* state_data, ctx.scratch(static_cast<size_t>(*state_count) * sizeof(float)));
  p.y = y.data<float>();
  p.state = static_cast<float*>(state_data);
  if (past != nullptr)
    convert_elements(past->dtype, past->data, DataType::kFloat, p.state, 0, past->count);
  else
    std::fill_n(p.state, *state_count, 0.0f);
  if (y.count() > 0 || *state_count > 0) recur(ctx, p);
  y.finish(ctx);
  if (!ctx.wants_output(1)) return {};
  ONNXTOOL_ASSIGN(const MutableView present,
                  ctx.output(1, past != nullptr ? past->dtype : type, state_dims));
  convert_elements(DataType::kFloat, p.state, present.dtype, present.data, 0, present.count);
  return {};
}

}  // namespace

constinit const KernelInfo kLinearAttention{
    .op = "LinearAttention",
    .types = {DataType::kFloat, DataType::kFloat16, DataType::kBfloat16},
    .prepare = prepare,
    .run = run};

}  // namespace onnxtool
