// Operators whose result is a few values from shapes and parameters: Shape, Size, Constant.

#include <algorithm>
#include <cstring>

#include "calib/kernels/cpu/convert.h"

namespace onnxtool {
namespace {

Status shape(KernelContext& ctx) {
  const std::span<const int64_t> dims = ctx.input(0).dims;
  const auto rank = static_cast<int64_t>(dims.size());
  const auto clamp = [rank](int64_t i) {
    return std::clamp<int64_t>(i < 0 ? i + rank : i, 0, rank);
  };
  const int64_t start = clamp(ctx.node().attr_int("start", 0));
  const int64_t end = std::max(start, clamp(ctx.node().attr_int("end", rank)));
  const int64_t count = end - start;
  ONNXTOOL_ASSIGN(const MutableView out, ctx.output(0, DataType::kInt64, std::span(&count, 1)));
  std::copy_n(dims.begin() + start, count, out.as<int64_t>().begin());
  return {};
}

Status size(KernelContext& ctx) {
  ONNXTOOL_ASSIGN(const MutableView out, ctx.output(0, DataType::kInt64, {}));
  out.as<int64_t>()[0] = ctx.input(0).count;
  return {};
}

template <class T>
Status put(KernelContext& ctx, DataType type, std::span<const T> values, bool is_scalar) {
  const auto count = static_cast<int64_t>(values.size());
  ONNXTOOL_ASSIGN(
      const MutableView out,
      ctx.output(0, type, is_scalar ? std::span<const int64_t>() : std::span(&count, 1)));
  if constexpr (std::is_same_v<T, std::string_view>)
    std::ranges::transform(values, out.as<std::string>().begin(),
                           [](std::string_view s) { return std::string(s); });
  else
    std::ranges::copy(values, out.as<T>().begin());
  return {};
}

Status constant(KernelContext& ctx) {
  const NodeView& node = ctx.node();
  if (const ConstView* value = node.attr_tensor("value")) {
    ONNXTOOL_ASSIGN(const MutableView out, ctx.output(0, value->dtype, value->dims));
    if (value->dtype == DataType::kString)
      std::ranges::copy(value->as<std::string>(), out.as<std::string>().begin());
    else if (value->count > 0)
      std::memcpy(out.data, value->data,
                  size_bytes_of(value->dtype, static_cast<uint64_t>(value->count)));
    return {};
  }
  if (node.has_attribute("value_float")) {
    const float value = node.attr_float("value_float", 0);
    return put<float>(ctx, DataType::kFloat, std::span(&value, 1), true);
  }
  if (node.has_attribute("value_int")) {
    const int64_t value = node.attr_int("value_int", 0);
    return put<int64_t>(ctx, DataType::kInt64, std::span(&value, 1), true);
  }
  if (node.has_attribute("value_string")) {
    const std::string_view value = node.attr_string("value_string", "");
    return put<std::string_view>(ctx, DataType::kString, std::span(&value, 1), true);
  }
  if (node.has_attribute("value_floats"))
    return put<float>(ctx, DataType::kFloat, node.attr_floats("value_floats"), false);
  if (node.has_attribute("value_ints"))
    return put<int64_t>(ctx, DataType::kInt64, node.attr_ints("value_ints"), false);
  if (node.has_attribute("value_strings")) {
    const std::vector<std::string_view> values = node.attr_strings("value_strings");
    return put<std::string_view>(ctx, DataType::kString, values, false);
  }
  if (node.has_attribute("sparse_value"))
    return kernel_error(ErrorCode::kUnsupported, "attribute 'sparse_value' is not supported");
  return bad_model("no value attribute");
}

// A tensor elsewhere need not be fetched for its extents.
InputUse only_dims(const NodeView&, int) { return InputUse::kDims; }

}  // namespace

constinit const KernelInfo kShape{
    .op = "Shape", .prepare = needs_inputs<1>, .run = shape, .use = only_dims};
constinit const KernelInfo kSize{
    .op = "Size", .prepare = needs_inputs<1>, .run = size, .use = only_dims};
constinit const KernelInfo kConstant{.op = "Constant", .run = constant};

}  // namespace onnxtool
