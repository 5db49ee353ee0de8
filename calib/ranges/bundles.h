// Samples that a device runs several at a time.
#pragma once

#include <span>
#include <vector>

#include "calib/data/source.h"
#include "calib/exec/plan.h"

namespace onnxtool {

/// The samples of another source, which must outlive it, several to each of its own: the inputs of
/// the first, then those of the second, and so on.
class Bundles final : public SampleSource {
 public:
  Bundles(const SampleSource& all, int64_t each) : all_(all), each_(each) {}
  int64_t size() const override { return (all_.size() + each_ - 1) / each_; }
  Result<Sample> read(int64_t index) const override;
  SourceDescription describe() const override { return all_.describe(); }
  const std::vector<std::string>& labels() const override { return all_.labels(); }
  bool has_labels() const override { return false; }
  /// What errors call sample `i` of bundle `index`.
  std::string name_of(int64_t index, int64_t i) const;
  /// Samples in the bundle: fewer in the last one.
  int64_t held(int64_t index) const;

 private:
  const SampleSource& all_;
  int64_t each_;
};

/// Inputs of several samples, `inputs` of each, joined along axis 0; empty where they cannot be:
/// types or other extents differ, there is no axis, or a sample's inputs have different extents
/// there (one may broadcast to another).
std::vector<Tensor> stacked(std::span<const Tensor> samples, size_t inputs);

/// How many of the source's samples, `most` or a half of that, a quarter, and so on, run stacked in
/// the memory there is. For models that compute each alone (computes_samples_alone).
Result<int64_t> fitting_bundle(const SampleSource& source, RunContext& context, int64_t most);

}  // namespace onnxtool
