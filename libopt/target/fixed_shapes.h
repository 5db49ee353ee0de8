// Which targets build their graphs for one set of shapes.
#pragma once

#include "libopt/target/target.h"

namespace onnxtool {

/// Source: the documentation of onnxruntime's QNN provider, which asks for fixed shapes.
inline bool needs_fixed_shapes(const Target& target) { return &target == &kQnn; }

}  // namespace onnxtool
