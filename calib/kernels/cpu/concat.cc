// Concat and Split.

#include <algorithm>

#include "calib/exec/parts.h"
#include "calib/kernels/cpu/convert.h"
#include "calib/kernels/cpu/walk.h"

namespace onnxtool {
namespace {

Status concat(KernelContext& ctx) {
  const int n = ctx.node().num_inputs();
  const ConstView& first = ctx.input(0);
  if (!ctx.node().has_attribute("axis") && ctx.node().opset() >= 4)
    return bad_model("attribute 'axis' is missing");
  ONNXTOOL_ASSIGN(const int64_t axis, resolve_axis(ctx.node().attr_int("axis", 1), first.rank()));
  const auto a = static_cast<size_t>(axis);
  Dims dims = to_dims(first.dims);
  for (int i = 1; i < n; ++i) {
    const ConstView& x = ctx.input(i);
    bool fits = x.rank() == first.rank() && x.dtype == first.dtype;
    for (size_t d = 0; fits && d < dims.size(); ++d) fits = d == a || x.dims[d] == dims[d];
    if (!fits)
      return mismatch("input " + std::to_string(i) + " is " + std::string(name(x.dtype)) +
                      " of shape " + format_dims(x.dims) + ", which does not fit behind " +
                      std::string(name(first.dtype)) + " of shape " + format_dims(first.dims) +
                      " on axis " + std::to_string(axis));
    const std::optional<int64_t> sum = checked_add(dims[a], x.dims[a]);
    if (!sum) return mismatch("the concatenated axis passes 2^63 elements");
    dims[a] = *sum;
  }
  if (n == 1) return ctx.output_view(0, 0, dims);
  ONNXTOOL_ASSIGN(const MovedOutput y, MovedOutput::make(ctx, 0, first.dtype, dims));
  const LineShape whole = line_shape(dims, axis);
  int64_t offset = 0;
  for (int i = 0; i < n; ++i) {
    ONNXTOOL_ASSIGN(const ConstView x, unpacked(ctx, ctx.input(i)));
    const int64_t length = x.dims[a] * whole.inner;
    dispatch_movement(x.dtype, [&]<class E>() {
      spread_strided(ctx, x.dtype, x.data,
                     {{whole.outer, length}, {Dims{whole.n * whole.inner, 1}}},
                     static_cast<E*>(y.data()) + offset);
    });
    offset += length;
  }
  y.finish();
  return {};
}

// Sizes of the outputs along the axis. Split-18 without sizes: chunks of ceil(n / num_outputs), the
// last one smaller; before: equal ones.
Result<Dims> split_sizes(const KernelContext& ctx, int64_t extent) {
  const NodeView& node = ctx.node();
  ONNXTOOL_ASSIGN(const std::optional<Dims> given, integers_from(ctx, 1, "split"));
  if (given) {
    int64_t sum = 0;
    for (const int64_t s : *given) {
      const std::optional<int64_t> next = s < 0 ? std::nullopt : checked_add(sum, s);
      if (!next) return mismatch("split " + format_dims(*given) + " has an invalid size");
      sum = *next;
    }
    if (sum != extent || static_cast<int>(given->size()) != node.num_outputs())
      return mismatch("split " + format_dims(*given) + " does not cut " + std::to_string(extent) +
                      " elements into " + std::to_string(node.num_outputs()) + " outputs");
    return *given;
  }
  const int64_t parts = node.attr_int("num_outputs", node.num_outputs());
  if (parts < 1 || parts < node.num_outputs())
    return bad_model("num_outputs is " + std::to_string(parts) + " but the node has " +
                     std::to_string(node.num_outputs()));
  const int64_t chunk = extent / parts + (extent % parts != 0 ? 1 : 0);
  if (node.opset() < 18 && extent % parts != 0)
    return mismatch("axis of " + std::to_string(extent) + " elements does not split into " +
                    std::to_string(parts) + " equal parts");
  Dims sizes;
  for (int64_t i = 0, left = extent; i < node.num_outputs(); ++i) {
    sizes.push_back(std::min(chunk, left));
    left -= sizes.back();
  }
  return sizes;
}

Status split(KernelContext& ctx) {
  ONNXTOOL_ASSIGN(const int64_t axis,
                  resolve_axis(ctx.node().attr_int("axis", 0), ctx.input(0).rank()));
  const auto a = static_cast<size_t>(axis);
  const DataType type = ctx.input(0).dtype;
  ONNXTOOL_ASSIGN(const ConstView x, unpacked(ctx, ctx.input(0)));
  const LineShape whole = line_shape(x.dims, axis);
  ONNXTOOL_ASSIGN(const Dims sizes, split_sizes(ctx, whole.n));
  Dims dims = to_dims(x.dims);
  int64_t offset = 0;
  for (size_t i = 0; i < sizes.size(); ++i) {
    const int64_t length = sizes[i] * whole.inner;
    const int output = static_cast<int>(i);
    dims[a] = sizes[i];
    const bool shared = whole.outer == 1 && share_part(ctx, output, 0, dims, offset);
    if (ctx.wants_output(output) && !shared) {
      ONNXTOOL_ASSIGN(const MovedOutput y, MovedOutput::make(ctx, output, type, dims));
      dispatch_movement(x.dtype, [&]<class E>() {
        copy_strided(ctx, x.dtype, static_cast<const E*>(x.data) + offset,
                     Walk<1>{{whole.outer, length}, {Dims{whole.n * whole.inner, 1}}}, y.data());
      });
      y.finish();
    }
    offset += length;
  }
  return {};
}

}  // namespace

constinit const KernelInfo kConcat{.op = "Concat", .prepare = needs_every_input, .run = concat};
constinit const KernelInfo kSplit{
    .op = "Split", .prepare = needs_inputs<1>, .run = split, .use = parameters_on_host};

}  // namespace onnxtool
