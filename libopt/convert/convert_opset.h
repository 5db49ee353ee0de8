// Raising the version of ai.onnx that a model imports.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "libopt/ir/model.h"
#include "libopt/support/status.h"

namespace onnxtool {

inline constexpr int kMaxConvertTarget = 26;

struct ConversionReport {
  int from = 0, to = 0;  // ai.onnx of the model; equal: nothing was to do
  int64_t ir_from = 0, ir_to = 0;
  std::vector<std::string> changes;  // `Slice: starts, ends and axes became inputs (12 nodes)`
};

/// Raises the ai.onnx import to `target`, at most kMaxConvertTarget, and rewrites every node whose
/// operator changed on the way (in subgraphs and bodies of local functions too), so that the model
/// computes the same. Where the standard is silent on what an old operator computes, onnxruntime's
/// answer is kept. Graph inputs and outputs stay as they are; other domains are left alone; values
/// added have types where known. ir_version rises to the least that the target may stand in. A
/// model at or above the target is left alone.
///
/// All or nothing: nodes without an equal at the target are kUnsupported, every one named with its
/// reason, and the model stays as it was (types of values apart, which are inferred where a change
/// depends on one that is missing).
Result<ConversionReport> convert_opset(Model& model, int target);

/// The least ir_version of a model that imports ai.onnx `opset`.
int64_t least_ir_version(int opset);

/// In files older than IR version 4 every initializer had to be a graph input as well, which keeps
/// runtimes from treating it as a constant. Removes these inputs and sets ir_version to 4. Files of
/// IR version 4 and later mean it: left alone. Returns how many inputs went.
int promote_initializers(Model& model);

}  // namespace onnxtool
