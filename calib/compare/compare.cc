#include "calib/compare/compare.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <mutex>

namespace onnxtool {
namespace {

struct Energy {
  double signal = 0, error = 0;
  int64_t compared = 0;
};

// Keeps the reference's layers of one sample, in plain order, until the test run has passed them.
class KeepLayers final : public Observer {
 public:
  explicit KeepLayers(size_t count) : values(count) {}
  bool needs_plain() const override { return true; }
  Status observe(int watch, const ConstView& v) override {
    auto& kept = values[static_cast<size_t>(watch)];
    kept.clear();
    if (v.dtype == DataType::kFloat) kept.assign(v.as<float>().begin(), v.as<float>().end());
    return {};
  }
  std::vector<std::vector<float>> values;
};

class CompareLayers final : public Observer {
 public:
  explicit CompareLayers(const KeepLayers& reference) : reference_(reference) {}
  bool needs_plain() const override { return true; }
  Status observe(int watch, const ConstView& v) override {
    const auto& r = reference_.values[static_cast<size_t>(watch)];
    Energy& e = energies[static_cast<size_t>(watch)];
    if (v.dtype != DataType::kFloat || v.count != static_cast<int64_t>(r.size())) return {};
    const auto t = v.as<float>();
    for (size_t i = 0; i < r.size(); ++i) {
      const double d = static_cast<double>(t[i]) - r[i];
      e.signal += static_cast<double>(r[i]) * r[i];
      e.error += d * d;
    }
    e.compared += v.count;
    return {};
  }
  std::vector<Energy> energies;

 private:
  const KeepLayers& reference_;
};

ConstView view_of(const Tensor& t) {
  return {t.dtype(), t.dims(), t.dtype() == DataType::kString ? static_cast<const void*>(t.strings().data()) : t.bytes().data(), t.count()};
}

Result<std::shared_ptr<const Plan>> compile(const Graph& graph, std::vector<const Value*> watched, const RunOptions& run, int threads) {
  PlanOptions options;
  options.watched = std::move(watched);
  options.kernel_sets = run.kernel_sets;
  options.threads = threads;
  return Plan::compile(graph, options);
}

}  // namespace

Result<ModelComparison> compare_models(const Graph& reference, const Graph& test, const SampleSource& source, const RunOptions& run,
                                       const ComparisonOptions& options) {
  const int64_t count = options.max_samples < 0 ? source.size() : std::min(source.size(), options.max_samples);
  const int workers = static_cast<int>(std::clamp<int64_t>(count, 1, run.threads));
  const int inside = workers > 1 ? 1 : run.threads;
  std::vector<const Value*> reference_layers, test_layers;
  for (const LayerPair& p : options.layers) {
    reference_layers.push_back(p.reference);
    test_layers.push_back(p.test);
  }
  ONNXTOOL_ASSIGN(const auto reference_plan, compile(reference, reference_layers, run, inside));
  ONNXTOOL_ASSIGN(const auto test_plan, compile(test, test_layers, run, inside));
  std::vector<size_t> test_output;
  for (const std::string& name : reference_plan->output_names()) {
    const auto& names = test_plan->output_names();
    const auto it = std::find(names.begin(), names.end(), name);
    if (it == names.end()) return Error{ErrorCode::kMismatch, "output '" + name + "' is missing from the second model", {}};
    test_output.push_back(static_cast<size_t>(it - names.begin()));
  }
  // Samples come in the reference's order of inputs; the test model may list them in another.
  std::vector<size_t> test_input;
  for (const std::string& name : test_plan->input_names()) {
    const auto& names = reference_plan->input_names();
    const auto it = std::find(names.begin(), names.end(), name);
    if (it == names.end()) return Error{ErrorCode::kMismatch, "input '" + name + "' of the second model is missing from the first", {}};
    test_input.push_back(static_cast<size_t>(it - names.begin()));
  }
  std::vector<RunContext> reference_runs, test_runs;
  std::vector<KeepLayers> kept(static_cast<size_t>(workers), KeepLayers(options.layers.size()));
  for (int i = 0; i < workers; ++i) {
    reference_runs.emplace_back(reference_plan);
    test_runs.emplace_back(test_plan);
  }
  ModelComparison result;
  for (const std::string& name : reference_plan->output_names()) result.outputs.emplace_back(name, OutputMetrics(options.metrics));
  std::vector<std::vector<Energy>> energies(static_cast<size_t>(count));
  std::mutex mutex;
  int64_t done = 0;
  const auto one = [&](int worker, int64_t index, const Sample& sample) -> Status {
    const auto w = static_cast<size_t>(worker);
    std::vector<Tensor> r, t;
    CompareLayers compare(kept[w]);
    compare.energies.resize(options.layers.size());
    if (Status s = reference_runs[w].run(sample.inputs, &r, &kept[w]); !s.ok()) return std::move(s).error().at("reference");
    std::vector<Tensor> test_inputs;
    for (const size_t i : test_input) test_inputs.push_back(sample.inputs[i]);
    if (Status s = test_runs[w].run(test_inputs, &t, &compare); !s.ok()) return std::move(s).error().at("test model");
    std::vector<std::pair<std::string, SampleMetrics>> metrics;
    for (size_t i = 0; i < r.size(); ++i) {
      auto m = compare_sample(view_of(r[i]), view_of(t[test_output[i]]), options.metrics);
      metrics.emplace_back(m.ok() ? std::string() : m.error().message, m.ok() ? *std::move(m) : SampleMetrics());
    }
    const std::lock_guard lock(mutex);
    for (size_t i = 0; i < metrics.size(); ++i) {
      if (metrics[i].first.empty()) result.outputs[i].second.add(index, std::move(metrics[i].second));
      else result.outputs[i].second.add_failure(index, metrics[i].first);
    }
    energies[static_cast<size_t>(index)] = std::move(compare.energies);
    if (options.labelled && !r.empty()) ONNXTOOL_TRY(result.accuracy.add(index, view_of(r[0]), view_of(t[test_output[0]]), sample.label));
    if (run.progress) run.progress(++done, count);
    return {};
  };
  const FirstSamples first(source, count);
  ONNXTOOL_TRY(for_each_sample(first, workers, [&](int worker, int64_t index, Sample sample) -> Status {
    if (Status s = one(worker, index, sample); !s.ok()) return std::move(s).error().at("sample '" + sample.id + "'");
    return {};
  }));
  result.samples = count;
  for (size_t l = 0; l < options.layers.size(); ++l) {
    Energy sum;
    for (const auto& e : energies) {
      if (e.size() <= l) continue;
      sum.signal += e[l].signal;
      sum.error += e[l].error;
      sum.compared += e[l].compared;
    }
    // Nothing compared, or NaN on a side, is no answer; only a true zero error is "identical".
    const double db = sum.compared == 0 ? std::nan("") : sum.error == 0 ? INFINITY : 10 * std::log10(sum.signal / sum.error);
    result.layers.push_back({options.layers[l].reference->name(), db});
  }
  return result;
}

}  // namespace onnxtool
