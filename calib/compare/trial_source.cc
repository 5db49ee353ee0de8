#include "calib/compare/trial_source.h"

#include "calib/compare/trial_inputs.h"
#include "calib/exec/plan.h"

namespace onnxtool {
namespace {

// Attempts that are made for the samples wanted: models refuse some sizes.
constexpr int kMaxAttempts = 8;

class TrialSource final : public SampleSource {
 public:
  explicit TrialSource(std::vector<Sample> samples) : samples_(std::move(samples)) {}
  int64_t size() const override { return static_cast<int64_t>(samples_.size()); }
  Result<Sample> read(int64_t index) const override { return samples_[static_cast<size_t>(index)]; }
  SourceDescription describe() const override {
    SourceDescription d;
    d.format = "random";
    d.count = size();
    d.random = true;
    return d;
  }
  const std::vector<std::string>& labels() const override { return none_; }
  bool has_labels() const override { return false; }

 private:
  std::vector<Sample> samples_;
  std::vector<std::string> none_;
};

}  // namespace

Result<std::unique_ptr<SampleSource>> open_trials(const Model& model, int64_t count,
                                                  const RunOptions& run) {
  ONNXTOOL_ASSIGN(const TrialInputs trials, TrialInputs::of(model));
  PlanOptions options;
  options.kernel_sets = run.kernel_sets;
  options.threads = run.threads;
  options.max_iterations = run.max_iterations;
  ONNXTOOL_ASSIGN(const auto plan, Plan::compile(model.graph(), options));
  RunContext context(plan);
  std::vector<Sample> samples;
  Status last;
  for (int i = 0; i < kMaxAttempts && static_cast<int64_t>(samples.size()) < count; ++i) {
    Sample s{"random " + std::to_string(i), trials.make(i, /*edges=*/false, /*non_finite=*/false),
             -1};
    std::vector<Tensor> outputs;
    if (Status ran = context.run(s.inputs, &outputs); ran.ok())
      samples.push_back(std::move(s));
    else
      last = std::move(ran);
  }
  if (samples.empty()) return std::move(last).error().at("random inputs");
  return std::unique_ptr<SampleSource>(std::make_unique<TrialSource>(std::move(samples)));
}

}  // namespace onnxtool
