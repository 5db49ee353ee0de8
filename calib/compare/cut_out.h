// Taking nodes that cannot be run out of a model, so that what stands around them can.
#pragma once

#include <functional>

#include "libopt/ir/model.h"
#include "libopt/support/status.h"

namespace onnxtool {

/// Removes the chosen nodes of the main graph. What they made becomes inputs `cut.K.out.I` (K
/// counts the nodes in order, I their outputs), what they read becomes outputs `cut.K.in.I`, so a
/// model and its rewritten self, in which such nodes are the same and in the same order, are cut at
/// the same places. Errors (kUnsupported): a result of theirs is read whose type is not known, or a
/// graph output is one. Returns how many nodes went.
Result<int64_t> cut_out(Model& model, const std::function<bool(const Node&)>& chosen);

}  // namespace onnxtool
