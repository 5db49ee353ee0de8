// com.microsoft.Attention-1: input [batch, rows, in] is projected by weights [in, q + k + v] and
// bias to query, key and value of `num_heads` heads, which attend. past and present hold keys and
// values, [2, batch, heads, rows, size]. Computed in float; half types are rounded once.

#include <cmath>

#include "calib/kernels/cpu/convert.h"
#include "calib/kernels/cpu/float_io.h"
#include "calib/kernels/cpu/key_padding.h"

namespace onnxtool {
namespace {

enum Input : int { kX, kWeights, kBias, kPadding, kPast, kAddedBias, kPastLength };
enum Output : int { kResult, kPresent };

struct PackedState final : KernelState {
  const GemmIsa* isa;
  int64_t heads;
  Dims hidden;  // sizes of q, k and v; empty: a third of the weights each
};

template <const GemmIsa& (*kIsa)()>
Result<std::unique_ptr<KernelState>> prepare(const NodeView& node) {
  ONNXTOOL_TRY(require_inputs(node, {kX, kWeights}));
  auto state = std::make_unique<PackedState>();
  state->isa = &kIsa();
  state->heads = node.attr_int("num_heads", 0);
  state->hidden = to_dims(node.attr_ints("qkv_hidden_sizes"));
  const auto fits = [&](int64_t size) {
    return size > 0 && size <= INT32_MAX && size % state->heads == 0;
  };
  if (state->heads < 1 || (!state->hidden.empty() && (state->hidden.size() != 3 ||
                                                      !std::ranges::all_of(state->hidden, fits))))
    return bad_model("num_heads and qkv_hidden_sizes are " + std::to_string(state->heads) +
                     " and " + format_dims(state->hidden) +
                     ", expected at least 1 and three multiples of it");
  if (node.has_input(kPastLength) || node.attr_int("past_present_share_buffer", 0) != 0)
    return kernel_error(ErrorCode::kUnsupported, "a shared past buffer is not supported");
  if (node.attr_int("do_rotary", 0) != 0)
    return kernel_error(ErrorCode::kUnsupported, "do_rotary is not supported");
  return {std::move(state)};
}

Result<Dims> hidden_sizes(const KernelContext& ctx, const PackedState& state) {
  const std::span<const int64_t> x = ctx.input(kX).dims, w = ctx.input(kWeights).dims;
  if (x.size() != 3 || w.size() != 2 || w[0] != x[2])
    return mismatch("input and weights have shapes " + format_dims(x) + " and " + format_dims(w) +
                    ", expected [batch, rows, in] and [in, out]");
  const Dims sizes = state.hidden.empty() ? Dims(3, w[1] / 3) : state.hidden;
  if (sizes[0] + sizes[1] + sizes[2] != w[1] || sizes[0] % state.heads != 0)
    return mismatch("weights have shape " + format_dims(w) + ", which does not divide into " +
                    std::to_string(state.heads) + " heads of query, key and value");
  if (ctx.has_input(kBias) && ctx.input(kBias).count != w[1])
    return mismatch("bias has shape " + format_dims(ctx.input(kBias).dims) + ", expected [" +
                    std::to_string(w[1]) + "]");
  return sizes;
}

// x * weights + bias: [batch, rows, q + k + v].
Result<float*> project(KernelContext& ctx, const GemmIsa& isa) {
  ONNXTOOL_ASSIGN(const ConstView x, converted(ctx, ctx.input(kX), DataType::kFloat));
  ONNXTOOL_ASSIGN(const ConstView w, converted(ctx, ctx.input(kWeights), DataType::kFloat));
  const float* bias = nullptr;
  if (ctx.has_input(kBias)) {
    ONNXTOOL_ASSIGN(const ConstView view, converted(ctx, ctx.input(kBias), DataType::kFloat));
    bias = static_cast<const float*>(view.data);
  }
  const int64_t k = x.dims[2], n = w.dims[1];
  const auto count = checked_product(Dims{x.dims[0], x.dims[1], n, int64_t{sizeof(float)}});
  if (!count) return kernel_error(ErrorCode::kLimit, "the projection is too large");
  ONNXTOOL_ASSIGN(void* buffer, ctx.scratch(static_cast<size_t>(*count)));
  auto* y = static_cast<float*>(buffer);
  if (*count == 0) return y;
  ONNXTOOL_TRY(project_rows(ctx, isa, static_cast<const float*>(x.data),
                            static_cast<const float*>(w.data), bias, x.dims[0] * x.dims[1], n, k,
                            y));
  return y;
}

// Keys (`part` 0) or values (1) behind those of the past; `present` has room for both or is
// nullptr.
Result<HeadTensor> with_past(KernelContext& ctx, const HeadTensor& now, int64_t part,
                             float* present) {
  if (!ctx.has_input(kPast) && present == nullptr) return now;
  ConstView before;
  Dims before_dims;
  if (ctx.has_input(kPast)) {
    ONNXTOOL_ASSIGN(before, converted(ctx, ctx.input(kPast), DataType::kFloat));
    before_dims = Dims(before.dims.begin() + 1, before.dims.end());
    before.count /= 2;
    if (before.count > 0)
      before.data = static_cast<const float*>(before.data) + part * before.count;
    before.dims = before_dims;
  }
  ONNXTOOL_ASSIGN(const HeadTensor all,
                  append_rows(ctx, ctx.has_input(kPast) ? &before : nullptr, now, -1, "past"));
  if (present != nullptr && all.view.count > 0)
    copy_heads(ctx, DataType::kFloat, all.view.data, all.shape, present + part * all.view.count,
               all.shape, nullptr);
  return all;
}

Status check_past(const KernelContext& ctx, const HeadShape& k, const HeadShape& v) {
  const bool both = ctx.has_input(kPast) || ctx.wants_output(kPresent);
  if (both && k.size != v.size) return bad_model("a past needs keys and values of one size");
  if (!ctx.has_input(kPast)) return {};
  const std::span<const int64_t> d = ctx.input(kPast).dims;
  if (d.size() == 5 && d[0] == 2) return {};
  return mismatch("past has shape " + format_dims(d) + ", expected [2, batch, heads, rows, size]");
}

struct Operands {
  HeadTensor q, k, v;
};

Result<Operands> read_operands(KernelContext& ctx, const PackedState& state) {
  ONNXTOOL_ASSIGN(const Dims sizes, hidden_sizes(ctx, state));
  ONNXTOOL_ASSIGN(float* projected, project(ctx, *state.isa));
  const std::span<const int64_t> x = ctx.input(kX).dims;
  const int64_t row = sizes[0] + sizes[1] + sizes[2];
  Operands o;
  int64_t first = 0, i = 0;
  for (HeadTensor* t : {&o.q, &o.k, &o.v}) {
    t->view.dtype = DataType::kFloat;
    t->view.data = projected + (x[0] * x[1] > 0 ? first : 0);
    const int64_t size = sizes[static_cast<size_t>(i++)];
    t->shape = {x[0], state.heads, x[1], size / state.heads, x[1] * row, size / state.heads, row};
    first += size;
  }
  return o;
}

Status run(KernelContext& ctx) {
  const auto& state = static_cast<const PackedState&>(*ctx.state());
  const DataType type = ctx.input(kX).dtype;
  ONNXTOOL_ASSIGN(Operands o, read_operands(ctx, state));
  ONNXTOOL_TRY(check_past(ctx, o.k.shape, o.v.shape));
  const int64_t before = ctx.has_input(kPast) ? ctx.input(kPast).dims[3] : 0;
  const HeadShape& s = o.q.shape;
  const int64_t keys = checked_add(before, s.rows).value_or(-1);
  WideOutput present;
  const bool shows = ctx.wants_output(kPresent);
  if (shows) {
    ONNXTOOL_ASSIGN(present, WideOutput::make(ctx, kPresent, type,
                                              Dims{2, s.batches, s.heads, keys, o.k.shape.size}));
  }
  ONNXTOOL_ASSIGN(o.k, with_past(ctx, o.k, 0, shows ? present.data<float>() : nullptr));
  ONNXTOOL_ASSIGN(o.v, with_past(ctx, o.v, 1, shows ? present.data<float>() : nullptr));
  if (shows) present.finish(ctx);
  ONNXTOOL_TRY(check_attention(s, o.k.shape, o.v.shape));
  KeyWindow window;
  if (ctx.node().attr_int("unidirectional", 0) != 0) {
    window.right = 0;
    window.offsets = {before};
  }
  ONNXTOOL_ASSIGN(const TwoBiases biases, read_biases(ctx, window, kPadding, kAddedBias, s, keys));
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
  ONNXTOOL_TRY(attend(ctx, *state.isa, problem));
  y.finish(ctx);
  return {};
}

constexpr std::initializer_list<DataType> kTypes = {DataType::kFloat, DataType::kFloat16,
                                                    DataType::kBfloat16};

constexpr KernelInfo info(std::initializer_list<DataType> types,
                          Result<std::unique_ptr<KernelState>> (*prepare)(const NodeView&)) {
  return {
      .domain = "com.microsoft", .op = "Attention", .types = types, .prepare = prepare, .run = run};
}

}  // namespace

constinit const KernelInfo kMsAttention = info(kTypes, prepare<gemm_isa>);
constinit const KernelInfo kMsAttentionPortable = info(kTypes, prepare<gemm_isa_portable>);

}  // namespace onnxtool
