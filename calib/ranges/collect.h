// One pass over the data: a summary of every watched value.
#pragma once

#include <algorithm>
#include <functional>
#include <span>
#include <vector>

#include "calib/data/source.h"
#include "calib/exec/plan.h"
#include "calib/ranges/calibrator.h"
#include "calib/ranges/summary.h"

namespace onnxtool {

/// The first `count` samples of another source, which must outlive it.
class FirstSamples final : public SampleSource {
 public:
  FirstSamples(const SampleSource& all, int64_t count)
      : all_(all), count_(std::min(count, all.size())) {}
  int64_t size() const override { return count_; }
  Result<Sample> read(int64_t index) const override { return all_.read(index); }
  SourceDescription describe() const override { return all_.describe(); }
  const std::vector<std::string>& labels() const override { return all_.labels(); }
  bool has_labels() const override { return all_.has_labels(); }

 private:
  const SampleSource& all_;
  int64_t count_;
};

/// At most `count` samples of another source, which must outlive it, evenly spaced: class
/// directories come one class after the other.
class SpreadSamples final : public SampleSource {
 public:
  SpreadSamples(const SampleSource& all, int64_t count)
      : all_(all), count_(std::min(count, all.size())) {}
  int64_t size() const override { return count_; }
  /// Where sample `index` stands in the other source.
  int64_t place(int64_t index) const { return index * all_.size() / count_; }
  Result<Sample> read(int64_t index) const override { return all_.read(place(index)); }
  SourceDescription describe() const override { return all_.describe(); }
  const std::vector<std::string>& labels() const override { return all_.labels(); }
  bool has_labels() const override { return all_.has_labels(); }

 private:
  const SampleSource& all_;
  int64_t count_;
};

/// How samples are run. Many samples: one per thread; one sample: threads inside the operators.
struct RunOptions {
  std::vector<const KernelSet*> kernel_sets;
  int threads = 1;
  int64_t max_iterations = kMaxIterations;  // as in PlanOptions
  /// Told after each sample, from any thread, one call at a time.
  std::function<void(int64_t done, int64_t total)> progress;
};

/// Calls body(worker, index, sample, context) for every sample of the source on a plan compiled for
/// `watched`. Errors name the sample.
Status run_samples(const Graph& graph, std::span<const Value* const> watched,
                   const SampleSource& source, const RunOptions& options,
                   const std::function<Status(int worker, int64_t index, const Sample& sample,
                                              RunContext& context)>& body);

/// Summaries in the order of `watched`, the same bits for any thread count. NaN or infinities in a
/// watched value are an error (kNotFinite) that names tensor and sample. `extremes`, where given,
/// gets those of every sample, in order, for each of `watched`.
Result<std::vector<Summary>> collect_summaries(
    const Graph& graph, std::span<const Value* const> watched, const SampleSource& source,
    const RunOptions& options, Summary::Mode mode,
    std::vector<std::vector<Extremes>>* extremes = nullptr);

/// What one channel (axis 1) of a value holds.
struct ChannelStatistics {
  double rms = 0;
  double nonzero = 0;      // share of the values
  float min = 0, max = 0;  // zero included
};

/// Per channel of each watched value over `max_samples` samples, evenly spaced; empty for values of
/// rank below 2. The same bits for any thread count.
Result<std::vector<std::vector<ChannelStatistics>>> collect_channels(
    const Graph& graph, std::span<const Value* const> watched, const SampleSource& source,
    const RunOptions& options, int64_t max_samples);

}  // namespace onnxtool
