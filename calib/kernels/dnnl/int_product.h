// Products of 8-bit codes with a constant matrix on the right, prepared for matmul_int.cc.
#pragma once

#include <memory>
#include <vector>

#include "calib/kernels/cpu/int_product_inputs.h"
#include "calib/kernels/dnnl/rows.h"
#include "calib/kernels/dnnl/shape_cache.h"

namespace onnxtool {

/// What becomes of the sums.
enum class IntOutcome : uint8_t { kSums, kFloats, kCodes };

struct IntProductState final : KernelState {
  IntProductInputs at;
  IntOutcome result = IntOutcome::kSums;
  int64_t k = 0, n = 0;
  DnnlType source = DnnlType::u8;
  std::vector<int8_t> codes;             // of b: orders for signed sources cannot be made of others
  std::vector<int32_t> column_sums;      // of those
  std::vector<int32_t> b_zero_points;    // [n], of those; empty: all are 0
  std::vector<int32_t> bias;             // [n], of QGemm
  std::vector<float> b_scales, factors;  // [n]; factors make codes, or QGemm's floats
  std::vector<float> float_bias;         // [n], where a has scales of its own
  int32_t y_zero_point = 0;
  DataType y_type = DataType::kUint8;
  mutable WeightStore weights;  // touched under the cache's lock only
  mutable ShapeCache<ConvolutionPlan> plans;
};

/// Whether the left side is quantized when the model runs.
inline bool is_dynamic(const NodeView& node) { return node.op_type() == "DynamicQuantizeMatMul"; }

/// Whether oneDNN serves the node with exact sums.
bool accepts_int_product(const NodeView& node);
Result<std::unique_ptr<KernelState>> prepare_int_product(const NodeView& node);
Result<std::shared_ptr<const ConvolutionPlan>> int_product_plan(const IntProductState& state,
                                                                int64_t rows, int threads);

}  // namespace onnxtool
