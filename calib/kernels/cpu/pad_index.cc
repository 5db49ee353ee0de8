#include "calib/kernels/cpu/pad_index.h"

namespace onnxtool {

Result<Dims> all_pads(const KernelContext& ctx) {
  const auto rank = static_cast<size_t>(ctx.input(0).rank());
  const bool by_input = ctx.node().opset() >= 11 || !ctx.node().domain().empty();
  ONNXTOOL_ASSIGN(const std::optional<Dims> given,
                  integers_from(ctx, by_input ? 1 : -1,
                                ctx.node().opset() < 2 && !by_input ? "paddings" : "pads"));
  if (!given) return bad_model("pads are missing");
  Dims axes;
  if (by_input && ctx.has_input(3)) {
    ONNXTOOL_ASSIGN(const Dims values, integer_values(ctx.input(3), "axes"));
    ONNXTOOL_ASSIGN(axes, resolve_axes(values, ctx.input(0).rank()));
  } else {
    for (size_t i = 0; i < rank; ++i) axes.push_back(static_cast<int64_t>(i));
  }
  if (given->size() != 2 * axes.size())
    return mismatch("pads has " + std::to_string(given->size()) + " elements, expected " +
                    std::to_string(2 * axes.size()));
  Dims pads(2 * rank);
  for (size_t i = 0; i < axes.size(); ++i) {
    pads[static_cast<size_t>(axes[i])] = (*given)[i];
    pads[rank + static_cast<size_t>(axes[i])] = (*given)[axes.size() + i];
  }
  return pads;
}

Result<PadMode> pad_mode_of(const NodeView& node) {
  const std::string_view mode = node.attr_string("mode", "constant");
  if (mode == "constant") return PadMode::kConstant;
  if (mode == "reflect") return PadMode::kReflect;
  if (mode == "edge") return PadMode::kEdge;
  if (mode == "wrap") return PadMode::kWrap;
  return bad_model("mode is '" + std::string(mode) + "', expected constant, reflect, edge or wrap");
}

Result<Dims> padded_dims(std::span<const int64_t> x, std::span<const int64_t> pads, PadMode mode) {
  const size_t rank = x.size();
  Dims dims;
  for (size_t i = 0; i < rank; ++i) {
    const std::optional<int64_t> with_begin = checked_add(x[i], pads[i]);
    const std::optional<int64_t> extent =
        with_begin ? checked_add(*with_begin, pads[rank + i]) : std::nullopt;
    if (!extent || *extent < 0)
      return mismatch("pads " + format_dims(pads) + " leave no valid extent on axis " +
                      std::to_string(i) + " of shape " + format_dims(x));
    if (x[i] == 0 && *extent > 0 && mode != PadMode::kConstant)
      return mismatch("axis " + std::to_string(i) + " has no elements to pad with");
    dims.push_back(*extent);
  }
  return dims;
}

}  // namespace onnxtool
