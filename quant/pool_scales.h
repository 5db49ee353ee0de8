// Scales behind GlobalAveragePool within what integer kernels take (libopt/target/pool_limits.h).
//
// Averages far smaller than what they are of come from inputs without a mean, as behind an
// InstanceNormalization; those of the quantized input are rounding, which a scale at the limit
// clips.
#pragma once

#include <string>
#include <vector>

#include "quant/emit.h"

namespace onnxtool {

/// Changes scales and ranges of results, zero points stay; `params` belong to `placement.tensors`.
/// Pools that stay float count too: a target that finds one between DQ and Q fuses it. Returns a
/// note for each pool.
std::vector<std::string> bound_pool_scales(const Graph& graph, const Placement& placement,
                                           std::vector<TensorParams>& params);

}  // namespace onnxtool
