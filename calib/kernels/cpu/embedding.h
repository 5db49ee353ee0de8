// What com.microsoft.EmbedLayerNormalization looks up: checked rows of its tables.
#pragma once

#include <algorithm>

#include "calib/kernels/cpu/common.h"

namespace onnxtool {

/// Inputs: ids, segments, words, positions, segments' table, gamma, beta, mask, position ids.
enum class EmbedInput : int {
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
constexpr int at(EmbedInput input) { return static_cast<int>(input); }

/// Row numbers within the tables, in host memory: one for each row of the result, or one sample's,
/// which repeat. Without position ids, positions count up; without segments there are none.
struct EmbedRows {
  int64_t batches = 0, rows = 0, size = 0;
  Dims words, positions, segments;
};

/// Checks all shapes; ids, segments, mask and position ids must lie in host memory.
Result<EmbedRows> embed_rows(const KernelContext& ctx);

/// How many elements of the mask are 1, for each sample; 0 without a mask.
Result<std::vector<int32_t>> embed_mask_counts(const KernelContext& ctx);

Status require_embed_inputs(const NodeView& node);

}  // namespace onnxtool
