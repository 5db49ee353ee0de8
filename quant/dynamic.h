// Dynamic quantization: weights are integers in the file, activations become u8 while the model
// runs, each tensor over its own range. No samples are needed.
//
//   y = MatMul(x, W)   =>   q, s, z = DynamicQuantizeLinear(x)
//                           y = Cast(MatMulInteger(q, W_q, z, W_z)) * (s * W_s)
//
// Gemm likewise, with its bias added behind; LSTM becomes DynamicQuantizeLSTM, tables that are
// gathered from GatherBlockQuantized with 8 bits (both com.microsoft); Conv becomes ConvInteger
// where it is asked for.
// Source: onnxruntime's quantize_dynamic, whose names these are; the fusions of its CPU provider.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "libopt/ir/model.h"
#include "libopt/target/target.h"
#include "quant/prepare.h"
#include "quant/quantized_model.h"
#include "quant/selection.h"

namespace onnxtool {

struct DynamicOptions {
  const Target* target = &kOrtCpu;
  bool is_signed = true;  // of weights; signed ones are symmetric
  bool per_channel = true;
  bool no_opset_change = false;
  /// Nodes that `include` names are quantized whether that is faster or not; Conv only then.
  Selection include, exclude;
  /// Shapes of inputs by name, a sample's; open extents count as 1.
  std::map<std::string, std::vector<int64_t>> input_shapes;
};

struct DynamicModel : QuantizedModel {
  Preparation preparation;
  std::vector<std::string> notes;
};

/// Prepares the float model and decides. Errors: kNegative where nothing is worth quantizing.
Result<DynamicModel> plan_dynamic(std::unique_ptr<Model> model, const DynamicOptions& options);

/// Fills in `plan`'s model. Errors: weights that are not finite.
Status quantize_dynamically(DynamicModel& plan, const DynamicOptions& options);

}  // namespace onnxtool
