// Weights of a QDQ model rounded again by what they do to each layer's output (adaround.h).
#pragma once

#include <map>
#include <string>
#include <vector>

#include "calib/ranges/collect.h"
#include "libopt/ir/model.h"
#include "quant/placement.h"

namespace onnxtool {

/// Codes of one layer's weights, as they lie, for the scales that they were chosen for.
struct RoundedWeights {
  std::vector<float> scales;
  std::vector<std::byte> codes;
  double nearest_db = 0, chosen_db = 0;  // SQNR of the layer's output on inputs of the float model
};
/// By the name of the layer's first output.
using RoundedLayers = std::map<std::string, RoundedWeights>;

/// Of Conv, Gemm and MatMul on integers with 8-bit weights that only they read. `reference` is the
/// model of `placement` and `quantized` what was made of it. Layers go through the samples in
/// parts, so that memory stays bounded; those of enormous depth are left out. `adds_pairs`: the
/// target's kernels do, and no pair of weights may saturate.
Result<RoundedLayers> round_layers(const Placement& placement, const Graph& reference,
                                   const Graph& quantized, const SampleSource& source,
                                   const RunOptions& run, bool adds_pairs);

/// Puts the codes into a model where the layer's weights have the same scales.
void apply_roundings(Model& quantized, const RoundedLayers& layers);

}  // namespace onnxtool
