// NumPy's .npz archives: a zip of .npy files.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "calib/data/arrays.h"
#include "libopt/support/status.h"

namespace onnxtool {

/// The arrays of the archive, in its order, named without `.npy`; other entries are left out.
/// `keep_unpacked`: a compressed array that is read is kept in memory, because slices of it will
/// follow; all of them together may take `max_memory_bytes` (0: no limit; kLimit).
/// An entry's unpacked size is believed only where it equals what the .npy header says.
Result<std::vector<StoredArray>> open_npz(const std::string& path, bool keep_unpacked,
                                          uint64_t max_memory_bytes);

}  // namespace onnxtool
