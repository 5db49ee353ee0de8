#include "apps/quantize_method.h"

namespace onnxtool {

Result<std::unique_ptr<QuantizeMethod>> make_method(const QuantizeFlags& flags) {
  const bool has_data = !flags.calib.empty() || !flags.data.raw.empty() || flags.data.random > 0;
  if (!flags.format.empty() && !has_data && !flags.dry_run && flags.ranges.empty())
    return make_form_method(flags);
  return make_static_method(flags);
}

}  // namespace onnxtool
