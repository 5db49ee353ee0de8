// TensorScatter-24: rows of `update` replace rows of a cache from write_indices[sample] on; in mode
// "circular" they wrap around its end.

#include "calib/kernels/cpu/convert.h"

namespace onnxtool {
namespace {

struct ScatterPlan {
  LineShape cache;  // around the sequence axis
  int64_t rows = 0;
  int64_t lines_per_sample = 1;
  Dims starts;  // per sample
};

Result<std::unique_ptr<KernelState>> prepare(const NodeView& node) {
  ONNXTOOL_TRY(require_inputs(node, {0, 1}));
  const std::string_view mode = node.attr_string("mode", "linear");
  if (mode != "linear" && mode != "circular")
    return bad_model("mode is '" + std::string(mode) + "', expected linear or circular");
  return std::unique_ptr<KernelState>();
}

Result<ScatterPlan> plan_scatter(const KernelContext& ctx) {
  const ConstView &cache = ctx.input(0), &update = ctx.input(1);
  ONNXTOOL_ASSIGN(const int64_t axis, resolve_axis(ctx.node().attr_int("axis", -2), cache.rank()));
  if (axis == 0) return bad_model("axis is the batch axis");
  const auto a = static_cast<size_t>(axis);
  bool fits = update.dtype == cache.dtype && update.rank() == cache.rank();
  for (size_t i = 0; fits && i < cache.dims.size(); ++i)
    fits = i == a ? update.dims[i] <= cache.dims[i] : update.dims[i] == cache.dims[i];
  if (!fits)
    return mismatch("update is " + std::string(name(update.dtype)) + " of shape " +
                    format_dims(update.dims) + ", which does not fit a cache of " +
                    std::string(name(cache.dtype)) + " and shape " + format_dims(cache.dims));
  ScatterPlan plan{line_shape(cache.dims, axis), update.dims[a], product(cache.dims, 1, a), {}};
  if (!ctx.has_input(2)) {
    if (cache.count > 0) plan.starts.assign(static_cast<size_t>(cache.dims[0]), 0);
    return plan;
  }
  ONNXTOOL_ASSIGN(plan.starts, integer_values(ctx.input(2), "write_indices"));
  if (static_cast<int64_t>(plan.starts.size()) != cache.dims[0])
    return mismatch("write_indices has " + std::to_string(plan.starts.size()) +
                    " elements, expected " + std::to_string(cache.dims[0]));
  const bool wraps = ctx.node().attr_string("mode", "linear") == "circular";
  const int64_t last = wraps ? plan.cache.n - 1 : plan.cache.n - plan.rows;
  for (int64_t& start : plan.starts) {
    if (wraps && start >= 0 && plan.cache.n > 0) start %= plan.cache.n;
    if (cache.count > 0 && (start < 0 || start > last))
      return mismatch("write index " + std::to_string(start) + " with " +
                      std::to_string(plan.rows) + " rows is out of range for a cache of " +
                      std::to_string(plan.cache.n));
  }
  return plan;
}

Status run(KernelContext& ctx) {
  ONNXTOOL_ASSIGN(const ScatterPlan plan, plan_scatter(ctx));
  ONNXTOOL_ASSIGN(const ConstView cache, unpacked(ctx, ctx.input(0)));
  ONNXTOOL_ASSIGN(const ConstView update, unpacked(ctx, ctx.input(1)));
  ONNXTOOL_ASSIGN(const MovedOutput y, MovedOutput::make(ctx, 0, ctx.input(0).dtype, cache.dims));
  if (cache.count == 0) return {};
  const LineShape& s = plan.cache;
  dispatch_movement(cache.dtype, [&]<class E>() {
    const E* from = static_cast<const E*>(cache.data);
    const E* with = static_cast<const E*>(update.data);
    E* to = static_cast<E*>(y.data());
    ctx.parallel(s.outer, grain_of(s.n * s.inner), [&](int64_t begin, int64_t end) {
      for (int64_t line = begin; line < end; ++line) {
        E* out = to + line * s.n * s.inner;
        std::copy_n(from + line * s.n * s.inner, s.n * s.inner, out);
        const int64_t start = plan.starts[static_cast<size_t>(line / plan.lines_per_sample)];
        for (int64_t r = 0; r < plan.rows; ++r)
          std::copy_n(with + (line * plan.rows + r) * s.inner, s.inner,
                      out + (start + r) % s.n * s.inner);
      }
    });
  });
  y.finish();
  return {};
}

}  // namespace

constinit const KernelInfo kTensorScatter{.op = "TensorScatter", .prepare = prepare, .run = run};

}  // namespace onnxtool
