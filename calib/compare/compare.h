// Two models on the same samples: outputs by every metric, layers by SQNR, labels by accuracy.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "calib/compare/metrics.h"
#include "calib/ranges/collect.h"

namespace onnxtool {

/// A value of the reference and the value of the test model that stands for it.
struct LayerPair {
  const Value* reference;
  const Value* test;
};

struct LayerError {
  std::string name;   // of the reference's value
  double sqnr_db = 0; // over all samples: 10 log10(sum r^2 / sum e^2)
};

struct ComparisonOptions {
  MetricOptions metrics;
  std::vector<LayerPair> layers;
  /// Labels of the samples judge output 0 of both.
  bool labelled = false;
  /// At most this many samples, from the start; negative: all.
  int64_t max_samples = -1;
};

struct ModelComparison {
  int64_t samples = 0;
  std::vector<std::pair<std::string, OutputMetrics>> outputs;  // in the reference's order
  std::vector<LayerError> layers;                              // in the order given
  ClassAccuracy accuracy;
};

/// Both graphs must take the same inputs and give the same outputs, by name. The result does not
/// depend on threads. Errors name the sample, and the side where a run failed.
Result<ModelComparison> compare_models(const Graph& reference, const Graph& test, const SampleSource& source, const RunOptions& run,
                                       const ComparisonOptions& options);

}  // namespace onnxtool
