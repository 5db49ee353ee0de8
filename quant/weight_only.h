// Weight-only quantization: the weights of MatMul, Gemm and Gather as 4- or 8-bit integers with a
// scale for every few of them; activations stay floats, and no samples are needed
// unless codes are to be chosen by what they do to outputs.
//
//   operators   y = MatMulNBits(x, codes, scales, zero points, bias)     com.microsoft
//               y = GatherBlockQuantized(codes, indices, scales, zero points)
//   otherwise   y = MatMul(x, DequantizeLinear(codes, scales, zero points))
//               y = Gather(codes, indices) * Gather(scales, indices)
//
// Sources: onnxruntime's contrib operators, ONNX DequantizeLinear-21.
#pragma once

#include <cmath>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "calib/data/source.h"
#include "calib/ranges/collect.h"
#include "libopt/io/pages.h"
#include "libopt/ir/model.h"
#include "quant/prepare.h"
#include "quant/quantized_model.h"
#include "quant/selection.h"

namespace onnxtool {

/// What the inputs of products are looked at on.
struct WeightCalibration {
  const SampleSource* samples = nullptr;
  RunOptions run;
};

struct WeightOnlyOptions {
  /// com.microsoft's operators; else QDQ form of ONNX's own.
  bool operators = true;
  int bits = 4;           // or 8
  bool is_signed = true;  // of the codes, in QDQ form
  bool symmetric = true;
  /// Weights that share a scale: a power of two from 16 to 256. 0: 32 with 4 bits, with 8 bits 128,
  /// or one scale per output channel in QDQ form.
  int64_t block = 0;
  /// Of MatMulNBits: 4 multiplies in int8, 0 in float.
  int64_t accuracy_level = 4;
  bool no_opset_change = false;
  /// Gather only.
  bool tables_only = false;
  Selection include, exclude;
  /// Chooses codes (quant/gptq.h) by the products' inputs on `calibration`, which it then needs.
  bool gptq = false;
  /// Scales channels before weights are rounded (quant/awq.h), likewise.
  bool awq = false;
  std::optional<WeightCalibration> calibration;
  /// Keeps quantized weights on disk until they are saved; nullptr: in memory.
  std::shared_ptr<ScratchFile> scratch;
  /// Told after each weight, in bytes read.
  std::function<void(int64_t done, int64_t total)> progress;
};

/// A weight that became integers.
struct QuantizedWeight {
  std::string name;
  int bits = 4;
  int64_t block = 0;  // 0: one scale per channel
  int64_t bytes_before = 0, bytes_after = 0;
  double sqnr_db = 0;
  bool lost = false;  // some are too small for a scale, and zeros now
  /// Of what products by it give: with the nearest codes, and with those that were chosen. NaN
  /// where nothing was measured.
  double nearest_output_db = std::nan(""), output_db = std::nan("");
};

struct WeightOnlyModel : QuantizedModel {
  Preparation preparation;
  std::vector<QuantizedWeight> weights;
  std::vector<std::string> notes;
};

/// What prepares the float model: weights out of the graph inputs, calls of functions inlined, the
/// opset raised to what the form needs. Errors: kNegative where no weight can be quantized.
Result<WeightOnlyModel> plan_weight_only(std::unique_ptr<Model> model,
                                         const WeightOnlyOptions& options);

/// Fills in `plan`'s model and weights, tensor by tensor.
/// Errors: weights that are not finite, scratch space.
Status quantize_weights_only(WeightOnlyModel& plan, const WeightOnlyOptions& options);

}  // namespace onnxtool
