// What is said of a model of which nothing was quantized.
#pragma once

#include <string>
#include <vector>

#include "quant/placement.h"

namespace onnxtool {

/// `counts` as a list: "2 x Conv: excluded; 1 x ...", the keys in order; or `otherwise`, if empty.
std::string counted(const std::map<std::string, int>& counts, const std::string& otherwise);

/// kNegative (exit 1): `what`, and how often which reason keeps which operator in float.
Error nothing_quantized(const std::string& what, const std::vector<NodeDecision>& decisions,
                        const std::string& otherwise, std::string hint = {});

}  // namespace onnxtool
