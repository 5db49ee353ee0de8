// com.microsoft.GroupQueryAttention-1: causal attention of groups of query heads over a cache.
//   query [batch, rows, heads * size] with key and value [batch, rows, kv_heads * size], or all
//   three in query; past_key, past_value [batch, kv_heads, room, size] with seqlens_k[b] + 1 - rows
//   valid rows (none in the first call, whose rows are total_sequence_length), which the new ones
//   follow. present_key, present_value: the same with room for total_sequence_length rows, zeros
//   behind the last one.
// do_rotary turns queries and keys by their positions first. Computed in float.

#include <cmath>

#include "calib/kernels/cpu/convert.h"
#include "calib/kernels/cpu/float_io.h"
#include "calib/kernels/cpu/key_padding.h"
#include "calib/kernels/cpu/rotary.h"

namespace onnxtool {
namespace {

enum Input : int {
  kQuery,
  kKey,
  kValue,
  kPastKey,
  kPastValue,
  kLastKeys,
  kTotal,
  kCos,
  kSin,
  kPositions,
  kAddedBias,
  kSink
};
enum Output : int { kResult, kPresentKey, kPresentValue };

struct GroupState final : KernelState {
  const GemmIsa* isa;
  int64_t heads, kv_heads, window;
  bool rotates;
};

template <const GemmIsa& (*kIsa)()>
Result<std::unique_ptr<KernelState>> prepare(const NodeView& node) {
  ONNXTOOL_TRY(require_inputs(node, {kQuery, kLastKeys, kTotal}));
  auto state = std::make_unique<GroupState>();
  state->isa = &kIsa();
  state->heads = node.attr_int("num_heads", 0);
  state->kv_heads = node.attr_int("kv_num_heads", 0);
  state->window = node.attr_int("local_window_size", -1);
  state->rotates = node.attr_int("do_rotary", 0) != 0;
  if (state->kv_heads < 1 || state->heads < 1 || state->heads % state->kv_heads != 0)
    return bad_model("num_heads is " + std::to_string(state->heads) +
                     ", expected a multiple of kv_num_heads, " + std::to_string(state->kv_heads));
  if (node.has_input(kKey) != node.has_input(kValue) ||
      node.has_input(kPastKey) != node.has_input(kPastValue))
    return bad_model("key and value, and past_key and past_value, come together or not at all");
  if (state->rotates) ONNXTOOL_TRY(require_inputs(node, {kCos, kSin}));
  if (node.has_input(kSink) || node.attr_int("smooth_softmax", 0) > 0)
    return kernel_error(ErrorCode::kUnsupported, "smooth softmax and head_sink are not supported");
  return {std::move(state)};
}

struct Operands {
  HeadTensor q, k, v;
};

Result<Operands> read_operands(KernelContext& ctx, const GroupState& state) {
  Operands o;
  const int64_t all_heads = state.heads + 2 * state.kv_heads;
  ONNXTOOL_ASSIGN(const ConstView q, converted(ctx, ctx.input(kQuery), DataType::kFloat));
  if (q.rank() != 3)
    return mismatch("query has shape " + format_dims(q.dims) + ", expected rank 3");
  const bool packed = !ctx.has_input(kKey);
  ONNXTOOL_ASSIGN(o.q.shape, head_shape(q.dims, packed ? all_heads : state.heads, "query"));
  o.q.view = q;
  if (packed) {
    o.k = o.v = o.q;
    o.q.shape.heads = state.heads;
    o.k.shape.heads = o.v.shape.heads = state.kv_heads;
    if (q.count > 0) {
      o.k.view.data = static_cast<const float*>(q.data) + state.heads * o.q.shape.size;
      o.v.view.data =
          static_cast<const float*>(q.data) + (state.heads + state.kv_heads) * o.q.shape.size;
    }
    return o;
  }
  for (const int i : {kKey, kValue}) {
    HeadTensor& t = i == kKey ? o.k : o.v;
    ONNXTOOL_ASSIGN(t.view, converted(ctx, ctx.input(i), DataType::kFloat));
    ONNXTOOL_ASSIGN(t.shape, head_shape(t.view.dims, t.view.rank() == 3 ? state.kv_heads : 0,
                                        i == kKey ? "key" : "value"));
  }
  return o;
}

// For each sample the rows of the cache that come before the new ones.
struct Cache {
  Dims before;
  int64_t room = 0;  // rows of the present tensors
};

Result<Cache> read_cache(const KernelContext& ctx, const HeadShape& k) {
  const auto rows_of = [&](int input) {
    return ctx.has_input(input) && ctx.input(input).rank() == 4 ? ctx.input(input).dims[2] : 0;
  };
  const ConstView& last = ctx.input(kLastKeys);
  ONNXTOOL_ASSIGN(const int64_t total, integer_scalar(ctx.input(kTotal), "total_sequence_length"));
  if (last.dtype != DataType::kInt32 || last.count != k.batches)
    return mismatch("seqlens_k is " + std::string(name(last.dtype)) + " of shape " +
                    format_dims(last.dims) + ", expected int32 of [" + std::to_string(k.batches) +
                    "]");
  const int64_t past = rows_of(kPastKey);
  if (rows_of(kPastValue) != past)
    return mismatch("past_key has " + std::to_string(past) + " rows but past_value " +
                    std::to_string(rows_of(kPastValue)));
  Cache cache;
  cache.room = std::max(total, past);
  for (int64_t b = 0; b < k.batches; ++b) {
    const int64_t before =
        total == k.rows ? 0 : int64_t{static_cast<const int32_t*>(last.data)[b]} + 1 - k.rows;
    if (before < 0 || before > past || k.rows > cache.room - before)
      return mismatch("sample " + std::to_string(b) + " has " + std::to_string(before) +
                      " rows before " + std::to_string(k.rows) + " new ones, in a cache of " +
                      std::to_string(past) + " of " + std::to_string(cache.room) + " rows");
    cache.before.push_back(before);
  }
  return cache;
}

// Rotated by position, rows first.
Result<HeadTensor> rotated(KernelContext& ctx, const HeadTensor& x, const Cache& cache) {
  const HeadShape& s = x.shape;
  if (s.size == 0) return x;
  const std::span<const int64_t> angles = ctx.input(kCos).dims;
  if (angles.size() != 2 || !std::ranges::equal(angles, ctx.input(kSin).dims) ||
      2 * angles[1] > s.size)
    return mismatch("cos_cache and sin_cache have shapes " + format_dims(angles) + " and " +
                    format_dims(ctx.input(kSin).dims) + ", which do not fit heads of " +
                    std::to_string(s.size));
  const RotaryShape rotary{s.size, angles[1], ctx.node().attr_int("rotary_interleaved", 0) != 0};
  ONNXTOOL_ASSIGN(const ConstView cos, converted(ctx, ctx.input(kCos), DataType::kFloat));
  ONNXTOOL_ASSIGN(const ConstView sin, converted(ctx, ctx.input(kSin), DataType::kFloat));
  Dims positions;
  if (ctx.has_input(kPositions)) {
    const ConstView& given = ctx.input(kPositions);
    if (given.dtype != DataType::kInt64 || given.count != s.batches * s.rows)
      return mismatch("position_ids has shape " + format_dims(given.dims) +
                      ", expected int64 of [" + std::to_string(s.batches) + ", " +
                      std::to_string(s.rows) + "]");
    const auto values = given.as<int64_t>();
    positions.assign(values.begin(), values.end());
  } else {
    for (const int64_t before : cache.before)
      for (int64_t r = 0; r < s.rows; ++r) positions.push_back(before + r);
  }
  for (const int64_t p : positions)
    if (p < 0 || p >= angles[0])
      return mismatch("position " + std::to_string(p) + " is out of range for a cache of " +
                      std::to_string(angles[0]) + " rows");
  const int64_t count = s.batches * s.rows * s.heads * s.size;
  ONNXTOOL_ASSIGN(void* buffer, ctx.scratch(static_cast<size_t>(count) * sizeof(float)));
  HeadTensor y{x.view, rows_first(s.batches, s.heads, s.rows, s.size)};
  y.view.data = buffer;
  ONNXTOOL_ASSIGN(const int64_t* angle_rows, shared_values(ctx, positions));
  turn_rows(ctx, TurnRows<float>{rotary, static_cast<const float*>(x.view.data), s,
                                 static_cast<float*>(buffer), y.shape,
                                 static_cast<const float*>(cos.data),
                                 static_cast<const float*>(sin.data), angle_rows});
  return y;
}

// The valid rows of the past, [batch, heads, past, size]; the others stay 0.
struct KeepRows {
  const float* x;
  float* y;
  const int64_t* valid;
  int64_t past, room, heads, size;
  struct Row {
    const float* x;
    float* y;
    bool keeps;
    ONNXTOOL_HD void operator()(int64_t i) const {
      if (keeps) y[i] = x[i];
    }
  };
  ONNXTOOL_HD Row row(int64_t i) const {
    const int64_t row = i % past, head = i / past;
    return {x + i * size, y + (head * room + row) * size, row < valid[head / heads]};
  }
};

// The cache with the new rows in their places, in float: in the output itself where that is float.
// first: cache.before, as shared_values() gives it.
Result<HeadTensor> update_cache(KernelContext& ctx, int past, const HeadTensor& now,
                                const Cache& cache, const int64_t* first, int output) {
  const HeadShape& s = now.shape;
  const DataType type = ctx.input(kQuery).dtype;
  const Dims dims{s.batches, s.heads, cache.room, s.size};
  const auto count = checked_product(dims);
  if (!count || !checked_mul(*count, sizeof(float)))
    return kernel_error(ErrorCode::kLimit, "a cache of " + format_dims(dims) + " is too large");
  MutableView present;
  if (ctx.wants_output(output)) {
    ONNXTOOL_ASSIGN(present, ctx.output(output, type, dims));
  }
  void* data = type == DataType::kFloat ? present.data : nullptr;
  if (data == nullptr) {
    ONNXTOOL_ASSIGN(data, ctx.scratch(static_cast<size_t>(*count) * sizeof(float)));
  }
  auto* to = static_cast<float*>(data);
  HeadTensor all{now.view, heads_first(s.batches, s.heads, cache.room, s.size)};
  all.view.data = to;
  if (*count == 0) return all;
  clear_memory(to, static_cast<size_t>(*count) * sizeof(float));
  if (ctx.has_input(past)) {
    const std::span<const int64_t> d = ctx.input(past).dims;
    if (d.size() != 4 || d[0] != s.batches || d[1] != s.heads || d[2] > cache.room ||
        d[3] != s.size)
      return mismatch("the past has shape " + format_dims(d) + ", expected " + format_dims(dims) +
                      " or fewer rows");
    ONNXTOOL_ASSIGN(const ConstView before, converted(ctx, ctx.input(past), DataType::kFloat));
    if (before.count > 0)
      for_each_cell(ctx, s.batches * s.heads * d[2], s.size,
                    KeepRows{static_cast<const float*>(before.data), to, first, d[2], cache.room,
                             s.heads, s.size});
  }
  copy_heads(ctx, DataType::kFloat, now.view.data, s, to, all.shape, first);
  if (present.data != nullptr && present.data != data)
    convert_into(ctx, DataType::kFloat, to, present);
  return all;
}

Status run(KernelContext& ctx) {
  const auto& state = static_cast<const GroupState&>(*ctx.state());
  const DataType type = ctx.input(kQuery).dtype;
  ONNXTOOL_ASSIGN(Operands o, read_operands(ctx, state));
  ONNXTOOL_TRY(check_attention(o.q.shape, o.k.shape, o.v.shape));
  if (o.q.shape.rows != o.k.shape.rows || o.k.shape.heads != state.kv_heads)
    return mismatch("query has " + std::to_string(o.q.shape.rows) + " rows but key " +
                    std::to_string(o.k.shape.rows) + " of " + std::to_string(o.k.shape.heads) +
                    " heads");
  ONNXTOOL_ASSIGN(const Cache cache, read_cache(ctx, o.k.shape));
  if (state.rotates) {
    ONNXTOOL_ASSIGN(o.q, rotated(ctx, o.q, cache));
    ONNXTOOL_ASSIGN(o.k, rotated(ctx, o.k, cache));
  }
  ONNXTOOL_ASSIGN(const int64_t* first, shared_values(ctx, cache.before));
  ONNXTOOL_ASSIGN(o.k, update_cache(ctx, kPastKey, o.k, cache, first, kPresentKey));
  ONNXTOOL_ASSIGN(o.v, update_cache(ctx, kPastValue, o.v, cache, first, kPresentValue));
  const HeadShape& s = o.q.shape;
  KeyWindow window;
  window.right = 0;
  // The window counts the query's own position.
  window.left = state.window > 0 ? state.window - 1 : -1;
  window.offsets = cache.before;
  ONNXTOOL_ASSIGN(const TwoBiases biases,
                  read_biases(ctx, window, -1, kAddedBias, s, o.k.shape.rows));
  ONNXTOOL_ASSIGN(
      const WideOutput y,
      WideOutput::make(ctx, kResult, type, Dims{s.batches, s.rows, s.heads * o.v.shape.size}));
  AttentionProblem<float> problem;
  problem.q = s;
  problem.k = o.k.shape;
  problem.v = o.v.shape;
  problem.y = rows_first(s.batches, s.heads, s.rows, o.v.shape.size);
  problem.q_data = static_cast<const float*>(o.q.view.data);
  problem.k_data = static_cast<const float*>(o.k.view.data);
  problem.v_data = static_cast<const float*>(o.v.view.data);
  problem.y_data = y.data<float>();
  problem.scale = scale_or_default(ctx.node(), s.size);
  problem.softcap = ctx.node().attr_float("softcap", 0);
  problem.biases = {&biases.first, &biases.second};
  ONNXTOOL_TRY(attend(ctx, *state.isa, problem));
  y.finish(ctx);
  return {};
}

InputUse use(const NodeView&, int input) {
  const bool is_looked_at = input == kLastKeys || input == kTotal || input == kPositions;
  return is_looked_at ? InputUse::kHost : InputUse::kData;
}

constexpr std::initializer_list<DataType> kTypes = {DataType::kFloat, DataType::kFloat16,
                                                    DataType::kBfloat16};

constexpr KernelInfo info(std::initializer_list<DataType> types,
                          Result<std::unique_ptr<KernelState>> (*prepare)(const NodeView&)) {
  return {.domain = "com.microsoft",
          .op = "GroupQueryAttention",
          .types = types,
          .prepare = prepare,
          .run = run,
          .use = use};
}

}  // namespace

constinit const KernelInfo kGroupQueryAttention = info(kTypes, prepare<gemm_isa>);
constinit const KernelInfo kGroupQueryAttentionPortable = info(kTypes, prepare<gemm_isa_portable>);

}  // namespace onnxtool
