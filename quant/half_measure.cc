// What values hold while samples run.

#include <algorithm>

#include "calib/ranges/collect.h"
#include "quant/half.h"

namespace onnxtool {
namespace {

class RangeObserver final : public Observer {
 public:
  explicit RangeObserver(size_t count) : summaries(count, Summary(Summary::Mode::kMinMax)) {}
  Status observe(int watch, const ConstView& value) override {
    return summaries[static_cast<size_t>(watch)].add(value);
  }
  std::vector<Summary> summaries;
};

}  // namespace

Result<MeasuredRanges> measure_ranges(const Model& model, const SampleSource& source,
                                      const RunOptions& run) {
  std::vector<const Value*> watched;
  const Graph& graph = model.graph();
  const auto watch = [&](const Value* v) {
    if (v && is_float_tensor(*v) && !v->constant()) watched.push_back(v);
  };
  for (const Value* v : graph.inputs()) watch(v);
  for (const Node& n : graph.nodes())
    for (const Value* v : n.outputs()) watch(v);
  std::vector<RangeObserver> observers(static_cast<size_t>(std::max(run.threads, 1)),
                                       RangeObserver(watched.size()));
  ONNXTOOL_TRY(run_samples(graph, watched, source, run,
                           [&](int worker, int64_t, const Sample& sample, RunContext& context) {
                             return context.run(sample.inputs, nullptr,
                                                &observers[static_cast<size_t>(worker)]);
                           }));
  MeasuredRanges ranges;
  for (size_t i = 0; i < watched.size(); ++i) {
    Summary all = observers[0].summaries[i];
    for (size_t w = 1; w < observers.size(); ++w) all.merge(observers[w].summaries[i]);
    // Infinities have 16 bits as well; what is no number says nothing.
    if (all.finite() > 0) ranges[watched[i]->name()] = {all.min(), all.max()};
  }
  return ranges;
}

}  // namespace onnxtool
