#include "calib/exec/prepare.h"

#include <tbb/parallel_for.h>

#include <mutex>
#include <unordered_map>

namespace onnxtool {
namespace {

// Who may still read a constant while kernels are prepared.
class Readers {
 public:
  explicit Readers(std::span<const Step> steps) {
    for (const Step& step : steps)
      for (const auto& constant : step.node->constants)
        if (constant) ++left_[constant.get()].readers;
  }

  void leave(const CompiledNode& node) {
    const std::lock_guard lock(mutex_);
    for (size_t i = 0; i < node.constants.size(); ++i) {
      if (!node.constants[i]) continue;
      Count& count = left_.at(node.constants[i].get());
      count.dropped = count.dropped || node.dropped[i];
      // Whoever reads it when the model runs makes the copy anew.
      if (--count.readers == 0 && count.dropped) node.constants[i]->drop();
    }
  }

 private:
  struct Count {
    int readers = 0;
    bool dropped = false;
  };
  std::mutex mutex_;
  std::unordered_map<const AlignedTensor*, Count> left_;
};

Status prepare(Step& step) {
  if (!step.kernel || !step.kernel->prepare) return {};
  auto state = step.kernel->prepare(*step.node);
  if (!state.ok()) return std::move(state).error().at(step.node->description);
  step.state = *std::move(state);
  return {};
}

}  // namespace

Status prepare_steps(std::span<Step> steps) {
  for (Step& step : steps) step.node->dropped.assign(step.node->inputs.size(), false);
  Readers readers(steps);
  std::vector<Status> results(steps.size());
  tbb::parallel_for(size_t{0}, steps.size(), [&](size_t i) {
    results[i] = prepare(steps[i]);
    readers.leave(*steps[i].node);
  });
  for (Status& s : results) ONNXTOOL_TRY(std::move(s));
  return {};
}

void find_last_uses(Plan::Impl& plan) {
  plan.last_step_of_slot.assign(static_cast<size_t>(plan.num_slots), -1);
  auto& last = plan.last_step_of_slot;
  for (size_t i = 0; i < plan.steps.size(); ++i) {
    const CompiledNode& node = *plan.steps[i].node;
    for (size_t k = 0; k < node.inputs.size(); ++k)
      if (const int s = node.inputs[k]; s >= 0 && !node.dropped[k])
        last[static_cast<size_t>(s)] = static_cast<int>(i);
    for (const SubPlan& sub : plan.steps[i].subplans)
      for (int s : sub.captured) last[static_cast<size_t>(s)] = static_cast<int>(i);
    // Watched but never read: it goes right after it was shown.
    for (int s : plan.steps[i].outputs)
      if (s >= 0 && last[static_cast<size_t>(s)] < 0)
        last[static_cast<size_t>(s)] = static_cast<int>(i);
  }
  for (int s : plan.output_slots)
    last[static_cast<size_t>(s)] = static_cast<int>(plan.steps.size());
  std::vector<bool> is_constant(static_cast<size_t>(plan.num_slots), false);
  for (const auto& [s, tensor] : plan.constants) is_constant[static_cast<size_t>(s)] = true;
  for (int s = 0; s < plan.num_slots; ++s) {
    const int step = last[static_cast<size_t>(s)];
    if (step >= 0 && step < static_cast<int>(plan.steps.size()) &&
        !is_constant[static_cast<size_t>(s)])
      plan.steps[static_cast<size_t>(step)].releases.push_back(s);
  }
}

}  // namespace onnxtool
