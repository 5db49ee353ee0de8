// Weights of com.microsoft.MatMulNBits: attributes, shapes, and how codes are packed.
#pragma once

#include "calib/kernels/cpu/common.h"
#include "calib/kernels/cpu/host_device.h"

namespace onnxtool {

/// b is [n, blocks, bytes of a block], low bits first; a row of packed zero points begins a byte.
struct NBitsShape {
  int64_t k = 0, n = 0, bits = 4, block = 0;
  bool rounds = false;  // a, to 8 bits

  ONNXTOOL_HD int64_t blocks() const { return (k + block - 1) / block; }
  ONNXTOOL_HD int64_t block_bytes() const { return block * bits / 8; }
  ONNXTOOL_HD int64_t zero_point_bytes() const { return (blocks() * bits + 7) / 8; }
};
Result<NBitsShape> nbits_shape(const NodeView& node);

/// Code `i` of packed unsigned integers.
ONNXTOOL_HD inline int32_t packed_at(const uint8_t* data, int64_t i, int64_t bits) {
  const int64_t first = i * bits;
  return (data[first / 8] >> (first % 8)) & ((1 << bits) - 1);
}

/// Of inputs 1 to 3, in the memory of the kernel: at most one kind of zero points, 2^(bits - 1)
/// where there is none.
struct NBitsWeights {
  const uint8_t* b = nullptr;
  const float* scales = nullptr;  // [n, blocks]
  const uint8_t* packed_zero_points = nullptr;
  const float* zero_points = nullptr;  // [n, blocks]

  /// The zero point of a block of row `row`.
  ONNXTOOL_HD float zero(const NBitsShape& s, int64_t row, int64_t block) const {
    if (zero_points) return zero_points[row * s.blocks() + block];
    if (packed_zero_points)
      return static_cast<float>(
          packed_at(packed_zero_points + row * s.zero_point_bytes(), block, s.bits));
    return static_cast<float>(1 << (s.bits - 1));
  }
};
Result<NBitsWeights> nbits_weights(KernelContext& ctx, const NBitsShape& shape);

/// Extents of the result; a's last extent must be k, and the bias, input 5, n elements.
Result<Dims> nbits_result(const KernelContext& ctx, const NBitsShape& shape);

}  // namespace onnxtool
