#include "calib/ranges/collect.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <mutex>
#include <semaphore>

#include "calib/ranges/bundles.h"
#include "calib/ranges/channel_sums.h"
#include "calib/ranges/device_counts.h"
#include "libopt/analysis/batch.h"

namespace onnxtool {
namespace {

// Enough for a device to be busy; further ones only take memory.
constexpr int64_t kMostStacked = 32;
// Runs on a device at a time: while one computes, another uploads and the next one's host is ahead.
constexpr int kRunsOnDevice = 3;

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
  ONNXTOOL_ASSIGN(
      const Summary whole,
      Summary::restore(tables.mode(),
                       {there.zeros(), there.nan(), there.positive_infinity(),
                        there.negative_infinity(), there.finite(), there.min(), there.max()},
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

// A plan, and a context for each worker.
struct Workers {
  std::vector<RunContext> contexts;
  std::mutex mutex;
  int64_t done = 0;

  Status compile(const Graph& graph, std::span<const Value* const> watched,
                 const SampleSource& source, const RunOptions& options) {
    const int count = static_cast<int>(std::clamp<int64_t>(source.size(), 1, options.threads));
    PlanOptions plan_options;
    plan_options.watched.assign(watched.begin(), watched.end());
    plan_options.kernel_sets = options.kernel_sets;
    plan_options.threads = count > 1 ? 1 : options.threads;
    plan_options.max_iterations = options.max_iterations;
    ONNXTOOL_ASSIGN(auto plan, Plan::compile(graph, plan_options));
    for (int i = 0; i < count; ++i) contexts.emplace_back(plan);
    return {};
  }
  void count(int64_t samples, const SampleSource& source, const RunOptions& options) {
    const std::lock_guard lock(mutex);
    done += samples;
    if (options.progress) options.progress(done, source.size());
  }
};

// Of the few runs that may be on the way; for as long as it lives.
class Turn {
 public:
  explicit Turn(std::counting_semaphore<>& runs) : runs_(runs) { runs_.acquire(); }
  ~Turn() { runs_.release(); }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  std::counting_semaphore<>& runs_;
};

Error at_sample(Status failed, const std::string& id) {
  return std::move(failed).error().at("sample '" + id + "'");
}

Status run_one(RunContext& context, std::span<const Tensor> inputs, SummaryObserver& observer) {
  ONNXTOOL_TRY(context.run(inputs, nullptr, &observer));
  return observer.end_sample();
}

// Samples of a bundle at once where they have one shape. A failure is the first sample's that fails
// alone; where none does, `fewer` is set to how many may run at once instead.
Status run_bundle(const Bundles& bundles, int64_t index, const Sample& bundle, RunContext& context,
                  std::span<const Value* const> watched, SummaryObserver& observer,
                  std::atomic<int64_t>& fewer) {
  const int64_t held = bundles.held(index);
  const size_t inputs = bundle.inputs.size() / static_cast<size_t>(held);
  const auto each = [&](SummaryObserver& to) -> Status {
    for (int64_t i = 0; i < held; ++i)
      if (Status ran = run_one(
              context, std::span(bundle.inputs).subspan(static_cast<size_t>(i) * inputs, inputs),
              to);
          !ran.ok())
        return at_sample(std::move(ran), bundles.name_of(index, i));
    return {};
  };
  const std::vector<Tensor> whole =
      held > 1 ? stacked(bundle.inputs, inputs) : std::vector<Tensor>{};
  if (whole.empty()) return each(observer);
  Status ran = run_one(context, whole, observer);
  if (ran.ok()) return {};
  DeviceTables none(watched.size(), Summary::Mode::kMinMax);
  SummaryObserver alone(watched, none);
  ONNXTOOL_TRY(each(alone));
  fewer = ran.error().code == ErrorCode::kOutOfMemory ? held / 2 : 1;
  return ran;
}

// How many samples run at once; 1 where nothing is known to allow more.
Result<int64_t> samples_at_once(const Graph& graph, std::span<const Value* const> watched,
                                const SampleSource& source, const RunOptions& options,
                                RunContext& context) {
  if (options.kernel_sets.empty() || !options.kernel_sets[0]->device || source.size() < 2) return 1;
  if (!computes_samples_alone(graph, watched)) return 1;
  return fitting_bundle(source, context, kMostStacked);
}

// The summaries of all samples, so many of them at a time.
Result<std::vector<Summary>> collect_at_once(int64_t at_once, Workers& workers,
                                             std::span<const Value* const> watched,
                                             const SampleSource& source, const RunOptions& options,
                                             Summary::Mode mode,
                                             std::vector<std::vector<Extremes>>* extremes,
                                             std::atomic<int64_t>& fewer) {
  workers.done = 0;
  DeviceTables tables(watched.size(), mode);
  std::vector<SummaryObserver> observers;
  for (size_t w = 0; w < workers.contexts.size(); ++w) observers.emplace_back(watched, tables);
  if (extremes)
    extremes->assign(watched.size(), std::vector<Extremes>(static_cast<size_t>(source.size())));
  for (SummaryObserver& o : observers) o.extremes = extremes;
  const Bundles bundles(source, at_once);
  std::counting_semaphore<> runs(at_once > 1 ? kRunsOnDevice : options.threads);
  ONNXTOOL_TRY(for_each_sample(bundles, static_cast<int>(workers.contexts.size()),
                               [&](int worker, int64_t index, Sample bundle) -> Status {
                                 const auto w = static_cast<size_t>(worker);
                                 observers[w].sample_index = static_cast<size_t>(index);
                                 {
                                   const Turn turn(runs);
                                   ONNXTOOL_TRY(run_bundle(bundles, index, bundle,
                                                           workers.contexts[w], watched,
                                                           observers[w], fewer));
                                 }
                                 workers.count(bundles.held(index), source, options);
                                 return {};
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

}  // namespace

Status run_samples(const Graph& graph, std::span<const Value* const> watched,
                   const SampleSource& source, const RunOptions& options,
                   const std::function<Status(int, int64_t, const Sample&, RunContext&)>& body) {
  Workers workers;
  ONNXTOOL_TRY(workers.compile(graph, watched, source, options));
  return for_each_sample(
      source, static_cast<int>(workers.contexts.size()),
      [&](int worker, int64_t index, Sample sample) -> Status {
        if (Status s = body(worker, index, sample, workers.contexts[static_cast<size_t>(worker)]);
            !s.ok())
          return at_sample(std::move(s), sample.id);
        workers.count(1, source, options);
        return {};
      });
}

Result<std::vector<Summary>> collect_summaries(const Graph& graph,
                                               std::span<const Value* const> watched,
                                               const SampleSource& source,
                                               const RunOptions& options, Summary::Mode mode,
                                               std::vector<std::vector<Extremes>>* extremes) {
  Workers workers;
  ONNXTOOL_TRY(workers.compile(graph, watched, source, options));
  int64_t at_once = 1;
  if (!extremes) {  // of every sample
    ONNXTOOL_ASSIGN(at_once, samples_at_once(graph, watched, source, options, workers.contexts[0]));
  }
  for (;;) {
    std::atomic<int64_t> fewer{0};
    auto collected =
        collect_at_once(at_once, workers, watched, source, options, mode, extremes, fewer);
    if (collected.ok() || fewer == 0) return collected;
    at_once = fewer;  // what was counted together with what failed cannot be taken out again
  }
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
