// Dropout on a device: the input itself, where nobody trains and nobody asks for the mask.

#include "calib/kernels/cpu/common.h"

namespace onnxtool {
namespace {

Status run(KernelContext& ctx) { return ctx.output_view(0, 0, ctx.input(0).dims); }

bool does_nothing(const NodeView& node) {
  if (node.num_outputs() > 1 && node.wants_output(1)) return false;
  if (!node.has_input(2)) return true;
  const ConstView* training = node.constant(2);
  return training && training->dtype == DataType::kBool && training->count == 1 &&
         *static_cast<const uint8_t*>(training->data) == 0;
}

// Ratio and mode are not looked at.
InputUse use(const NodeView&, int input) { return input == 0 ? InputUse::kData : InputUse::kDims; }

}  // namespace

constinit const KernelInfo kDropout{
    .op = "Dropout", .prepare = needs_inputs<1>, .run = run, .accepts = does_nothing, .use = use};

}  // namespace onnxtool
