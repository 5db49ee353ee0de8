// What operators that move elements have in common when they are quantized.
#pragma once

#include "libopt/ir/graph.h"

namespace onnxtool {

/// Why the result of a Pad does not share its input's scale: zero is in every range, another number
/// may not be. nullptr: it does.
const char* pad_obstacle(const Node& pad);

}  // namespace onnxtool
