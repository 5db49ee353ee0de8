// Lowering the version of ai.onnx that a model imports.
#pragma once

#include <functional>
#include <memory>

#include "libopt/convert/convert_opset.h"

namespace onnxtool {

inline constexpr int kMinConvertTarget = 7;

/// Lowers the ai.onnx import to `target`, at least kMinConvertTarget, and rewrites every node whose
/// operator had another form there (in subgraphs and bodies of local functions too), so that the
/// model computes the same; operators that are newer and that the standard defines by others are
/// written out. ir_version falls to the least that the target and what else is in the model may
/// stand in. Graph inputs and outputs stay as they are, and other domains are left alone. A model
/// at or below the target is left alone.
///
/// All or nothing: nodes that cannot go back are kUnsupported, every one named with its reason, and
/// the model stays as it was.
///
/// `fold` makes constants of what is computed from constants: the standard's bodies of operators
/// compute axes that older operators take as attributes. Without it these stay computed.
Result<ConversionReport> lower_opset(std::unique_ptr<Model>& model, int target,
                                     const std::function<void(Model&)>& fold = {});

}  // namespace onnxtool
