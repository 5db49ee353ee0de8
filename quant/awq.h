// AWQ: weights that meet large inputs are made larger before they are rounded.
//
// For each value x that products read, with r_k the root mean square of its channel k, factors
// s_k = r_k^a are tried for several a in [0, 1]. Weights s_k W_k are rounded more finely, relative
// to W_k, where s_k is large, at the expense of the others of their block; the a with the least
// error of the products' outputs is taken, 0 (no factors) among them.
//
// Source: Lin et al., "AWQ: Activation-aware Weight Quantization for LLM Compression and
// Acceleration" (2023), section 3.2, with the error taken from second moments and r_k in place of
// the mean magnitude. Its clipping is quantize_blocks()'.
#pragma once

#include "quant/weight_only.h"

namespace onnxtool {

struct AwqReport {
  int64_t scaled = 0, inserted = 0;  // values divided, and how many of them by a Mul of their own
};

/// Scales `model`, a copy of `measured` as yet, whose products are then quantized under `options`.
/// The same bits for any thread count.
Result<AwqReport> scale_for_weights(Model& model, const Graph& measured,
                                    const WeightOnlyOptions& options);

}  // namespace onnxtool
