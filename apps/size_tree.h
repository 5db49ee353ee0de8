// Where the bytes of constants are, by the parts of their names.
#pragma once

#include <vector>

#include "apps/report/report.h"

namespace onnxtool {

/// Two tables: one for people, in which the largest parts stand open as far as some `shown` rows
/// go, and one for programs with every part. None where names make no parts, or one alone.
std::vector<Table> size_tree(const Treemap& sizes, size_t shown);

}  // namespace onnxtool
