// com.microsoft.GroupQueryAttention on a device: the host's source, products by attention_core.cu.
#include "calib/kernels/cpu/group_query_attention.cc"

#include "calib/kernels/cuda/gemm_isa.h"

namespace onnxtool {
constinit const device::ReducedKernels kReducedGroupQueryAttention =
    ONNXTOOL_REDUCED_BY_ISA(info, prepare);
}  // namespace onnxtool
