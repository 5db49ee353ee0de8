#include "calib/kernels/cpu/norm_shape.h"

#include <algorithm>

#include "calib/kernels/cpu/walk.h"

namespace onnxtool {

Result<NormRows> norm_rows(const NodeView& node, const ConstView& x) {
  ONNXTOOL_ASSIGN(const int64_t axis, resolve_axis(node.attr_int("axis", -1), x.rank()));
  const auto a = static_cast<size_t>(axis);
  NormRows r{a,
             product(x.dims, 0, a),
             product(x.dims, a, x.dims.size()),
             node.attr_float("epsilon", 1e-5f),
             x.dims.subspan(a),
             to_dims(x.dims)};
  std::fill(r.statistics.begin() + axis, r.statistics.end(), 1);
  return r;
}

Result<ConstView> trailing_operand(KernelContext& ctx, int i, DataType type,
                                   std::span<const int64_t> wanted) {
  ONNXTOOL_ASSIGN(const ConstView given, converted(ctx, ctx.input(i), wide_type(type)));
  std::span<const int64_t> dims = given.dims;
  while (dims.size() > wanted.size() && dims.front() == 1) dims = dims.subspan(1);
  bool fits = dims.size() <= wanted.size();
  for (size_t d = 0; fits && d < dims.size(); ++d)
    fits = dims[d] == 1 || dims[d] == wanted[wanted.size() - dims.size() + d];
  if (!fits)
    return mismatch("input " + std::to_string(i) + " has shape " + format_dims(given.dims) +
                    ", expected one that broadcasts to " + format_dims(wanted));
  if (given.count == product(wanted)) return given;
  ONNXTOOL_ASSIGN(void* buffer,
                  ctx.scratch(size_bytes_of(given.dtype, static_cast<uint64_t>(product(wanted)))));
  copy_strided(ctx, given.dtype, given.data, {to_dims(wanted), {broadcast_strides(dims, wanted)}},
               buffer);
  ConstView view = given;
  view.data = buffer;
  view.count = product(wanted);
  return view;
}

Result<LpNorm> lp_norm(const NodeView& node, const ConstView& x) {
  ONNXTOOL_ASSIGN(const int64_t axis, resolve_axis(node.attr_int("axis", -1), x.rank()));
  const int64_t p = node.attr_int("p", 2);
  if (p != 1 && p != 2) return bad_model("p is " + std::to_string(p) + ", expected 1 or 2");
  return LpNorm{line_shape(x.dims, axis), p == 2};
}

}  // namespace onnxtool
