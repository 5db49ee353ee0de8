// com.microsoft.EmbedLayerNormalization-1: the sum of word, position and segment embeddings,
// normalized over its last axis. Outputs: the result [batch, rows, size]; for each sample how many
// elements of `mask` are 1 (0 without a mask); the sum itself.

#include <cmath>

#include "calib/kernels/cpu/convert.h"
#include "calib/kernels/cpu/float_io.h"
#include "calib/kernels/cpu/indices.h"
#include "calib/kernels/cpu/statistics.h"

namespace onnxtool {
namespace {

enum Input : int {
  kIds,
  kSegments,
  kWordTable,
  kPositionTable,
  kSegmentTable,
  kGamma,
  kBeta,
  kMask,
  kPositions
};

Result<std::unique_ptr<KernelState>> prepare(const NodeView& node) {
  ONNXTOOL_TRY(require_inputs(node, {kIds, kWordTable, kPositionTable, kGamma, kBeta}));
  if (node.has_input(kSegments) != node.has_input(kSegmentTable))
    return bad_model("segment_ids and segment_embedding come together or not at all");
  return std::unique_ptr<KernelState>();
}

// A table of rows, and which of them each position takes.
template <class T>
struct Embedding {
  const T* table = nullptr;
  std::span<const int64_t> rows;  // one for each row of the result, or one sample's
};

template <class T>
Result<Embedding<T>> read_embedding(KernelContext& ctx, int table, int ids, int64_t size) {
  const DataType type = ctx.input(kWordTable).dtype;
  const std::span<const int64_t> dims = ctx.input(table).dims, x = ctx.input(kIds).dims;
  if (dims.size() != 2 || dims[1] != size)
    return mismatch("input " + std::to_string(table) + " has shape " + format_dims(dims) +
                    ", expected [rows, " + std::to_string(size) + "]");
  Embedding<T> embedding;
  ONNXTOOL_ASSIGN(embedding.table, float_input<T>(ctx, table, type, "an embedding"));
  if (ids < 0) return embedding;
  const std::span<const int64_t> given = ctx.input(ids).dims;
  const bool shared = given.size() == 2 && given[0] == 1 && given[1] == x[1];
  if (!shared && !std::ranges::equal(given, x))
    return mismatch("input " + std::to_string(ids) + " has shape " + format_dims(given) +
                    ", expected " + format_dims(x));
  ONNXTOOL_ASSIGN(embedding.rows, checked_indices(ctx, ctx.input(ids), dims.subspan(0, 1)));
  return embedding;
}

Status count_mask(KernelContext& ctx, int64_t batches) {
  if (!ctx.wants_output(1)) return {};
  ONNXTOOL_ASSIGN(const MutableView out, ctx.output(1, DataType::kInt32, std::span(&batches, 1)));
  auto* counts = static_cast<int32_t*>(out.data);
  std::fill_n(counts, batches, 0);
  if (!ctx.has_input(kMask)) return {};
  const ConstView& mask = ctx.input(kMask);
  if (mask.dtype != DataType::kInt32 || !std::ranges::equal(mask.dims, ctx.input(kIds).dims))
    return mismatch("mask is " + std::string(name(mask.dtype)) + " of shape " +
                    format_dims(mask.dims) + ", expected int32 of " +
                    format_dims(ctx.input(kIds).dims));
  for (int64_t i = 0; i < mask.count; ++i)
    counts[i / mask.dims[1]] += static_cast<const int32_t*>(mask.data)[i] == 1;
  return {};
}

template <class T>
Status compute(KernelContext& ctx) {
  const DataType type = ctx.input(kWordTable).dtype;
  const std::span<const int64_t> x = ctx.input(kIds).dims;
  const int64_t size = ctx.input(kWordTable).dims.back(), rows = x[1];
  ONNXTOOL_ASSIGN(const Embedding<T> words, read_embedding<T>(ctx, kWordTable, kIds, size));
  const bool placed = ctx.has_input(kPositions);
  ONNXTOOL_ASSIGN(const Embedding<T> positions,
                  read_embedding<T>(ctx, kPositionTable, placed ? int{kPositions} : -1, size));
  if (!placed && rows > ctx.input(kPositionTable).dims[0])
    return mismatch("there are " + std::to_string(rows) + " positions but embeddings for " +
                    std::to_string(ctx.input(kPositionTable).dims[0]));
  Embedding<T> segments;
  if (ctx.has_input(kSegments)) {
    ONNXTOOL_ASSIGN(segments, read_embedding<T>(ctx, kSegmentTable, kSegments, size));
  }
  for (const int i : {kGamma, kBeta})
    if (ctx.input(i).rank() != 1 || ctx.input(i).count != size)
      return mismatch("input " + std::to_string(i) + " has shape " +
                      format_dims(ctx.input(i).dims) + ", expected [" + std::to_string(size) + "]");
  ONNXTOOL_ASSIGN(const T* gamma, float_input<T>(ctx, kGamma, type, "gamma"));
  ONNXTOOL_ASSIGN(const T* beta, float_input<T>(ctx, kBeta, type, "beta"));
  const Dims dims{x[0], rows, size};
  ONNXTOOL_ASSIGN(const WideOutput y, WideOutput::make(ctx, 0, type, dims));
  ONNXTOOL_ASSIGN(void* buffer, ctx.scratch(static_cast<size_t>(y.count()) * sizeof(T)));
  auto* sums = static_cast<T*>(buffer);
  const double epsilon = ctx.node().attr_float("epsilon", 1e-12f), n = static_cast<double>(size);
  const auto row_of = [&](const Embedding<T>& e, int64_t row) {
    return e.table + e.rows[static_cast<size_t>(row) % e.rows.size()] * size;
  };
  ctx.parallel(
      y.count() == 0 ? 0 : x[0] * rows, grain_of(4 * size), [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) {
          const T *word = row_of(words, row),
                  *segment = segments.table ? row_of(segments, row) : nullptr;
          const T* position = placed ? row_of(positions, row) : positions.table + row % rows * size;
          T* sum = sums + row * size;
          for (int64_t i = 0; i < size; ++i)
            sum[i] = word[i] + position[i] + (segment != nullptr ? segment[i] : T{0});
          const double mean = sum_of(sum, size) / n;
          const double inverse =
              1 / std::sqrt(sum_of_squares_around(sum, size, mean) / n + epsilon);
          T* out = y.data<T>() + row * size;
          for (int64_t i = 0; i < size; ++i)
            out[i] = (sum[i] - static_cast<T>(mean)) * static_cast<T>(inverse) * gamma[i] + beta[i];
        }
      });
  y.finish(ctx);
  if (!ctx.wants_output(2)) return {};
  ONNXTOOL_ASSIGN(const MutableView sum, ctx.output(2, type, dims));
  store_wide<T>(type, sums, sum.count, sum.data, 0);
  return {};
}

Status run(KernelContext& ctx) {
  const ConstView& ids = ctx.input(kIds);
  if (ids.rank() != 2 || ctx.input(kWordTable).rank() != 2)
    return mismatch("input_ids and word_embedding have shapes " + format_dims(ids.dims) + " and " +
                    format_dims(ctx.input(kWordTable).dims) + ", expected rank 2");
  ONNXTOOL_TRY(count_mask(ctx, ids.dims[0]));
  return dispatch_float(ctx.input(kWordTable).dtype,
                        [&]<class T>() -> Status { return compute<T>(ctx); });
}

}  // namespace

constinit const KernelInfo kEmbedLayerNormalization{.domain = "com.microsoft",
                                                    .op = "EmbedLayerNormalization",
                                                    .types = {DataType::kInt32, DataType::kInt64},
                                                    .prepare = prepare,
                                                    .run = run};

}  // namespace onnxtool
