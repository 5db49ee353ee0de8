// Ways of quantizing, and the flags that belong to each.
#pragma once

#include "apps/quantize_flags.h"

namespace onnxtool {

enum class QuantizeMode : uint8_t { kStatic, kDynamic, kWeightOnly, kHalf, kForm };

/// --dynamic, --weight-only, --to, else static; --format where there is no data converts what is
/// quantized. Errors: two modes at once; a flag that the mode or other flags leave nothing to do.
Result<QuantizeMode> quantize_mode(const QuantizeFlags& flags);

}  // namespace onnxtool
