// What the standard's operators take for attributes that a node leaves out.
#pragma once

#include "libopt/ir/model.h"

namespace onnxtool {

/// Whether a node would compute the same without the attribute: it holds what the schema of its
/// operator, at the opset that the node is in, gives as the default. False for operators outside of
/// the standard and for attributes that refer to those of a function.
bool is_default_attribute(const Node& node, const Attribute& attribute);

}  // namespace onnxtool
