// What must hold of a comparison: limits on metrics, given or by the kinds of the two models.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "calib/compare/compare.h"
#include "calib/compare/side.h"
#include "libopt/ir/model.h"

namespace onnxtool {

/// In which numbers a model computes.
enum class ModelKind : uint8_t { kFloat, kHalf, kQuantized };
std::string_view name(ModelKind kind);  // "float", "float16", "int8"
/// kQuantized: some node quantizes, dequantizes or computes on integer codes. kHalf: more of the
/// weights (without weights: of the nodes' results) are of a 16-bit float type than of a wider one.
ModelKind kind_of(const Model& model);

/// One limit. Without a metric it is on the percentage points of accuracy lost.
struct Gate {
  std::string output;  // empty: every output for which the metric is defined
  std::optional<Metric> metric;
  double limit = 0;
  std::string text() const;  // "sqnr=20", "accuracy-drop=0.5"
};

/// `[OUTPUT:]METRIC=LIMIT`; OUTPUT may hold colons. Errors (kUsage) list close names, or the limits
/// that the metric can have: beyond them a gate would judge nothing.
Result<Gate> parse_gate(const std::string& text);

/// Errors (kUsage): a gate that names none of the outputs, which the hint lists, or a metric that
/// is not defined for the type of the one it names (kUndefined: not known). To be called before
/// anything runs.
Status check_gates(const std::vector<Gate>& gates, const std::vector<OutputInfo>& outputs);

/// The band |e| <= atol + rtol |r| for a pair of models that has one by default.
struct Band {
  double atol = 1e-5, rtol = 1e-3;
};
/// float16 on either side: 1e-3 and 1e-2.
Band default_band(ModelKind a, ModelKind b);

/// The gate of an output that no given gate judges: integers may differ by a step; bool and strings
/// not at all; floats by 20 dB where either model is quantized and `band_given` is not set, else
/// those of 8 and 4 bits by a step, and of others no element may lie outside of the band.
Gate default_gate(DataType type, ModelKind a, ModelKind b, bool band_given);

/// One gate on one output.
struct GateResult {
  Gate gate;
  std::string output;  // empty: the accuracy
  bool by_default = false;
  std::optional<double> value;
  Verdict verdict = Verdict::kNone;
};

struct GateRules {
  std::vector<Gate> given;
  ModelKind reference = ModelKind::kFloat, test = ModelKind::kFloat;
  bool band_given = false;
};

/// Every gate on every output that it is for, in the order of outputs. An output that no gate is
/// for gets its default gate; one that accuracy judges (the first) does not, unless its verdict is
/// settled whatever the labels say. A given band judges every floating output as outside=0, beside
/// the gates, where none of them is on `outside`. The gates went through check_gates(). Errors
/// (kUsage): a gate for all outputs whose metric none of them has.
Result<std::vector<GateResult>> judge(const ModelComparison& comparison, const GateRules& rules,
                                      const std::vector<DataType>& types);

/// "at least 20 dB", "at most 0.001".
std::string expectation(const Gate& gate);

}  // namespace onnxtool
