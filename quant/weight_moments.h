// The moments of what the products of each weight read, a few weights at a time.
#pragma once

#include <map>
#include <memory>

#include "quant/gptq.h"
#include "quant/weight_sites.h"

namespace onnxtool {

/// Factors of weights, which may share one.
using GptqFactors = std::map<const Value*, std::shared_ptr<const GptqFactor>>;

/// Sites of the same weights in one pass over the samples.
struct MomentPass {
  std::vector<WeightSite> sites;   // of which some are measured
  std::vector<LayerInput> inputs;  // of the model that is run
  /// By weight of the model that is quantized: inputs that its products read.
  std::map<const Value*, std::vector<size_t>> inputs_of;
};

/// Sites in passes whose moments take at most 768 MiB at a time, or are a single weight's.
/// Values are found by name in `measured`, a copy of the sites' model that stays as it is. What
/// cannot be measured is in a pass all the same, without inputs: tables, products in bodies, and
/// products of enormous depth.
std::vector<MomentPass> moment_passes(const WeightSites& sites, const Graph& measured);

/// Runs the samples once, unless nothing is measured. Factors, which are as large as moments, take
/// their place one after the other.
Result<GptqFactors> factors_of(const MomentPass& pass, const Graph& measured,
                               const WeightCalibration& calibration);

}  // namespace onnxtool
