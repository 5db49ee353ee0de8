// NumPy's .npy files, alone and inside .npz archives.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "calib/data/arrays.h"
#include "libopt/support/status.h"

namespace onnxtool {

/// Reads the header at the start of `bytes` (format versions 1 to 3) and checks that the payload is
/// exactly what follows it. Bool, integers, floats, complex and fixed-width strings of either byte
/// order, in C or Fortran order; structured types and pickled objects are refused.
/// Source: NumPy's format documentation, "NPY format".
Result<StoredArray> read_npy(std::shared_ptr<const ByteSource> bytes, std::string name,
                             std::string place);

Result<StoredArray> open_npy(const std::string& path, std::string name);

}  // namespace onnxtool
