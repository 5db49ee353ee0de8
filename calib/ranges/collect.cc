#include "calib/ranges/collect.h"

#include <algorithm>
#include <cmath>
#include <mutex>

#include "calib/ranges/channel_sums.h"
#include "calib/ranges/device_counts.h"

namespace onnxtool {
namespace {

class SummaryObserver final : public Observer {
 public:
  SummaryObserver(std::span<const Value* const> watched, DeviceTables& tables)
      : watched_(watched),
        there_(tables, watched.size()),
        summaries(watched.size(), Summary(tables.mode())),
        summaries_there(watched.size(), Summary(Summary::Mode::kMinMax)) {}
  Status observe(int watch, const ConstView& value) override {
    const auto i = static_cast<size_t>(watch);
    ONNXTOOL_TRY(summaries[i].add(value));
    if (extremes) {
      Summary sample(Summary::Mode::kMinMax);
      ONNXTOOL_TRY(sample.add(value));
      (*extremes)[i][sample_index] = {sample.min(), sample.max()};
    }
    return check_finite(i, summaries[i]);
  }
  Result<bool> observe_there(const DeviceApi& device, int watch, const ConstView& value) override {
    return there_.observe(device, static_cast<size_t>(watch), value);
  }
  /// Takes in what the run of a sample left on a device.
  Status end_sample() {
    ONNXTOOL_ASSIGN(const auto parts, there_.take_sample());
    for (const auto& [i, held] : parts) {
      ONNXTOOL_ASSIGN(const Summary sample, Summary::restore(Summary::Mode::kMinMax, held, {}));
      ONNXTOOL_TRY(check_finite(i, sample));
      summaries_there[i].merge(sample);
      if (extremes) (*extremes)[i][sample_index] = {sample.min(), sample.max()};
    }
    return {};
  }

 private:
  Status check_finite(size_t i, const Summary& s) const {
    if (s.all_finite()) return {};
    return Error{
        ErrorCode::kNotFinite,
        "tensor '" + watched_[i]->name() + "' holds " + std::to_string(s.nan()) + " NaN and " +
            std::to_string(s.positive_infinity() + s.negative_infinity()) +
            " infinite values, expected finite ones",
        "exclude the operator that makes it (--exclude), or mend the data or its preprocessing"};
  }

  std::span<const Value* const> watched_;
  DeviceCounts there_;

