// Ways of quantizing, and the flags that belong to each.
#pragma once

#include "apps/quantize_flags.h"

namespace onnxtool {

enum class QuantizeMode : uint8_t { kStatic, kDynamic, kWeightOnly, kHalf };

/// --dynamic, --weight-only, --to, else static. Errors: two modes at once; a flag without meaning
/// in the mode chosen.
Result<QuantizeMode> quantize_mode(const QuantizeFlags& flags);

}  // namespace onnxtool
