// Two models on the same samples: outputs by every metric, labels by accuracy.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "calib/compare/layers.h"
#include "calib/compare/metrics.h"
#include "calib/compare/side.h"

namespace onnxtool {

struct ComparisonOptions {
  MetricOptions metrics;
  /// Labels of the samples judge output 0 of both.
  bool labelled = false;
  /// Outputs of float16 or bfloat16 on either side have at least the band of models in these: a
  /// step of bfloat16 alone is up to 0.8 % of a number.
  bool wider_for_halves = false;
  /// At most this many samples, from the start; negative: all.
  int64_t max_samples = -1;
};

struct ModelComparison {
  int64_t samples = 0;
  std::vector<std::pair<std::string, OutputMetrics>> outputs;  // in the reference's order
  ClassAccuracy accuracy;
};

/// Runs both sides on every sample and compares the paired outputs. A pair of another shape or type
/// is a failure of that sample; a type that has no comparison is an error (kUnsupported). Labels
/// judge the reference's output 0; without its pair the accuracy has no images.
Result<ModelComparison> compare_sides(Side& reference, Side& test, const OutputPairing& pairing,
                                      const SampleSource& source, Parallelism parallelism,
                                      const RunOptions& run, const ComparisonOptions& options);

/// Both graphs must take the same inputs and give the same outputs, by name. The result does not
/// depend on threads. Errors name the sample, and the side where a run failed.
Result<ModelComparison> compare_models(const Graph& reference, const Graph& test,
                                       const SampleSource& source, const RunOptions& run,
                                       const ComparisonOptions& options);

/// The same with a reference that is a side already, made for the samples of `inputs` and with
/// `parallelism`.
Result<ModelComparison> compare_to(Side& reference, const std::vector<InputInfo>& inputs,
                                   const Graph& test, const SampleSource& source,
                                   Parallelism parallelism, const RunOptions& run,
                                   const ComparisonOptions& options);

}  // namespace onnxtool
