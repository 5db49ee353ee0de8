// How the weights of a layer on integers are to be coded.
#pragma once

#include "quant/pair_limit.h"
#include "quant/placement.h"
#include "quant/scheme.h"

namespace onnxtool {

struct WeightPlan {
  WeightOptions options;
  std::optional<int64_t> axis;  // of the channels with a scale each; nullopt: one scale
};

/// Of a layer with a constant weight, in a model of this opset.
WeightPlan plan_weight(const IntegerNode& layer, const QuantizeOptions& options, int opset);

/// What becomes of layers whose kernels add pairs, before anything is calibrated or evened out.
/// Weights that are not finite are left out.
PairReport expected_pairs(const Placement& placement, const QuantizeOptions& options, int opset);

}  // namespace onnxtool
