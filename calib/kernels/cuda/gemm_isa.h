// What kernels of products are prepared with on a device, where the host's name a set of
// instructions: how operands are rounded.
#pragma once

#include "calib/kernels/cuda/product.h"

namespace onnxtool {

struct GemmIsa {
  device::Precision precision = device::Precision::kFloat32;
};

const GemmIsa& gemm_isa();
const GemmIsa& gemm_isa_portable();

template <device::Precision precision>
const GemmIsa& gemm_isa_of() {
  static constexpr GemmIsa isa{precision};
  return isa;
}

namespace device {

inline constexpr std::initializer_list<DataType> kReducedTypes = {DataType::kFloat};

/// Kernels whose sources make them by info(types, prepare) of a prepare<isa>().
#define ONNXTOOL_REDUCED_BY_ISA(info, prepare)                                       \
  {                                                                                  \
    info(device::kReducedTypes, prepare<gemm_isa_of<device::Precision::kTf32>>),     \
        info(device::kReducedTypes, prepare<gemm_isa_of<device::Precision::kBf16>>), \
        info(device::kReducedTypes, prepare<gemm_isa_of<device::Precision::kFp16>>)  \
  }

}  // namespace device
}  // namespace onnxtool
