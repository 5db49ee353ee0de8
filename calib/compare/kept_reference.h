// A model that many others are compared with on the same samples: its outputs are kept, so that it
// runs once.
#pragma once

#include <cstdint>
#include <vector>

#include "calib/compare/compare.h"

namespace onnxtool {

class KeptReference {
 public:
  /// Outputs that take more than `most_bytes` together are not kept. The rest must outlive it.
  KeptReference(const Graph& graph, const SampleSource& samples, const RunOptions& run,
                uint64_t most_bytes = uint64_t{1} << 28);

  /// As compare_models() with `count` of the samples, evenly spaced. What a look at all of them
  /// gave is kept.
  Result<ModelComparison> compare(const Graph& test, int64_t count,
                                  const ComparisonOptions& options);
  /// Runs of one sample that compare() takes now, of both models. Whether outputs are kept does not
  /// depend on threads.
  int64_t runs_for(int64_t count) const { return (kept_.empty() ? 2 : 1) * count; }

 private:
  const Graph& graph_;
  const SampleSource& samples_;
  const RunOptions& run_;
  uint64_t most_bytes_;
  std::vector<OutputInfo> outputs_;
  std::vector<std::vector<Datum>> kept_;  // of every sample; empty: they have to be computed
};

}  // namespace onnxtool
