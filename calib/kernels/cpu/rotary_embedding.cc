// RotaryEmbedding-23 (X, cos_cache, sin_cache, position_ids) and com.microsoft.RotaryEmbedding-1
// (input, position_ids, cos_cache, sin_cache): rows of heads are turned by the angles of their
// positions. Without position_ids the caches hold a row for each row of the input.

#include "calib/kernels/cpu/rotary.h"

#include "calib/kernels/cpu/float_io.h"
#include "calib/kernels/cpu/indices.h"

namespace onnxtool {
namespace {

struct RotaryInputs {
  int cos, sin, positions;
};

// Row of the caches for each [batch, row] of the input.
Result<std::vector<int64_t>> cache_rows(KernelContext& ctx, const RotaryInputs& in,
                                        const HeadShape& x, std::span<const int64_t> cache) {
  const auto count = static_cast<size_t>(x.batches * x.rows);
  std::vector<int64_t> rows(count);
  if (!ctx.has_input(in.positions)) {
    const bool fits = cache.size() == 3 && cache[0] == x.batches && cache[1] == x.rows;
    if (!fits)
      return mismatch("cos_cache has shape " + format_dims(cache) + ", expected [" +
                      std::to_string(x.batches) + ", " + std::to_string(x.rows) +
                      ", half of the turned size] without position_ids");
    for (size_t i = 0; i < count; ++i) rows[i] = static_cast<int64_t>(i);
    return rows;
  }
  const ConstView& given = ctx.input(in.positions);
  if (cache.size() != 2)
    return mismatch("cos_cache has shape " + format_dims(cache) +
                    ", expected rank 2 with position_ids");
  std::vector<int64_t> positions(static_cast<size_t>(given.count));
  ONNXTOOL_TRY(read_indices(given, {}, positions));
  // com.microsoft: one element is the position of the first row.
  const bool is_offset = given.rank() == 1 && given.count == 1 && !ctx.node().domain().empty();
  if (!is_offset && positions.size() != count)
    return mismatch("position_ids has shape " + format_dims(given.dims) + ", expected [" +
                    std::to_string(x.batches) + ", " + std::to_string(x.rows) + "]");
  for (size_t i = 0; i < count; ++i) {
    const int64_t at = static_cast<int64_t>(i) % std::max<int64_t>(x.rows, 1);
    const int64_t first = is_offset ? positions[0] : positions[i];
    if (first < 0 || first >= cache[0] || (is_offset && at >= cache[0] - first))
      return mismatch("position " + std::to_string(first) + " with " + std::to_string(x.rows) +
                      " rows is out of range for a cache of " + std::to_string(cache[0]) + " rows");
    rows[i] = is_offset ? first + at : first;
  }
  return rows;
}

Result<RotaryShape> rotary_shape(const NodeView& node, int64_t size) {
  const int64_t given = node.attr_int("rotary_embedding_dim", 0);
  const int64_t turned = given == 0 ? size : given;
  if (turned < 0 || turned > size || turned % 2 != 0)
    return bad_model("rotary_embedding_dim is " + std::to_string(turned) +
                     ", expected an even number up to the head size " + std::to_string(size));
  return RotaryShape{size, turned / 2, node.attr_int("interleaved", 0) != 0};
}

Status rotate(KernelContext& ctx, const RotaryInputs& in) {
  const DataType type = ctx.input(0).dtype;
  const NodeView& node = ctx.node();
  ONNXTOOL_ASSIGN(const ConstView x, widened(ctx, ctx.input(0)));
  int64_t heads = node.attr_int("num_heads", 0);
  if (heads == 0 && x.rank() == 3 && !node.domain().empty()) {
    // com.microsoft derives the head size from the caches then.
    const int64_t size = 2 * ctx.input(in.cos).dims.back();
    heads = size > 0 ? x.dims[2] / size : 0;
  }
  ONNXTOOL_ASSIGN(const HeadShape shape, head_shape(x.dims, heads, "input 0"));
  ONNXTOOL_ASSIGN(const RotaryShape rotary, rotary_shape(node, shape.size));
  const std::span<const int64_t> cache = ctx.input(in.cos).dims;
  if (cache.empty() || cache.back() != rotary.half ||
      !std::ranges::equal(cache, ctx.input(in.sin).dims))
    return mismatch("cos_cache and sin_cache have shapes " + format_dims(cache) + " and " +
                    format_dims(ctx.input(in.sin).dims) + ", expected both to end in " +
                    std::to_string(rotary.half));
  ONNXTOOL_ASSIGN(const WideOutput y, WideOutput::make(ctx, 0, type, x.dims));
  if (x.count == 0) return {};
  ONNXTOOL_ASSIGN(const std::vector<int64_t> rows, cache_rows(ctx, in, shape, cache));
  return dispatch(x.dtype, TypeList<float, double>{}, "input 0", [&]<class T>() -> Status {
    ONNXTOOL_ASSIGN(const T* cos, float_input<T>(ctx, in.cos, type, "cos_cache"));
    ONNXTOOL_ASSIGN(const T* sin, float_input<T>(ctx, in.sin, type, "sin_cache"));
    ONNXTOOL_ASSIGN(const int64_t* angles, shared_values(ctx, rows));
    turn_rows(ctx, TurnRows<T>{rotary, static_cast<const T*>(x.data), shape, y.data<T>(), shape,
                               cos, sin, angles});
    y.finish(ctx);
    return {};
  });
}

Status run_standard(KernelContext& ctx) {
  return rotate(ctx, {.cos = 1, .sin = 2, .positions = 3});
}

Result<std::unique_ptr<KernelState>> prepare_microsoft(const NodeView& node) {
  ONNXTOOL_TRY(require_inputs(node, {0, 1, 2, 3}));
  if (node.attr_int("is_packed_batching", 0) != 0)
    return kernel_error(ErrorCode::kUnsupported, "is_packed_batching is not supported");
  if (node.attr_float("scale", 1) != 1)
    return kernel_error(ErrorCode::kUnsupported, "a scale other than 1 is not supported");
  return std::unique_ptr<KernelState>();
}
Status run_microsoft(KernelContext& ctx) {
  return rotate(ctx, {.cos = 2, .sin = 3, .positions = 1});
}

template <int positions>
InputUse use(const NodeView&, int input) {
  return input == positions ? InputUse::kHost : InputUse::kData;
}

}  // namespace

constinit const KernelInfo kRotaryEmbedding{.op = "RotaryEmbedding",
                                            .types = kFloatDataTypes,
                                            .prepare = needs_inputs<3>,
                                            .run = run_standard,
                                            .use = use<3>};
constinit const KernelInfo kMsRotaryEmbedding{.domain = "com.microsoft",
                                              .op = "RotaryEmbedding",
                                              .types = kFloatDataTypes,
                                              .prepare = prepare_microsoft,
                                              .run = run_microsoft,
                                              .use = use<1>};

}  // namespace onnxtool
