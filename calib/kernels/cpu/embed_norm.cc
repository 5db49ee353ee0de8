// com.microsoft.EmbedLayerNormalization-1: the sum of word, position and segment embeddings,
// normalized over its last axis. Outputs: the result [batch, rows, size]; for each sample how many
// elements of `mask` are 1 (0 without a mask); the sum itself.

#include <cmath>

#include "calib/kernels/cpu/convert.h"
#include "calib/kernels/cpu/embedding.h"
#include "calib/kernels/cpu/float_io.h"
#include "calib/kernels/cpu/statistics.h"

namespace onnxtool {
namespace {

using In = EmbedInput;

Result<std::unique_ptr<KernelState>> prepare(const NodeView& node) {
  ONNXTOOL_TRY(require_embed_inputs(node));
  return std::unique_ptr<KernelState>();
}

Status count_mask(KernelContext& ctx) {
  if (!ctx.wants_output(1)) return {};
  ONNXTOOL_ASSIGN(const std::vector<int32_t> counts, embed_mask_counts(ctx));
  const auto batches = static_cast<int64_t>(counts.size());
  ONNXTOOL_ASSIGN(const MutableView out, ctx.output(1, DataType::kInt32, std::span(&batches, 1)));
  std::copy(counts.begin(), counts.end(), static_cast<int32_t*>(out.data));
  return {};
}

template <class T>
Status compute(KernelContext& ctx, const EmbedRows& e) {
  const DataType type = ctx.input(at(In::kWordTable)).dtype;
  const int64_t size = e.size;
  const auto read = [&](In i, std::string_view what) {
    return optional_float_input<T>(ctx, at(i), type, what);
  };
  ONNXTOOL_ASSIGN(const T* words, read(In::kWordTable, "an embedding"));
  ONNXTOOL_ASSIGN(const T* positions, read(In::kPositionTable, "an embedding"));
  ONNXTOOL_ASSIGN(const T* segments, read(In::kSegmentTable, "an embedding"));
  ONNXTOOL_ASSIGN(const T* gamma, read(In::kGamma, "gamma"));
  ONNXTOOL_ASSIGN(const T* beta, read(In::kBeta, "beta"));
  const Dims dims{e.batches, e.rows, size};
  ONNXTOOL_ASSIGN(const WideOutput y, WideOutput::make(ctx, 0, type, dims));
  ONNXTOOL_ASSIGN(void* buffer, ctx.scratch(static_cast<size_t>(y.count()) * sizeof(T)));
  auto* sums = static_cast<T*>(buffer);
  const double epsilon = ctx.node().attr_float("epsilon", 1e-12f), n = static_cast<double>(size);
  const auto row_of = [&](const T* table, const Dims& rows, int64_t row) {
    return table + rows[static_cast<size_t>(row) % rows.size()] * size;
  };
  ctx.parallel(
      y.count() == 0 ? 0 : e.batches * e.rows, grain_of(4 * size), [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) {
          const T *word = row_of(words, e.words, row),
                  *position = row_of(positions, e.positions, row),
                  *segment = segments ? row_of(segments, e.segments, row) : nullptr;
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
  ONNXTOOL_ASSIGN(const EmbedRows rows, embed_rows(ctx));
  ONNXTOOL_TRY(count_mask(ctx));
  return dispatch_float(ctx.input(at(In::kWordTable)).dtype,
                        [&]<class T>() -> Status { return compute<T>(ctx, rows); });
}

}  // namespace

constinit const KernelInfo kEmbedLayerNormalization{.domain = "com.microsoft",
                                                    .op = "EmbedLayerNormalization",
                                                    .types = {DataType::kInt32, DataType::kInt64},
                                                    .prepare = prepare,
                                                    .run = run};

}  // namespace onnxtool
