#include "calib/exec/device_copies.h"

namespace onnxtool {
namespace {

// Where a slot's value is made and read.
struct Traffic {
  bool is_constant = false, made_on_device = false;
  bool read_on_device = false, read_on_host = false;
};

void note_reads(const Step& step, std::vector<Traffic>& traffic) {
  const CompiledNode& node = *step.node;
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    if (node.inputs[i] < 0 || node.dropped[i]) continue;
    Traffic& t = traffic[static_cast<size_t>(node.inputs[i])];
    const InputUse use = step.kernel && step.kernel->use
                             ? step.kernel->use(node, static_cast<int>(i))
                             : InputUse::kData;
    if (use == InputUse::kDims) continue;
    (use == InputUse::kData && step.set && step.set->device ? t.read_on_device : t.read_on_host) =
        true;
  }
  // A view of a value is that value: it lies wherever that lies.
  for (const int s : step.outputs)
    if (s >= 0 && step.set && step.set->device)
      traffic[static_cast<size_t>(s)].made_on_device = true;
}

Status upload(Plan::Impl& plan, int slot, AlignedTensor& tensor) {
  const ConstView& v = tensor.view();
  const size_t size = size_bytes_of(v.dtype, static_cast<uint64_t>(v.count));
  DeviceConstant copy(slot, plan.device);
  copy.data = plan.device->allocate(std::max<size_t>(size, 1));
  if (!copy.data)
    return Error{ErrorCode::kOutOfMemory,
                 "the device is out of memory while it takes the model's constants",
                 "use --device cpu"};
  if (size) ONNXTOOL_TRY(plan.device->to_device(copy.data, v.data, size));
  plan.device_constants.push_back(std::move(copy));
  return {};
}

}  // namespace

Status place_copies(Plan::Impl& plan) {
  for (const Step& step : plan.steps) {
    if (step.set && step.set->device) plan.device = step.set->device;
    for (const SubPlan& sub : step.subplans)
      if (sub.plan->impl().device) plan.device = sub.plan->impl().device;
  }
  if (!plan.device) return {};
  std::vector<Traffic> traffic(static_cast<size_t>(plan.num_slots));
  for (const Step& step : plan.steps) note_reads(step, traffic);
  for (const int s : plan.output_slots) traffic[static_cast<size_t>(s)].read_on_host = true;
  for (const auto& [slot, tensor] : plan.constants) {
    Traffic& t = traffic[static_cast<size_t>(slot)];
    t.is_constant = true;
    if (t.read_on_device && bits_of(tensor->tensor().dtype()))
      ONNXTOOL_TRY(upload(plan, slot, *tensor));
  }
  ONNXTOOL_TRY(plan.device->finish());
  for (const Traffic& t : traffic) {
    plan.uploads += !t.is_constant && !t.made_on_device && t.read_on_device;
    plan.downloads += t.made_on_device && t.read_on_host;
  }
  return {};
}

}  // namespace onnxtool
