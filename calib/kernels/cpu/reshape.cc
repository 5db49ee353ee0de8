// Operators that keep the bytes: Identity, and new dims for the same elements.

#include <algorithm>
#include <cstring>

#include "calib/kernels/cpu/convert.h"

namespace onnxtool {
namespace {

Status identity(KernelContext& ctx) { return ctx.output_view(0, 0, ctx.input(0).dims); }

Status reshape(KernelContext& ctx) {
  const ConstView& x = ctx.input(0);
  ONNXTOOL_ASSIGN(const std::optional<Dims> given, integers_from(ctx, 1, "shape"));
  if (!given) return bad_model("neither input nor attribute 'shape' is given");
  const bool allow_zero = ctx.node().attr_int("allowzero", 0) != 0;
  Dims dims = *given;
  int64_t known = 1;
  std::optional<size_t> open;
  for (size_t i = 0; i < dims.size(); ++i) {
    if (dims[i] == -1) {
      if (open) return mismatch("shape " + format_dims(*given) + " has -1 twice");
      open = i;
      continue;
    }
    if (dims[i] == 0 && !allow_zero) {
      if (i >= x.dims.size())
        return mismatch("shape " + format_dims(*given) + " copies dimension " + std::to_string(i) +
                        " of " + format_dims(x.dims));
      dims[i] = x.dims[i];
    }
    const std::optional<int64_t> product_so_far =
        dims[i] < 0 ? std::nullopt : checked_mul(known, dims[i]);
    if (!product_so_far) return mismatch("shape " + format_dims(*given) + " is not a shape");
    known = *product_so_far;
  }
  const bool fits =
      open ? known != 0 ? x.count % known == 0 : x.count == 0 && !allow_zero : known == x.count;
  if (!fits)
    return mismatch("input of shape " + format_dims(x.dims) + " does not fit into shape " +
                    format_dims(*given));
  if (open) dims[*open] = known == 0 ? 0 : x.count / known;
  return ctx.output_view(0, 0, dims);
}

Status flatten(KernelContext& ctx) {
  const ConstView& x = ctx.input(0);
  const int64_t axis = ctx.node().attr_int("axis", 1);
  if (axis < -x.rank() || axis > x.rank())
    return bad_model("axis is " + std::to_string(axis) + " but the input has rank " +
                     std::to_string(x.rank()));
  const auto a = static_cast<size_t>(axis < 0 ? axis + x.rank() : axis);
  const Dims dims{product(x.dims, 0, a), product(x.dims, a, x.dims.size())};
  return ctx.output_view(0, 0, dims);
}

Status squeeze(KernelContext& ctx) {
  const ConstView& x = ctx.input(0);
  ONNXTOOL_ASSIGN(const std::optional<Dims> given, integers_from(ctx, 1, "axes"));
  Dims dims;
  if (!given) {
    std::ranges::copy_if(x.dims, std::back_inserter(dims), [](int64_t d) { return d != 1; });
    return ctx.output_view(0, 0, dims);
  }
  ONNXTOOL_ASSIGN(const Dims axes, resolve_axes(*given, x.rank()));
  for (size_t i = 0; i < x.dims.size(); ++i) {
    const bool drop = std::ranges::find(axes, static_cast<int64_t>(i)) != axes.end();
    if (!drop)
      dims.push_back(x.dims[i]);
    else if (x.dims[i] != 1)
      return mismatch("axis " + std::to_string(i) + " of shape " + format_dims(x.dims) +
                      " is not 1");
  }
  return ctx.output_view(0, 0, dims);
}

Status unsqueeze(KernelContext& ctx) {
  const ConstView& x = ctx.input(0);
  ONNXTOOL_ASSIGN(const std::optional<Dims> given, integers_from(ctx, 1, "axes"));
  if (!given) return bad_model("axes are missing");
  const size_t rank = x.dims.size() + given->size();
  ONNXTOOL_ASSIGN(const Dims axes, resolve_axes(*given, static_cast<int64_t>(rank)));
  Dims dims;
  auto next = x.dims.begin();
  for (size_t i = 0; i < rank; ++i)
    dims.push_back(std::ranges::find(axes, static_cast<int64_t>(i)) != axes.end() ? 1 : *next++);
  return ctx.output_view(0, 0, dims);
}

}  // namespace

constinit const KernelInfo kIdentity{.op = "Identity", .prepare = needs_inputs<1>, .run = identity};
constinit const KernelInfo kReshape{
    .op = "Reshape", .prepare = needs_inputs<1>, .run = reshape, .use = parameters_on_host};
constinit const KernelInfo kFlatten{.op = "Flatten", .prepare = needs_inputs<1>, .run = flatten};
constinit const KernelInfo kSqueeze{
    .op = "Squeeze", .prepare = needs_inputs<1>, .run = squeeze, .use = parameters_on_host};
constinit const KernelInfo kUnsqueeze{
    .op = "Unsqueeze", .prepare = needs_inputs<1>, .run = unsqueeze, .use = parameters_on_host};

}  // namespace onnxtool
