// `diff --per-layer`: aligned layers of two models and their errors, as a section of the report.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "apps/report/report.h"
#include "calib/compare/gates.h"
#include "calib/compare/layers.h"

namespace onnxtool {

struct LayerRequest {
  std::string mode;             // "cumulative", "local", "both"
  std::optional<double> limit;  // dB; absent: by the kinds of the models
  ModelKind reference = ModelKind::kFloat, test = ModelKind::kFloat;
  std::vector<const KernelSet*> test_kernel_sets = {};  // empty: those of the run
};

/// Layers below this many dB have diverged: 60 between float models, 40 and 20 with float16 and
/// int8.
double layer_limit(const LayerRequest& request);

/// The section, and what it speaks of.
struct LayersFound {
  Section section;
  std::vector<LayerPair> pairs;
  std::optional<size_t> first;  // of `pairs`: the first that diverged
};

Result<LayersFound> layers_section(const Graph& reference, const Graph& test,
                                   const InputPairing& inputs, const SampleSource& source,
                                   const RunOptions& run, const LayerRequest& request);

}  // namespace onnxtool
