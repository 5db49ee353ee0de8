// The equation of Einsum: "ij,jk->ik", with "..." for the axes that broadcast.
#pragma once

#include <string_view>

#include "calib/kernels/cpu/common.h"

namespace onnxtool {

/// Axes by label: 0 to 51 are the letters; the axes of an ellipsis follow, the last one first.
using AxisLabels = std::vector<int>;
inline constexpr int kFirstEllipsisLabel = 52;

struct EinsumEquation {
  std::vector<AxisLabels> inputs;
  AxisLabels output;
};

/// Of inputs with these ranks. Without "->" the output has the axes of the ellipsis, then the
/// letters that appear once, in order.
Result<EinsumEquation> parse_einsum(std::string_view text, std::span<const size_t> ranks);

}  // namespace onnxtool
