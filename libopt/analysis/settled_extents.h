// Extents of inputs that a model's weights settle, though the inputs leave them open.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "libopt/ir/model.h"

namespace onnxtool {

/// By name of a graph input and axis: the one extent with which the layer behind it runs. Of the
/// channels of a convolution or normalization, the width of a product and what a recurrent layer
/// takes, where that reaches the input as it is. Types inside need not be inferred.
std::map<std::pair<std::string, int>, int64_t> settled_extents(const Model& model);

}  // namespace onnxtool