 public:
  std::vector<Summary> summaries;
  std::vector<Summary> summaries_there;  // without the histograms, which all workers share
  std::vector<std::vector<Extremes>>* extremes = nullptr;  // of all samples, shared by all workers
  size_t sample_index = 0;
};

// Adds what was counted on a device, which `there` is without its histogram.
Status add_counts(Summary& to, const Summary& there, const DeviceTables& tables, size_t watch) {
  if (there.count() == 0) return {};
  ONNXTOOL_ASSIGN(const auto counts, tables.counts(watch));
  ONNXTOOL_ASSIGN(const Summary whole,
                  Summary::restore(tables.mode(),
                                   {there.zeros(), there.nan(), there.positive_infinity(),
                                    there.negative_infinity(), there.finite(), there.min(),
                                    there.max()},
                                   counts));
  to.merge(whole);
  return {};
}

// Channels of one sample.
class ChannelObserver final : public Observer {
 public:
  explicit ChannelObserver(size_t count) : sums(count) {}
  Status observe(int watch, const ConstView& v) override {
    if (v.dtype != DataType::kFloat || v.dims.size() < 2 || v.count == 0) return {};
    ChannelSums& to = sums[static_cast<size_t>(watch)];
    const int64_t channels = v.dims[1], per_item = v.count / v.dims[0],
                  spatial = per_item / channels;
    to.start(static_cast<size_t>(channels), v.dims[0] * spatial);
    const float* x = static_cast<const float*>(v.data);
    for (int64_t n = 0; n < v.dims[0]; ++n, x += per_item) {
      if (v.layout == Layout::kChannelsLast) {
        for (int64_t s = 0; s < spatial; ++s) to.add_pixel(x + s * channels);
      } else {
        for (int64_t c = 0; c < channels; ++c)
          to.add_plane(static_cast<size_t>(c), x + c * spatial, spatial);
      }
    }
    return {};
  }
  std::vector<ChannelSums> sums;
};

// All samples' sums, in order.
std::vector<ChannelStatistics> join(std::span<const ChannelObserver> samples, size_t watch) {
  std::vector<ChannelStatistics> all;
  int64_t count = 0;
  for (const ChannelObserver& o : samples) {
    const ChannelSums& s = o.sums[watch];
    all.resize(std::max(all.size(), s.squares.size()));
    for (size_t c = 0; c < s.squares.size(); ++c) {
      all[c].rms += s.squares[c];
      all[c].nonzero += s.nonzero[c];
      all[c].min = std::min(all[c].min, s.min[c]);
      all[c].max = std::max(all[c].max, s.max[c]);
    }
    count += s.values_per_channel;
  }
  for (ChannelStatistics& c : all) {
    c.rms = std::sqrt(c.rms / static_cast<double>(std::max<int64_t>(count, 1)));
    c.nonzero /= static_cast<double>(std::max<int64_t>(count, 1));
  }
  return all;
}

}  // namespace

Status run_samples(const Graph& graph, std::span<const Value* const> watched,
                   const SampleSource& source, const RunOptions& options,
                   const std::function<Status(int, int64_t, const Sample&, RunContext&)>& body) {
  const int workers = static_cast<int>(std::clamp<int64_t>(source.size(), 1, options.threads));
  PlanOptions plan_options;
  plan_options.watched.assign(watched.begin(), watched.end());
  plan_options.kernel_sets = options.kernel_sets;
  plan_options.threads = workers > 1 ? 1 : options.threads;
  plan_options.max_iterations = options.max_iterations;
  ONNXTOOL_ASSIGN(auto plan, Plan::compile(graph, plan_options));
  std::vector<RunContext> contexts;
  for (int i = 0; i < workers; ++i) contexts.emplace_back(plan);
  std::mutex mutex;
  int64_t done = 0;
  return for_each_sample(source, workers, [&](int worker, int64_t index, Sample sample) -> Status {
    if (Status s = body(worker, index, sample, contexts[static_cast<size_t>(worker)]); !s.ok())
      return std::move(s).error().at("sample '" + sample.id + "'");
    const std::lock_guard lock(mutex);
    ++done;
    if (options.progress) options.progress(done, source.size());
    return {};
  });
}

Result<std::vector<Summary>> collect_summaries(const Graph& graph,
                                               std::span<const Value* const> watched,
                                               const SampleSource& source,
                                               const RunOptions& options, Summary::Mode mode,
                                               std::vector<std::vector<Extremes>>* extremes) {
  DeviceTables tables(watched.size(), mode);
  std::vector<SummaryObserver> observers;
  for (int w = 0; w < std::max(options.threads, 1); ++w) observers.emplace_back(watched, tables);
  if (extremes)
    extremes->assign(watched.size(), std::vector<Extremes>(static_cast<size_t>(source.size())));
  for (SummaryObserver& o : observers) o.extremes = extremes;
  ONNXTOOL_TRY(
      run_samples(graph, watched, source, options,
                  [&](int worker, int64_t index, const Sample& sample, RunContext& context) {
                    SummaryObserver& observer = observers[static_cast<size_t>(worker)];
                    observer.sample_index = static_cast<size_t>(index);
                    Status ran = context.run(sample.inputs, nullptr, &observer);
                    return ran.ok() ? observer.end_sample() : std::move(ran);
                  }));
  std::vector<Summary> merged = std::move(observers[0].summaries);
  for (size_t w = 1; w < observers.size(); ++w)
    for (size_t i = 0; i < merged.size(); ++i) {
      merged[i].merge(observers[w].summaries[i]);
      observers[0].summaries_there[i].merge(observers[w].summaries_there[i]);
    }
  for (size_t i = 0; i < merged.size(); ++i)
    ONNXTOOL_TRY(add_counts(merged[i], observers[0].summaries_there[i], tables, i));
  return merged;
}

Result<std::vector<std::vector<ChannelStatistics>>> collect_channels(
    const Graph& graph, std::span<const Value* const> watched, const SampleSource& source,
    const RunOptions& options, int64_t max_samples) {
  const SpreadSamples some(source, max_samples);
  // Kept per sample and added in order: sums of doubles depend on it.
  std::vector<ChannelObserver> observers(static_cast<size_t>(some.size()),
                                         ChannelObserver(watched.size()));
  RunOptions quiet = options;
  quiet.progress = nullptr;
  ONNXTOOL_TRY(run_samples(graph, watched, some, quiet,
                           [&](int, int64_t index, const Sample& sample, RunContext& context) {
                             return context.run(sample.inputs, nullptr,
                                                &observers[static_cast<size_t>(index)]);
                           }));
  std::vector<std::vector<ChannelStatistics>> all;
  for (size_t i = 0; i < watched.size(); ++i) all.push_back(join(observers, i));
  return all;
}

}  // namespace onnxtool
