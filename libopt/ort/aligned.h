// Vectors of a hostile file.
#pragma once

#include <cstdint>

namespace onnxtool {

/// Whether a FlatBuffers vector's elements may be read: the library's verifier looks at the
/// length's alignment, not at that of 8-byte elements.
template <class Vector>
bool has_aligned_elements(const Vector& vector) {
  return vector.size() == 0 ||
         reinterpret_cast<uintptr_t>(vector.Data()) % sizeof(vector.Get(0)) == 0;
}

}  // namespace onnxtool
