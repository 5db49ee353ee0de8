// Writes the decided quantization into the graph as QuantizeLinear and DequantizeLinear.
#pragma once

#include <string>
#include <vector>

#include "libopt/ir/model.h"
#include "libopt/target/qdq_fusion.h"
#include "quant/pair_limit.h"
#include "quant/params.h"
#include "quant/placement.h"

namespace onnxtool {

/// Scale and zero point of one of Placement::tensors, in the same order.
struct TensorParams {
  DataType type = DataType::kUint8;
  Range range;
  QuantParams params;
  QuantScheme scheme;

  /// The same codes with another scale: the range grows with it.
  void rescale(float scale) {
    const double factor = static_cast<double>(scale) / static_cast<double>(params.scale);
    range = {range.min * factor, range.max * factor};
    params.scale = scale;
  }
};

struct EmitReport {
  IntegerGraph predicted;          // what the target runs once it has fused the graph
  int64_t quantized_weights = 0;   // elements
  std::vector<std::string> notes;  // raised weight scales
  PairReport pairs;                // where the target's kernels add them
};

/// `params` belong to `placement.tensors`. Names follow onnxruntime's tools: X_quantized, X_scale,
/// X_zero_point, X_QuantizeLinear, X_DequantizeLinear. The model's inputs and outputs keep name and
/// type. Errors: weights that are not finite.
Result<EmitReport> emit_qdq(Model& model, const Placement& placement,
                            const std::vector<TensorParams>& params,
                            const QuantizeOptions& options);

}  // namespace onnxtool
