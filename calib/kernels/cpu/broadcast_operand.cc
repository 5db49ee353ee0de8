// Broadcasting of operators before opset 7 (see elementwise.h).

#include "calib/kernels/cpu/elementwise.h"

namespace onnxtool {

Result<ConstView> broadcast_operand(const KernelContext& ctx, int i, Dims& storage) {
  ConstView view = ctx.input(i);
  const NodeView& node = ctx.node();
  if (node.opset() >= 7 || node.attr_int("broadcast", 0) == 0 || !node.has_attribute("axis"))
    return view;
  const std::span<const int64_t> a = ctx.input(0).dims;
  ONNXTOOL_ASSIGN(const int64_t axis,
                  resolve_axis(node.attr_int("axis", -1), static_cast<int64_t>(a.size())));
  if (axis + view.rank() > static_cast<int64_t>(a.size()))
    return mismatch("shape " + format_dims(view.dims) + " at axis " + std::to_string(axis) +
                    " does not fit into " + format_dims(a));
  storage = to_dims(view.dims);
  storage.resize(a.size() - static_cast<size_t>(axis), 1);
  view.dims = storage;
  return view;
}

}  // namespace onnxtool
