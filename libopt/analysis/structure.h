// Structural equality: the same graph under other names.
#pragma once

#include <optional>
#include <string>

#include "libopt/ir/model.h"

namespace onnxtool {

/// What differs first between two models, or nullopt. Ignored: names of nodes and of values that
/// are not inputs or outputs of the main graph, the order of nodes, types of values inside, names
/// inside of tensors, documentation and metadata. Constants are compared bit by bit; where one
/// model reads one constant twice, so must the other. Linear in both.
std::optional<std::string> structural_difference(const Model& a, const Model& b);

}  // namespace onnxtool
