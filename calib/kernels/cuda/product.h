// Matrix products on a device: cuBLASLt in the module, plain loops where tests stand in for one.
#pragma once

#include <optional>
#include <vector>

#include "calib/kernels/cuda/elements.h"

namespace onnxtool::device {

/// What operands of float32 products are rounded to first, half to even; sums stay float32.
enum class Precision : uint8_t { kFloat32, kTf32, kBf16, kFp16 };

/// The type that a float32 operand is converted to; float where products convert it themselves.
constexpr DataType operand_type(DataType type, Precision precision) {
  if (type != DataType::kFloat) return type;
  return precision == Precision::kBf16   ? DataType::kBfloat16
         : precision == Precision::kFp16 ? DataType::kFloat16
                                         : type;
}

/// Kernels of one operator that run in float32 with operands of fewer bits.
struct ReducedKernels {
  KernelInfo tf32, bf16, fp16;
};

/// c[i] = alpha * op(a[i]) * op(b[i]) for i < count, row-major and dense; op transposes where said.
/// Sums are float (double for double), in an order that depends on shapes alone.
struct Product {
  DataType type = DataType::kFloat;    // of a and b: float, double, float16 or bfloat16
  DataType result = DataType::kFloat;  // of c: `type`, or float for the 16-bit ones
  bool transpose_a = false, transpose_b = false;
  int64_t m = 0, n = 0, k = 0, count = 1;
  const void *a = nullptr, *b = nullptr;
  void* c = nullptr;
  int64_t a_step = 0, b_step = 0, c_step = 0;  // elements from one product to the next
  double alpha = 1;                            // rounded to float, but for products of double
  bool tf32 = false;                           // float operands are rounded to 10 bits of mantissa
};

/// Element `i` of an operand.
inline const std::byte* element(const void* data, DataType type, int64_t i) {
  return static_cast<const std::byte*>(data) + i * static_cast<int64_t>(size_bytes_of(type, 1));
}

/// The step between matrices that a batch of products reads in turn; nullopt: no step says it.
inline std::optional<int64_t> even_step(const std::vector<int64_t>& index) {
  const int64_t step = index.size() > 1 ? index[1] - index[0] : 0;
  for (size_t i = 0; i < index.size(); ++i)
    if (index[i] != index[0] + static_cast<int64_t>(i) * step) return std::nullopt;
  return step;
}

Status multiply(KernelContext& ctx, const Product& product);

/// The same of int8 operands, b transposed, with int32 sums, which wrap: on tensor cores. n and k
/// are multiples of 16, as all addresses and steps. false: there is no way to do it here.
Result<bool> multiply_integers(KernelContext& ctx, const Product& product);

}  // namespace onnxtool::device

namespace onnxtool {
extern const device::ReducedKernels kReducedMatMul, kReducedFusedMatMul, kReducedGemm,
    kReducedFusedGemm, kReducedConv, kReducedFusedConv, kReducedConvTranspose, kReducedAttention,
    kReducedHeadAttention, kReducedMultiHeadAttention, kReducedMsAttention,
    kReducedGroupQueryAttention, kReducedEinsum;
}  // namespace onnxtool
