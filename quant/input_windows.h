// What a convolution reads, one window after another.
#pragma once

#include <functional>
#include <span>

#include "calib/exec/kernel.h"
#include "libopt/ir/graph.h"

namespace onnxtool {

/// Calls body(group, elements) for windows of x [N, C, spatial...], as the weights [C_out,
/// C / group, kernel...] of `conv` meet them: at most `most` positions, evenly spaced, each for
/// every group. Padding is zeros. Errors: extents that do not fit each other.
Status for_each_window(const Node& conv, const ConstView& x, int64_t most,
                       const std::function<void(int64_t group, std::span<const float>)>& body);

}  // namespace onnxtool
