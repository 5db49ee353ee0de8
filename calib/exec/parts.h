// Results that are parts of what was read. For kernels within the executor's library: what modules
// may ask for is in kernel.h, and there parts are copies.
#pragma once

#include "calib/exec/kernel.h"

namespace onnxtool {

/// Makes the output the part of a plain input that starts at element `first` and has as many
/// elements as `dims`: no copy. False: nothing was done, since the part would keep much more memory
/// than it takes, has elements of less than a byte, or this is no step of the executor's own.
#if defined(ONNXTOOL_DEVICE_KERNELS)
inline bool share_part(KernelContext&, int, int, std::span<const int64_t>, int64_t) {
  return false;
}
#else
bool share_part(KernelContext& ctx, int output, int input, std::span<const int64_t> dims,
                int64_t first);
#endif

}  // namespace onnxtool
