// onnxtool.plan.HeadAttention-1, which a plan makes of attention in parts:
//
//   y = softmax(scale * q k^T + mask) v
//
// for q, k, v of float32 and rank 4, [batch, heads, rows, size], or [batch, rows, heads, size]
// where q_rows_first and its kin say so. The mask broadcasts to [batch, heads, queries, keys] and
// has the last extent. A query whose scores are all minus infinity gives NaN, as Softmax does.

#include "calib/kernels/cpu/attention_core.h"

namespace onnxtool {
namespace {

struct HeadState final : KernelState {
  const GemmIsa* isa;
  bool q_rows_first, k_rows_first, v_rows_first, y_rows_first;
};

template <const GemmIsa& (*kIsa)()>
Result<std::unique_ptr<KernelState>> prepare(const NodeView& node) {
  ONNXTOOL_TRY(require_inputs(node, {0, 1, 2}));
  auto state = std::make_unique<HeadState>();
  state->isa = &kIsa();
  state->q_rows_first = node.attr_int("q_rows_first", 0) != 0;
  state->k_rows_first = node.attr_int("k_rows_first", 0) != 0;
  state->v_rows_first = node.attr_int("v_rows_first", 0) != 0;
  state->y_rows_first = node.attr_int("y_rows_first", 0) != 0;
  return {std::move(state)};
}

Result<HeadShape> operand(const ConstView& x, bool rows_leading, std::string_view what) {
  if (x.rank() != 4 || x.dtype != DataType::kFloat)
    return mismatch(std::string(what) + " is " + std::string(name(x.dtype)) + " of shape " +
                    format_dims(x.dims) + ", expected float of rank 4");
  return rows_leading ? rows_first(x.dims[0], x.dims[2], x.dims[1], x.dims[3])
                      : heads_first(x.dims[0], x.dims[1], x.dims[2], x.dims[3]);
}

Status run(KernelContext& ctx) {
  const auto& s = static_cast<const HeadState&>(*ctx.state());
  const ConstView &q = ctx.input(0), &k = ctx.input(1), &v = ctx.input(2);
  AttentionProblem<float> p;
  ONNXTOOL_ASSIGN(p.q, operand(q, s.q_rows_first, "query"));
  ONNXTOOL_ASSIGN(p.k, operand(k, s.k_rows_first, "key"));
  ONNXTOOL_ASSIGN(p.v, operand(v, s.v_rows_first, "value"));
  ONNXTOOL_TRY(check_attention(p.q, p.k, p.v));
  const ConstView* mask = ctx.has_input(3) ? &ctx.input(3) : nullptr;
  if (mask &&
      (mask->dtype != DataType::kFloat || mask->rank() < 1 || mask->dims.back() != p.k.rows))
    return mismatch("the mask is " + std::string(name(mask->dtype)) + " of shape " +
                    format_dims(mask->dims) + " for " + std::to_string(p.k.rows) + " keys");
  ONNXTOOL_ASSIGN(
      const MaskBias<float> bias,
      MaskBias<float>::make({}, mask, Dims{p.q.batches, p.q.heads, p.q.rows, p.k.rows}));
  const int64_t size = p.v.size;
  p.y = s.y_rows_first ? rows_first(p.q.batches, p.q.heads, p.q.rows, size)
                       : heads_first(p.q.batches, p.q.heads, p.q.rows, size);
  ONNXTOOL_ASSIGN(const MutableView y,
                  ctx.output(0, DataType::kFloat,
                             s.y_rows_first ? Dims{p.q.batches, p.q.rows, p.q.heads, size}
                                            : Dims{p.q.batches, p.q.heads, p.q.rows, size}));
  p.q_data = static_cast<const float*>(q.data);
  p.k_data = static_cast<const float*>(k.data);
  p.v_data = static_cast<const float*>(v.data);
  p.y_data = static_cast<float*>(y.data);
  p.scale = ctx.node().attr_float("scale", 1);
  if (mask) p.biases[0] = &bias;
  p.blind_gives_nan = true;
  return attend(ctx, *s.isa, p);
}

constexpr std::initializer_list<DataType> kTypes = {DataType::kFloat};

constexpr KernelInfo info(std::initializer_list<DataType> types,
                          Result<std::unique_ptr<KernelState>> (*prepare)(const NodeView&)) {
  return {.domain = "onnxtool.plan",
          .op = "HeadAttention",
          .types = types,
          .prepare = prepare,
          .run = run};
}

}  // namespace

constinit const KernelInfo kHeadAttention = info(kTypes, prepare<gemm_isa>);
constinit const KernelInfo kHeadAttentionPortable = info(kTypes, prepare<gemm_isa_portable>);

}  // namespace onnxtool
