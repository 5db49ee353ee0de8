// Which element types the standard admits at each place of an operator.
#pragma once

#include <string>
#include <vector>

#include "libopt/ir/graph.h"

namespace onnxtool {

/// Of one formal input or output.
struct FormalType {
  std::string variable;  // "T", or the type itself where the operator fixes it
  bool admits = false;   // tensors of the element type asked for
};

/// By actual index: a variadic parameter stands once for each of the node's. Absent ones are there
/// too.
struct FormalTypes {
  std::vector<FormalType> inputs, outputs;
};

/// For the version that the node's model imports. Empty lists where the standard does not know the
/// operator.
FormalTypes formal_types(const Node& node, DataType type);

}  // namespace onnxtool
