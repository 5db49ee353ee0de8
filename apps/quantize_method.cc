#include "apps/quantize_method.h"

#include "apps/quantize_mode.h"

namespace onnxtool {

Result<std::unique_ptr<QuantizeMethod>> make_method(const QuantizeFlags& flags) {
  ONNXTOOL_ASSIGN(const QuantizeMode mode, quantize_mode(flags));
  if (mode == QuantizeMode::kWeightOnly) return make_weight_only_method(flags);
  const bool has_data = !flags.calib.empty() || !flags.data.raw.empty() || flags.data.random > 0;
  if (!flags.format.empty() && !has_data && !flags.dry_run && flags.ranges.empty())
    return make_form_method(flags);
  return make_static_method(flags);
}

}  // namespace onnxtool
