#include "calib/kernels/cpu/recurrent_node.h"

namespace onnxtool {
namespace {

Status expect_dims(const ConstView& view, std::string_view what, const Dims& expected) {
  if (std::ranges::equal(view.dims, expected)) return {};
  return mismatch(std::string(what) + " has shape " + format_dims(view.dims) + ", expected " +
                  format_dims(expected));
}

}  // namespace

Result<RecurrentNode> read_recurrent(const NodeView& node, const RecurrentKind& kind) {
  ONNXTOOL_TRY(require_inputs(node, {0, 1, 2}));
  RecurrentNode state;
  state.kind = kind;
  state.hidden = node.attr_int("hidden_size", 0);
  state.batch_first = node.attr_int("layout", 0) != 0;
  state.clip = node.attr_float("clip", 0);
  state.linear_before_reset = node.attr_int("linear_before_reset", 0) != 0;
  state.input_forget = node.attr_int("input_forget", 0) != 0;
  // GRU-1 misspells its default.
  const std::string_view direction = node.attr_string("direction", "forward");
  if (direction == "bidirectional")
    state.directions = 2;
  else if (direction == "reverse")
    state.reverse_first = true;
  else if (direction != "forward" && direction != "foward")
    return bad_model("direction is '" + std::string(direction) +
                     "', expected forward, reverse or bidirectional");
  ONNXTOOL_ASSIGN(state.activations, read_recurrent_activations(node, kind, state.directions));
  return state;
}

Result<RecurrentShape> resolve_recurrent(const KernelContext& ctx, const RecurrentNode& s,
                                         std::span<const int64_t> w, std::span<const int64_t> r) {
  const ConstView& x = ctx.input(0);
  if (x.rank() != 3 || w.size() != 3 || r.size() != 3)
    return mismatch("x has shape " + format_dims(x.dims) + ", W " + format_dims(w) + " and R " +
                    format_dims(r) + ", expected rank 3");
  RecurrentShape shape;
  shape.seq = x.dims[s.batch_first ? 1 : 0];
  shape.batch = x.dims[s.batch_first ? 0 : 1];
  shape.input = x.dims[2];
  shape.hidden = r[2];
  shape.directions = s.directions;
  if (s.hidden != 0 && s.hidden != shape.hidden)
    return mismatch("hidden_size is " + std::to_string(s.hidden) + " but R has shape " +
                    format_dims(r));
  const Dims r_expected{s.directions, s.kind.gates * shape.hidden, shape.hidden};
  const Dims w_expected{s.directions, s.kind.gates * shape.hidden, shape.input};
  if (!std::ranges::equal(w, w_expected))
    return mismatch("W has shape " + format_dims(w) + ", expected " + format_dims(w_expected));
  if (!std::ranges::equal(r, r_expected))
    return mismatch("R has shape " + format_dims(r) + ", expected " + format_dims(r_expected));
  if (ctx.has_input(3))
    ONNXTOOL_TRY(expect_dims(ctx.input(3), "B", {s.directions, 2 * s.kind.gates * shape.hidden}));
  const Dims state_dims = s.batch_first ? Dims{shape.batch, s.directions, shape.hidden}
                                        : Dims{s.directions, shape.batch, shape.hidden};
  if (ctx.has_input(5)) ONNXTOOL_TRY(expect_dims(ctx.input(5), "initial_h", state_dims));
  if (s.kind.initial_c >= 0 && ctx.has_input(s.kind.initial_c))
    ONNXTOOL_TRY(expect_dims(ctx.input(s.kind.initial_c), "initial_c", state_dims));
  if (ctx.has_input(4)) {
    const ConstView& lengths = ctx.input(4);
    ONNXTOOL_TRY(expect_dims(lengths, "sequence_lens", {shape.batch}));
    if (lengths.dtype != DataType::kInt32) return unsupported_type(lengths.dtype, "sequence_lens");
    for (const int32_t length : lengths.as<int32_t>())
      if (length < 0 || length > shape.seq)
        return mismatch("sequence_lens has " + std::to_string(length) + ", expected 0 to " +
                        std::to_string(shape.seq));
  }
  return shape;
}

Status check_peepholes(const KernelContext& ctx, const RecurrentShape& shape) {
  if (!ctx.has_input(kPeephole)) return {};
  return expect_dims(ctx.input(kPeephole), "P", {shape.directions, 3 * shape.hidden});
}

}  // namespace onnxtool
