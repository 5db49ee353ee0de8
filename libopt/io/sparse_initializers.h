// Sparse initializers, which a graph keeps as the bytes that they were.
#pragma once

#include <optional>
#include <string>

#include "libopt/ir/attribute.h"
#include "libopt/support/status.h"

namespace onnxtool {

/// What one of Graph::opaque_fields holds; nullopt: no sparse initializer.
Result<std::optional<SparseTensor>> sparse_initializer(const std::string& opaque_field);

}  // namespace onnxtool
