// What lets one source serve the host and a device: element functions carry ONNXTOOL_HD, and
// files that a device module compiles again ask kDeviceKernels where they would touch elements.
#pragma once

#include <cstdint>

#include "calib/exec/kernel.h"

#if defined(__CUDACC__)
#define ONNXTOOL_HD __host__ __device__
#else
#define ONNXTOOL_HD
#endif

namespace onnxtool {

#if defined(ONNXTOOL_DEVICE_KERNELS)
inline constexpr bool kDeviceKernels = true;
#else
inline constexpr bool kDeviceKernels = false;
#endif

/// a * b, rounded before anything is added to it: device compilers fuse the two otherwise.
ONNXTOOL_HD inline float rounded_product(float a, float b) {
#if defined(__CUDA_ARCH__)
  return __fmul_rn(a, b);
#else
  return a * b;
#endif
}

/// Kernels whose run() looks at every input but the first: shapes, axes, sizes.
inline InputUse parameters_on_host(const NodeView&, int input) {
  return input == 0 ? InputUse::kData : InputUse::kHost;
}

}  // namespace onnxtool
