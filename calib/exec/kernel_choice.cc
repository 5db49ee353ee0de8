#include "calib/exec/kernel_choice.h"

#include <algorithm>

namespace onnxtool {
namespace {

bool serves(const KernelInfo& k, std::string_view op, std::string_view domain, int opset,
            DataType type) {
  if (!is_for(k, op, domain, opset)) return false;
  return type == DataType::kUndefined || k.types.size() == 0 ||
         std::find(k.types.begin(), k.types.end(), type) != k.types.end();
}

bool makes_large_of_small(std::string_view op) {
  for (const std::string_view large : {"ConstantOfShape", "Expand", "EyeLike", "OneHot", "Range",
                                       "RandomNormalLike", "RandomUniformLike", "Tile"})
    if (op == large) return true;
  return false;
}

}  // namespace

bool is_for(const KernelInfo& k, std::string_view op, std::string_view domain, int opset) {
  if (k.op != op || k.domain != domain) return false;
  // Files that ONNX Runtime wrote do not always declare its own domain, which has one version.
  if (opset == 0 && domain == "com.microsoft") opset = 1;
  return opset >= k.since && opset <= k.until;
}

bool KernelChoice::may_stand_for_groups(std::string_view op, std::string_view domain, int opset,
                                        DataType type) const {
  // A device's sets come first; there may be several.
  const bool on_device = !sets_.empty() && sets_[0]->device;
  for (const KernelSet* set : sets_) {
    if (on_device && !set->device) return false;
    for (const KernelInfo* k : set->kernels)
      if (serves(*k, op, domain, opset, type)) return true;
  }
  return false;
}

void KernelChoice::select(Step& step, DataType type) const {
  const CompiledNode& c = *step.node;
  for (const KernelSet* set : sets_) {
    if (set->device && stays_on_host(c)) continue;
    for (const KernelInfo* k : set->kernels) {
      if (!serves(*k, c.op_type(), c.domain(), c.opset(), type) || (k->accepts && !k->accepts(c)))
        continue;
      step.kernel = k;
      step.set = set;
      return;
    }
  }
}

// What no device should run: strings and inputs of unknown type, and computing with shapes.
// These are a few integers that some kernel will look at on the host; a device would only add
// copies there and back.
bool KernelChoice::stays_on_host(const CompiledNode& c) const {
  bool any = false, all_small = true;
  for (size_t i = 0; i < c.inputs.size(); ++i) {
    if (c.inputs[i] < 0) continue;
    if (bits_of(c.dtypes[i]) == 0) return true;
    const bool is_constant = c.constants[i] != nullptr;
    any |= !is_constant;
    all_small &= is_constant || small_on_host_.contains(c.inputs[i]);
  }
  return any && all_small && !makes_large_of_small(c.op_type());
}

void KernelChoice::note_small(const Step& step) {
  if (!step.kernel || step.set->device) return;
  const CompiledNode& c = *step.node;
  if (step.kernel->use && c.num_inputs() == 1 && step.kernel->use(c, 0) == InputUse::kDims) {
    small_on_host_.insert(step.outputs.begin(), step.outputs.end());
  } else if (stays_on_host(c)) {
    small_on_host_.insert(step.outputs.begin(), step.outputs.end());
  }
}

}  // namespace onnxtool
