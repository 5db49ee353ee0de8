// Functions: operators that stand for graphs of other operators.
#pragma once

#include <memory>

#include "libopt/ir/model.h"
#include "libopt/support/status.h"

namespace onnxtool {

/// The model's function that the node calls; nullptr: it calls none.
const Function* called_function(const Node& node);

/// The standard's definition of the node's operator by others, for this node's attributes and input
/// types, as the only function of a model. nullptr: there is none.
Result<std::unique_ptr<Model>> standard_function(const Node& node);

}  // namespace onnxtool
