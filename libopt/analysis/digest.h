// What a model computes, as one number.
#pragma once

#include <string>

#include "libopt/ir/model.h"

namespace onnxtool {

/// 64 hex digits that two models share when they compute the same by the same operators.
/// Independent of serialization (a Constant node is what the initializer is, a default that is
/// written out what one left out is), of where tensors are stored, of node order and of names
/// inside; inputs and outputs count by name and type. Left out: documentation, metadata, nodes that
/// nothing reads. Reads all weights. Models without model_differences() share it.
std::string semantic_digest(const Model& model);

}  // namespace onnxtool
