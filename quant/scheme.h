// What the user asked of a quantization.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "calib/ranges/calibrator.h"
#include "libopt/ir/dtype.h"
#include "libopt/target/target.h"
#include "quant/overrides.h"
#include "quant/selection.h"

namespace onnxtool {

/// Automatic: tries every calibrator and keeps the one whose model is closest to the float one.
struct CalibratorChoice {
  bool automatic = true;
  Calibrator calibrator = Calibrator::kMinMax;
  CalibratorOptions options;
};

/// How the result is written (quant/qoperator.h).
enum class Form : uint8_t { kQdq, kQOperator };

/// How far channels are evened out before products read them; without a number each tensor gets
/// what is predicted to be best (quant/smooth.h).
struct Smoothing {
  std::optional<double> strength;
};

struct QuantizeOptions {
  const Target* target = &kOrtCpu;
  Form form = Form::kQdq;
  DataType activation_type = DataType::kUint8;  // one of the target's
  bool activation_symmetric = false;
  DataType weight_type = DataType::kInt8;  // likewise
  bool per_channel = true;
  CalibratorChoice calibrator;
  /// Graph outputs behind Gemm and MatMul are quantized too.
  bool quantize_outputs = false;
  /// Rescales hidden channels by powers of two, so that one range suits all of them.
  bool equalize = true;
  /// Also where the gain that is predicted is small.
  bool equalize_small_gains = false;
  std::optional<Smoothing> smooth;
  /// onnxruntime's formulas and placement where they differ from ours.
  bool ort_compat = false;
  /// Refuses to raise the opset; per-channel weights then become per-tensor where Q/DQ have no
  /// axis.
  bool no_opset_change = false;
  Selection include, exclude;
  /// Wishes for single layers and tensors.
  Overrides overrides;
  /// Layers that are decided to stay in float once everything is calibrated, by their first result;
  /// with any, nothing is weighed.
  std::set<std::string> in_float;
  /// Observes tensors that only then have a range of their own, too.
  bool may_leave_in_float = false;
  /// Typical shapes of the inputs, by name: a sample's. Where layers are weighed, extents that the
  /// model leaves open are these.
  std::map<std::string, std::vector<int64_t>> input_shapes;
};

/// Least opset of ai.onnx whose QuantizeLinear and DequantizeLinear have an axis (per-channel).
inline constexpr int kPerChannelOpset = 13;
/// Least opset that has them at all.
inline constexpr int kPerTensorOpset = 10;
/// Least opset that has them for 8-bit floats.
inline constexpr int kFloat8Opset = 19;
/// Least opset that has them for 16- and 4-bit integers.
inline constexpr int kAllTypesOpset = 21;

}  // namespace onnxtool
