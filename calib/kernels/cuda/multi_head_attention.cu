// com.microsoft.MultiHeadAttention on a device: the host's source, products by attention_core.cu.
#include "calib/kernels/cpu/multi_head_attention.cc"

#include "calib/kernels/cuda/gemm_isa.h"

namespace onnxtool {
constinit const device::ReducedKernels kReducedMultiHeadAttention =
    ONNXTOOL_REDUCED_BY_ISA(info, prepare);
}  // namespace onnxtool
