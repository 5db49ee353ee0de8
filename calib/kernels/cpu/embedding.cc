#include "calib/kernels/cpu/embedding.h"

#include "calib/kernels/cpu/indices.h"

namespace onnxtool {
namespace {

using In = EmbedInput;

Status check_table(const KernelContext& ctx, In table, int64_t size) {
  const ConstView& t = ctx.input(at(table));
  if (t.rank() != 2 || t.dims[1] != size)
    return mismatch("input " + std::to_string(at(table)) + " has shape " + format_dims(t.dims) +
                    ", expected [rows, " + std::to_string(size) + "]");
  const DataType type = ctx.input(at(In::kWordTable)).dtype;
  if (t.dtype != type)
    return mismatch("an embedding has element type " + std::string(name(t.dtype)) + ", expected " +
                    std::string(name(type)));
  return {};
}

Result<Dims> rows_of(const KernelContext& ctx, In table, In ids) {
  const ConstView& given = ctx.input(at(ids));
  const std::span<const int64_t> x = ctx.input(at(In::kIds)).dims;
  const bool shared = given.rank() == 2 && given.dims[0] == 1 && given.dims[1] == x[1];
  if (!shared && !std::ranges::equal(given.dims, x))
    return mismatch("input " + std::to_string(at(ids)) + " has shape " + format_dims(given.dims) +
                    ", expected " + format_dims(x));
  Dims rows(static_cast<size_t>(given.count));
  ONNXTOOL_TRY(read_indices(given, ctx.input(at(table)).dims.subspan(0, 1), rows));
  return rows;
}

}  // namespace

Status require_embed_inputs(const NodeView& node) {
  ONNXTOOL_TRY(require_inputs(node, {at(In::kIds), at(In::kWordTable), at(In::kPositionTable),
                                     at(In::kGamma), at(In::kBeta)}));
  if (node.has_input(at(In::kSegments)) != node.has_input(at(In::kSegmentTable)))
    return bad_model("segment_ids and segment_embedding come together or not at all");
  return {};
}

Result<EmbedRows> embed_rows(const KernelContext& ctx) {
  const ConstView &ids = ctx.input(at(In::kIds)), &words = ctx.input(at(In::kWordTable));
  if (ids.rank() != 2 || words.rank() != 2)
    return mismatch("input_ids and word_embedding have shapes " + format_dims(ids.dims) + " and " +
                    format_dims(words.dims) + ", expected rank 2");
  EmbedRows e{ids.dims[0], ids.dims[1], words.dims[1], {}, {}, {}};
  ONNXTOOL_ASSIGN(e.words, rows_of(ctx, In::kWordTable, In::kIds));
  ONNXTOOL_TRY(check_table(ctx, In::kPositionTable, e.size));
  const int64_t positions = ctx.input(at(In::kPositionTable)).dims[0];
  if (ctx.has_input(at(In::kPositions))) {
    ONNXTOOL_ASSIGN(e.positions, rows_of(ctx, In::kPositionTable, In::kPositions));
  } else {
    if (e.rows > positions)
      return mismatch("there are " + std::to_string(e.rows) + " positions but embeddings for " +
                      std::to_string(positions));
    e.positions.resize(static_cast<size_t>(e.rows));
    for (int64_t i = 0; i < e.rows; ++i) e.positions[static_cast<size_t>(i)] = i;
  }
  if (ctx.has_input(at(In::kSegments))) {
    ONNXTOOL_TRY(check_table(ctx, In::kSegmentTable, e.size));
    ONNXTOOL_ASSIGN(e.segments, rows_of(ctx, In::kSegmentTable, In::kSegments));
  }
  for (const In i : {In::kGamma, In::kBeta}) {
    const ConstView& v = ctx.input(at(i));
    if (v.rank() != 1 || v.count != e.size)
      return mismatch("input " + std::to_string(at(i)) + " has shape " + format_dims(v.dims) +
                      ", expected [" + std::to_string(e.size) + "]");
  }
  return e;
}

Result<std::vector<int32_t>> embed_mask_counts(const KernelContext& ctx) {
  const std::span<const int64_t> x = ctx.input(at(In::kIds)).dims;
  std::vector<int32_t> counts(static_cast<size_t>(x[0]));
  if (!ctx.has_input(at(In::kMask))) return counts;
  const ConstView& mask = ctx.input(at(In::kMask));
  if (mask.dtype != DataType::kInt32 || !std::ranges::equal(mask.dims, x))
    return mismatch("mask is " + std::string(name(mask.dtype)) + " of shape " +
                    format_dims(mask.dims) + ", expected int32 of " + format_dims(x));
  for (int64_t i = 0; i < mask.count; ++i)
    counts[static_cast<size_t>(i / x[1])] += static_cast<const int32_t*>(mask.data)[i] == 1;
  return counts;
}

}  // namespace onnxtool
