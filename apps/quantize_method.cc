#include "apps/quantize_method.h"

namespace onnxtool {

Result<std::unique_ptr<QuantizeMethod>> make_method(const QuantizeFlags& flags) {
  return make_static_method(flags);
}

}  // namespace onnxtool
