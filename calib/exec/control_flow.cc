// If and Loop: the executor runs their graphs as plans of their own.
#include "calib/exec/native_ops.h"
#include "calib/exec/stacker.h"

namespace onnxtool {
namespace {

Result<bool> scalar_bool(RunContext::Impl& run, const Step& step, int slot) {
  ONNXTOOL_ASSIGN(ConstView v, run.host_view(slot));
  if (v.dtype != DataType::kBool || v.count != 1)
    return wrong(step, "condition has " + std::to_string(v.count) + " elements of type " +
                           std::string(name(v.dtype)) + ", expected one bool");
  return *static_cast<const uint8_t*>(v.data) != 0;
}

}  // namespace

Status run_if(RunContext::Impl& run, const Step& step, size_t index) {
  ONNXTOOL_ASSIGN(const int slot, input_slot(step, 0));
  ONNXTOOL_ASSIGN(const bool condition, scalar_bool(run, step, slot));
  size_t which;
  const SubPlan* sub = find_subplan(step, condition ? "then_branch" : "else_branch", which);
  if (!sub) return wrong(step, "a branch is missing");
  RunContext::Impl& child = run.child(index, which);
  const EndRun guard{child};
  ONNXTOOL_TRY(bind_captured(run, child, *sub));
  ONNXTOOL_TRY(child.run_steps(nullptr));
  for (size_t i = 0; i < step.outputs.size() && i < child.plan().output_slots.size(); ++i)
    if (step.outputs[i] >= 0)
      ONNXTOOL_TRY(run.copy_from(step.outputs[i], child, child.plan().output_slots[i]));
  return {};
}

namespace {

Error loop_limit(const Step& step, int64_t limit) {
  return Error{ErrorCode::kLimit,
               step.node->description + ": still running after " + std::to_string(limit) +
                   " iterations",
               "the loop's condition may never become false; --max-iterations allows more"};
}

}  // namespace

Status run_loop(RunContext::Impl& run, const Step& step, size_t index) {
  size_t which;
  const SubPlan* sub = find_subplan(step, "body", which);
  if (!sub) return wrong(step, "the body is missing");
  RunContext::Impl& child = run.child(index, which);
  const Plan::Impl& body = child.plan();
  const auto& in = step.node->inputs;
  int64_t trips = std::numeric_limits<int64_t>::max();
  if (!in.empty() && in[0] >= 0) {
    ONNXTOOL_ASSIGN(ConstView v, run.host_view(in[0]));
    if (v.dtype != DataType::kInt64 || v.count != 1)
      return wrong(step, "the trip count is no int64 scalar");
    trips = *static_cast<const int64_t*>(v.data);
  }
  uint8_t condition = 1;
  if (in.size() > 1 && in[1] >= 0) {
    ONNXTOOL_ASSIGN(const bool c, scalar_bool(run, step, in[1]));
    condition = c;
  }
  const size_t carried = in.size() > 2 ? in.size() - 2 : 0;
  if (static_cast<size_t>(sub->own_inputs) != carried + 2 ||
      body.output_slots.size() < carried + 1 || step.outputs.size() > body.output_slots.size() - 1)
    return wrong(step, "the body has " + std::to_string(sub->own_inputs) + " inputs and " +
                           std::to_string(body.output_slots.size()) + " outputs, expected " +
                           std::to_string(carried + 2) + " and at least " +
                           std::to_string(std::max(carried, step.outputs.size()) + 1));
  const size_t scans = body.output_slots.size() - 1 - carried;
  std::vector<Stacker> stackers = stackers_for(*sub, 1 + carried, scans);
  std::vector<Datum> state(carried);
  for (size_t i = 0; i < carried; ++i) {
    ONNXTOOL_ASSIGN(const int slot, input_slot(step, i + 2));
    ONNXTOOL_ASSIGN(state[i], run.datum(slot));
  }
  for (int64_t trip = 0; trip < trips && condition; ++trip) {
    if (trip == body.max_iterations) return loop_limit(step, body.max_iterations);
    const EndRun guard{child};
    ONNXTOOL_TRY(bind_captured(run, child, *sub));
    child.bind_external(body.input_slots[0], DataType::kInt64, {}, &trip);
    child.bind_external(body.input_slots[1], DataType::kBool, {}, &condition);
    for (size_t i = 0; i < carried; ++i)
      ONNXTOOL_TRY(child.hold(body.input_slots[i + 2], std::move(state[i])));
    ONNXTOOL_TRY(child.run_steps(nullptr));
    ONNXTOOL_ASSIGN(const bool next, scalar_bool(child, step, body.output_slots[0]));
    for (size_t i = 0; i < carried; ++i) {
      ONNXTOOL_ASSIGN(state[i], child.datum(body.output_slots[i + 1]));
    }
    for (size_t i = 0; i < scans; ++i)
      ONNXTOOL_TRY(stackers[i].add(child, body.output_slots[1 + carried + i]));
    condition = next;
  }
  for (size_t i = 0; i < step.outputs.size(); ++i) {
    if (step.outputs[i] < 0) continue;
    if (i < carried) {
      ONNXTOOL_TRY(run.hold(step.outputs[i], std::move(state[i])));
    } else {
      ONNXTOOL_TRY(run.hold(step.outputs[i], stackers[i - carried].result(0, false)));
    }
  }
  return {};
}

}  // namespace onnxtool
