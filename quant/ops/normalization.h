// What normalizations have in common when they are quantized.
#pragma once

#include "libopt/ir/graph.h"

namespace onnxtool {

/// Why an InstanceNormalization, LayerNormalization or BatchNormalization (x, scale, bias?, ...)
/// stays float: scale and bias must be constant float32 vectors of one length, and nothing may read
/// its means. nullptr: it need not.
const char* normalization_obstacle(const Node& node);

}  // namespace onnxtool
