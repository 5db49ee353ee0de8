// Integer products as x86 CPUs without VNNI compute them: vpmaddubsw adds two neighbouring products
// of u8 and s8 in 16 bits, which saturate. Everything else about a sum is exact there too.
//
// Source: Intel's instruction reference, PMADDUBSW; onnxruntime's documentation of reduce_range.
// Its products (MLAS) take the data as u8, s8 data with the sign bit flipped, the weights as s8,
// and the pairs in the order of memory; u8 weights and depthwise convolutions take other
// instructions.
#pragma once

#include <functional>

#include "calib/kernels/cpu/gemm.h"

namespace onnxtool {

/// Whether kernels are to compute so, which the kernel set decides.
enum class Pairs : uint8_t { kExact, kSaturating };

/// Integer products alone, with such results: to stand before other sets.
const KernelSet& cpu_kernel_set_no_vnni();

extern const KernelInfo kQLinearConvNoVnni, kMatMulIntegerNoVnni, kQLinearMatMulNoVnni,
    kMatMulIntegerToFloatNoVnni, kDynamicQuantizeMatMulNoVnni, kQGemmNoVnni;

/// Writes the codes of a row of the left or a column of the right matrix of product `batch`: the
/// data's as u8, the weights' as s8.
using CodesOf = std::function<void(int64_t batch, int64_t line, uint8_t* codes)>;

struct PairOperands {
  CodesOf rows, columns;
  bool weights_are_rows = false;
  int64_t depth = 0;  // products of one sum
};

/// What the saturation of pairs takes from a sum of `depth` products.
int32_t saturation_loss(const uint8_t* data, const int8_t* weights, int64_t depth);

/// Hands sums on to `inner` as such CPUs have them.
class SaturatingSink final : public ProductSink<int16_t> {
 public:
  SaturatingSink(const ProductSink<int16_t>& inner, PairOperands operands)
      : inner_(inner), operands_(std::move(operands)) {}
  int64_t buffer_count(int64_t count) const override { return inner_.buffer_count(count); }
  int32_t* target(int64_t batch, const GemmRange& range, int32_t* buffer,
                  int64_t* stride) const override {
    return inner_.target(batch, range, buffer, stride);
  }
  void finish(int64_t batch, const GemmRange& range, int32_t* sums, int64_t stride) const override;

 private:
  const ProductSink<int16_t>& inner_;
  PairOperands operands_;
};

/// Copies codes of data, from `step` to `step`, as u8.
void copy_data_codes(const void* data, bool is_signed, int64_t first, int64_t step, int64_t count,
                     uint8_t* codes);

}  // namespace onnxtool
