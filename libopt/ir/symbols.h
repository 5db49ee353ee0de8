// Names of extents that are not the model's own.
#pragma once

#include <string_view>

namespace onnxtool {

/// In front of the names that inference makes up for unknown extents, so that it can tell equal
/// ones. They are shown as unknown, and never written.
inline constexpr std::string_view kInventedDim = "?v";

}  // namespace onnxtool
