#include "calib/ranges/collect.h"

#include <algorithm>
#include <cmath>
#include <mutex>

namespace onnxtool {
namespace {

class SummaryObserver final : public Observer {
 public:
  SummaryObserver(std::span<const Value* const> watched, Summary::Mode mode) : watched_(watched), summaries(watched.size(), Summary(mode)) {}
  Status observe(int watch, const ConstView& value) override {
    const auto i = static_cast<size_t>(watch);
    ONNXTOOL_TRY(summaries[i].add(value));
    if (summaries[i].all_finite()) return {};
    const Summary& s = summaries[i];
    return Error{ErrorCode::kNotFinite,
                 "tensor '" + watched_[i]->name() + "' holds " + std::to_string(s.nan()) + " NaN and " +
                     std::to_string(s.positive_infinity() + s.negative_infinity()) + " infinite values, expected finite ones",
                 "exclude the operator that makes it (--exclude), or mend the data or its preprocessing"};
  }

 private:
  std::span<const Value* const> watched_;

 public:
  std::vector<Summary> summaries;
};

class ChannelObserver final : public Observer {
 public:
  explicit ChannelObserver(size_t count) : maxima(count) {}
  Status observe(int watch, const ConstView& v) override {
    if (v.dtype != DataType::kFloat || v.dims.size() < 2) return {};
    auto& m = maxima[static_cast<size_t>(watch)];
    const int64_t channels = v.dims[1];
    m.resize(static_cast<size_t>(channels), 0);
    const int64_t per_sample = v.dims[0] ? v.count / v.dims[0] : 0, spatial = channels ? per_sample / channels : 0;
    const float* x = static_cast<const float*>(v.data);
    const bool last = v.layout == Layout::kChannelsLast;
    for (int64_t n = 0; n < v.dims[0]; ++n)
      for (int64_t i = 0; i < per_sample; ++i) {
        float& top = m[static_cast<size_t>(last ? i % channels : i / spatial)];
        top = std::max(top, std::abs(x[n * per_sample + i]));
      }
    return {};
  }
  std::vector<std::vector<float>> maxima;
};

// The first samples of another source.
class FirstSamples final : public SampleSource {
 public:
  FirstSamples(const SampleSource& all, int64_t count) : all_(all), count_(std::min(count, all.size())) {}
  int64_t size() const override { return count_; }
  Result<Sample> read(int64_t index) const override { return all_.read(index); }
  SourceDescription describe() const override { return all_.describe(); }
  const std::vector<std::string>& labels() const override { return all_.labels(); }
  bool has_labels() const override { return all_.has_labels(); }

 private:
  const SampleSource& all_;
  int64_t count_;
};

}  // namespace

Status run_samples(const Graph& graph, std::span<const Value* const> watched, const SampleSource& source, const RunOptions& options,
                   const std::function<Status(int, int64_t, const Sample&, RunContext&)>& body) {
  const int workers = static_cast<int>(std::clamp<int64_t>(source.size(), 1, options.threads));
  PlanOptions plan_options;
  plan_options.watched.assign(watched.begin(), watched.end());
  plan_options.kernel_sets = options.kernel_sets;
  plan_options.threads = workers > 1 ? 1 : options.threads;
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

Result<std::vector<Summary>> collect_summaries(const Graph& graph, std::span<const Value* const> watched, const SampleSource& source,
                                               const RunOptions& options, Summary::Mode mode) {
  std::vector<SummaryObserver> observers(static_cast<size_t>(std::max(options.threads, 1)), SummaryObserver(watched, mode));
  ONNXTOOL_TRY(run_samples(graph, watched, source, options, [&](int worker, int64_t, const Sample& sample, RunContext& context) {
    return context.run(sample.inputs, nullptr, &observers[static_cast<size_t>(worker)]);
  }));
  std::vector<Summary> merged = std::move(observers[0].summaries);
  for (size_t w = 1; w < observers.size(); ++w)
    for (size_t i = 0; i < merged.size(); ++i) merged[i].merge(observers[w].summaries[i]);
  return merged;
}

Result<std::vector<std::vector<float>>> collect_channel_maxima(const Graph& graph, std::span<const Value* const> watched,
                                                               const SampleSource& source, const RunOptions& options, int64_t max_samples) {
  const FirstSamples first(source, max_samples);
  std::vector<ChannelObserver> observers(static_cast<size_t>(std::max(options.threads, 1)), ChannelObserver(watched.size()));
  RunOptions quiet = options;
  quiet.progress = nullptr;
  ONNXTOOL_TRY(run_samples(graph, watched, first, quiet, [&](int worker, int64_t, const Sample& sample, RunContext& context) {
    return context.run(sample.inputs, nullptr, &observers[static_cast<size_t>(worker)]);
  }));
  std::vector<std::vector<float>> merged = std::move(observers[0].maxima);
  for (size_t w = 1; w < observers.size(); ++w)
    for (size_t i = 0; i < merged.size(); ++i) {
      const auto& other = observers[w].maxima[i];
      merged[i].resize(std::max(merged[i].size(), other.size()), 0);
      for (size_t c = 0; c < other.size(); ++c) merged[i][c] = std::max(merged[i][c], other[c]);
    }
  return merged;
}

}  // namespace onnxtool
