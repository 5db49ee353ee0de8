#include "calib/kernels/cpu/saturation.h"

#include <algorithm>
#include <vector>

namespace onnxtool {

const KernelSet& cpu_kernel_set_no_vnni() {
  static constexpr const KernelInfo* kKernels[] = {
      &kQLinearConvNoVnni,          &kMatMulIntegerNoVnni,         &kQLinearMatMulNoVnni,
      &kMatMulIntegerToFloatNoVnni, &kDynamicQuantizeMatMulNoVnni, &kQGemmNoVnni};
  static constexpr KernelSet kSet{
      .name = "no-vnni", .space = MemorySpace::kHost, .kernels = kKernels, .isa = "no-vnni"};
  return kSet;
}

int32_t saturation_loss(const uint8_t* data, const int8_t* weights, int64_t depth) {
  int32_t loss = 0;
  // A product without a neighbour fits: 255 x -128.
  for (int64_t i = 0; i + 1 < depth; i += 2) {
    const int32_t pair = data[i] * weights[i] + data[i + 1] * weights[i + 1];
    loss += pair - std::clamp(pair, -32768, 32767);
  }
  return loss;
}

void SaturatingSink::finish(int64_t batch, const GemmRange& range, int32_t* sums,
                            int64_t stride) const {
  const int64_t k = operands_.depth, n = range.n1 - range.n0;
  std::vector<uint8_t> row(static_cast<size_t>(k)), columns(static_cast<size_t>(k * n));
  for (int64_t j = 0; j < n; ++j) operands_.columns(batch, range.n0 + j, columns.data() + j * k);
  for (int64_t i = range.m0; i < range.m1; ++i) {
    operands_.rows(batch, i, row.data());
    for (int64_t j = 0; j < n; ++j) {
      const uint8_t* column = columns.data() + j * k;
      const uint8_t* data = operands_.weights_are_rows ? column : row.data();
      const uint8_t* weights = operands_.weights_are_rows ? row.data() : column;
      sums[(i - range.m0) * stride + j] -=
          saturation_loss(data, reinterpret_cast<const int8_t*>(weights), k);
    }
  }
  inner_.finish(batch, range, sums, stride);
}

void copy_data_codes(const void* data, bool is_signed, int64_t first, int64_t step, int64_t count,
                     uint8_t* codes) {
  const auto* from = static_cast<const uint8_t*>(data) + first;
  const uint8_t flip = is_signed ? 0x80 : 0;
  for (int64_t i = 0; i < count; ++i) codes[i] = from[i * step] ^ flip;
}

}  // namespace onnxtool
