#include "calib/compare/compare.h"

#include <algorithm>
#include <mutex>

#include "calib/compare/compare_values.h"
#include "calib/compare/floating.h"
#include "calib/compare/gates.h"

namespace onnxtool {
namespace {

// One sample's output: figures, or why there are none.
struct Compared {
  std::string failure;
  SampleMetrics metrics;
};

Result<Compared> compare_output(const std::string& name, const Datum& reference, const Datum& test,
                                const MetricOptions& options) {
  auto m = compare_values(name, reference, test, options);
  if (m.ok()) return Compared{std::string(), *std::move(m)};
  if (m.error().code == ErrorCode::kMismatch) return Compared{m.error().message, SampleMetrics()};
  return std::move(m).error();
}

}  // namespace

Result<ModelComparison> compare_sides(Side& reference, Side& test, const OutputPairing& pairing,
                                      const SampleSource& source, Parallelism parallelism,
                                      const RunOptions& run, const ComparisonOptions& options) {
  const int64_t count =
      options.max_samples < 0 ? source.size() : std::min(source.size(), options.max_samples);
  const auto labelled = std::find_if(pairing.pairs.begin(), pairing.pairs.end(),
                                     [](const OutputPair& p) { return p.reference == 0; });
  ModelComparison result;
  for (const OutputPair& p : pairing.pairs) {
    const OutputInfo &r = reference.outputs()[p.reference], &t = test.outputs()[p.test];
    MetricOptions own = options.metrics;
    if (options.wider_for_halves && (is_half(r.dtype) || is_half(t.dtype))) {
      const Band band = default_band(ModelKind::kHalf, ModelKind::kHalf);
      own.atol = std::max(own.atol, band.atol);
      own.rtol = std::max(own.rtol, band.rtol);
    }
    result.outputs.emplace_back(r.name, OutputMetrics(own));
  }
  std::mutex mutex;
  int64_t done = 0;
  const auto one = [&](int worker, int64_t index, const Sample& sample) -> Status {
    std::vector<Datum> r, t;
    if (Status s = reference.run(worker, index, sample, &r, nullptr); !s.ok())
      return std::move(s).error().at("reference");
    if (Status s = test.run(worker, index, sample, &t, nullptr); !s.ok())
      return std::move(s).error().at("test model");
    std::vector<Compared> compared;
    for (size_t i = 0; i < pairing.pairs.size(); ++i) {
      const OutputPair& p = pairing.pairs[i];
      const auto& [name, metrics] = result.outputs[i];
      auto c = compare_output(name, r[p.reference], t[p.test], metrics.options());
      if (!c.ok()) return std::move(c).error().at("output '" + name + "'");
      compared.push_back(*std::move(c));
    }
    const std::lock_guard lock(mutex);
    for (size_t i = 0; i < compared.size(); ++i) {
      if (compared[i].failure.empty())
        result.outputs[i].second.add(index, std::move(compared[i].metrics));
      else
        result.outputs[i].second.add_failure(index, compared[i].failure);
    }
    if (options.labelled && labelled != pairing.pairs.end()) {
      const Datum &scores = r[0], &judged = t[labelled->test];
      if (!scores.is_tensor() || !judged.is_tensor())
        return Error{ErrorCode::kUnsupported,
                     "labels judge the first output, which is no tensor of scores",
                     {}};
      ONNXTOOL_TRY(result.accuracy.add(index, view_of(scores.tensor()), view_of(judged.tensor()),
                                       sample.label));
    }
    if (run.progress) run.progress(++done, count);
    return {};
  };
  const FirstSamples first(source, count);
  ONNXTOOL_TRY(for_each_sample(first, parallelism.workers,
                               [&](int worker, int64_t index, Sample sample) -> Status {
                                 if (Status s = one(worker, index, sample); !s.ok())
                                   return std::move(s).error().at("sample '" + sample.id + "'");
                                 return {};
                               }));
  result.samples = count;
  return result;
}

Result<ModelComparison> compare_to(Side& reference, const std::vector<InputInfo>& inputs,
                                   const Graph& test, const SampleSource& source,
                                   Parallelism parallelism, const RunOptions& run,
                                   const ComparisonOptions& options) {
  ONNXTOOL_ASSIGN(const InputPairing paired, pair_inputs(inputs, test));
  ONNXTOOL_ASSIGN(const auto test_side, open_model_side(test, {}, &paired, run, parallelism));
  const OutputPairing pairing = pair_outputs(reference.outputs(), test_side->outputs());
  if (!pairing.missing.empty())
    return Error{ErrorCode::kMismatch,
                 "output '" + pairing.missing[0] + "' is missing from the second model",
                 {}};
  return compare_sides(reference, *test_side, pairing, source, parallelism, run, options);
}

Result<ModelComparison> compare_models(const Graph& reference, const Graph& test,
                                       const SampleSource& source, const RunOptions& run,
                                       const ComparisonOptions& options) {
  const Parallelism parallelism = Parallelism::of(
      options.max_samples < 0 ? source.size() : std::min(source.size(), options.max_samples),
      run.threads);
  ONNXTOOL_ASSIGN(const auto side, open_model_side(reference, {}, nullptr, run, parallelism));
  return compare_to(*side, inputs_of(reference), test, source, parallelism, run, options);
}

}  // namespace onnxtool
