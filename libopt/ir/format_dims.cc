// Apart from tensor.cc, so that kernel modules can have it too.

#include "libopt/ir/tensor.h"

namespace onnxtool {

std::string format_dims(std::span<const int64_t> dims) {
  std::string s = "[";
  for (size_t i = 0; i < dims.size(); ++i) s += (i ? ", " : "") + std::to_string(dims[i]);
  return s + "]";
}

}  // namespace onnxtool
