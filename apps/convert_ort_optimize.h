// What convert-ort optimizes before it writes: passes, and integer operators for Q/DQ graphs, with
// the proof where it is asked for.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libopt/ir/model.h"
#include "libopt/ort/fusion_records.h"
#include "libopt/rewrite/driver.h"
#include "libopt/rewrite/verifier.h"
#include "libopt/support/status.h"

namespace onnxtool {

struct OrtOptimizeOptions {
  std::string level = "basic";  // disable, basic, extended or all
  std::string arch = "arm";     // arm or amd64: what level all is for
  std::string verify = "off";   // off, quick, full or strict
  int threads = 1;
  /// Leaves alone what a file of style runtime records: activations behind a Conv, and operators
  /// between DequantizeLinear and QuantizeLinear.
  bool keep_recorded = false;
};

struct OrtOptimized {
  std::optional<Verification> verification;  // absent: off, or nothing changed
  std::vector<Breach> dropped;               // passes that were left out
  int integer_nodes = 0;                     // that Q/DQ groups became
};

/// Whether operators that only onnxruntime has are written at the level.
bool writes_ort_operators(std::string_view level);

/// Operators between DequantizeLinear and QuantizeLinear as the runtime's integer ones; how many.
Result<int> lower_for_ort(Model& model);

/// All that the runtime may fuse in a prepared model when it loads the file.
std::vector<OrtFusionRecord> ort_records(const Model& model);

/// Levels extended and all write operators of com.microsoft, and the integer operators that the
/// runtime would make of a QDQ graph, since it makes none when it loads a .ort file; these are not
/// judged by the verifier. Error kNegative: the result computes something else, or strict cannot
/// tell.
Result<OrtOptimized> optimize_for_ort(std::unique_ptr<Model>& model,
                                      const OrtOptimizeOptions& options);

}  // namespace onnxtool
