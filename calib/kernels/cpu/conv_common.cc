#include "calib/kernels/cpu/conv_common.h"

namespace onnxtool {

Result<ConvShape> resolve_conv(const WindowAttributes& attributes, int64_t group,
                               std::span<const int64_t> x, std::span<const int64_t> weights) {
  if (weights.size() != x.size() || weights.size() < 3)
    return mismatch("input has shape " + format_dims(x) + " but weights have shape " +
                    format_dims(weights));
  if (group < 1) return bad_model("group is " + std::to_string(group) + ", expected at least 1");
  const auto needed = checked_mul(weights[1], group);
  if (!needed || *needed != x[1])
    return mismatch("group is " + std::to_string(group) + " and weights have " +
                    std::to_string(weights[1]) + " channels a group but the input has " +
                    std::to_string(x[1]) + " channels");
  if (weights[0] % group != 0)
    return mismatch("weights have " + std::to_string(weights[0]) +
                    " output channels, not a multiple of group " + std::to_string(group));
  const auto kernel = weights.subspan(2);
  if (!attributes.kernel.empty() && !std::ranges::equal(attributes.kernel, kernel))
    return mismatch("kernel_shape is " + format_dims(attributes.kernel) +
                    " but weights have shape " + format_dims(weights));
  ConvShape shape;
  ONNXTOOL_ASSIGN(shape.window, resolve_window(attributes, x, kernel));
  shape.batch = x[0];
  shape.channels = x[1];
  shape.out_channels = weights[0];
  shape.group = group;
  return shape;
}

Status check_vector(const ConstView& view, std::string_view what, int64_t expected) {
  if (view.rank() == 1 && view.count == expected) return {};
  return mismatch(std::string(what) + " has shape " + format_dims(view.dims) + ", expected [" +
                  std::to_string(expected) + "]");
}

}  // namespace onnxtool
