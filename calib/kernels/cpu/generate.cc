// Operators whose result is made from shapes and parameters: Shape, Size, Constant,
// ConstantOfShape, Range, EyeLike.

#include <algorithm>
#include <cmath>
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

// Every element of the output is the one of `value`.
Status fill(KernelContext& ctx, const ConstView& value, std::span<const int64_t> dims) {
  ONNXTOOL_ASSIGN(const ConstView element, unpacked(ctx, value));
  ONNXTOOL_ASSIGN(const MovedOutput out, MovedOutput::make(ctx, 0, value.dtype, dims));
  dispatch_movement(element.dtype, [&]<class E>() {
    const E& e = *static_cast<const E*>(element.data);
    E* to = static_cast<E*>(out.data());
    ctx.parallel(out.count(), kGrain,
                 [&](int64_t begin, int64_t end) { std::fill(to + begin, to + end, e); });
  });
  out.finish();
  return {};
}

Status constant_of_shape(KernelContext& ctx) {
  ONNXTOOL_ASSIGN(const Dims dims, integer_values(ctx.input(0), "input"));
  if (!checked_product(dims)) return mismatch("input " + format_dims(dims) + " is not a shape");
  static constexpr float kZero = 0.0f;
  const ConstView* value = ctx.node().attr_tensor("value");
  if (value == nullptr) return fill(ctx, {DataType::kFloat, {}, &kZero, 1}, dims);
  if (value->count != 1)
    return bad_model("value has shape " + format_dims(value->dims) + ", expected one element");
  return fill(ctx, *value, dims);
}

// max(ceil((limit - start) / delta), 0) elements: start + i * delta.
Status range(KernelContext& ctx) {
  const DataType type = ctx.input(0).dtype;
  for (int i = 0; i < 3; ++i)
    if (ctx.input(i).count != 1 || ctx.input(i).dtype != type)
      return mismatch("input " + std::to_string(i) + " is " +
                      std::string(name(ctx.input(i).dtype)) + " of shape " +
                      format_dims(ctx.input(i).dims) + ", expected one " + std::string(name(type)));
  return dispatch(
      wide_type(type), TypeList<float, double, int32_t, int64_t>{}, "input 0",
      [&]<class T>() -> Status {
        T start, limit, delta;
        load_wide<T>(type, ctx.input(0).data, 0, 1, &start);
        load_wide<T>(type, ctx.input(1).data, 0, 1, &limit);
        load_wide<T>(type, ctx.input(2).data, 0, 1, &delta);
        if (delta == 0) return mismatch("delta is 0");
        int64_t count = 0;
        if constexpr (std::is_integral_v<T>) {
          // Unsigned: the distance may pass int64.
          using U = uint64_t;
          const bool up = delta > 0;
          if (up ? limit > start : limit < start) {
            const U distance = up ? static_cast<U>(limit) - static_cast<U>(start)
                                  : static_cast<U>(start) - static_cast<U>(limit);
            const U n =
                (distance - 1) / (up ? static_cast<U>(delta) : U{0} - static_cast<U>(delta)) + 1;
            if (n > static_cast<U>(INT64_MAX))
              return mismatch("the range has more than 2^63 elements");
            count = static_cast<int64_t>(n);
          }
        } else {
          const double steps = std::ceil((static_cast<double>(limit) - static_cast<double>(start)) /
                                         static_cast<double>(delta));
          if (!(steps < 0x1p62)) return mismatch("the range has no finite number of elements");
          count = steps > 0 ? static_cast<int64_t>(steps) : 0;
        }
        ONNXTOOL_ASSIGN(const MutableView out, ctx.output(0, type, std::span(&count, 1)));
        T block[kBlock];
        for (int64_t i = 0; i < count; i += kBlock) {
          const int64_t n = std::min(kBlock, count - i);
          for (int64_t j = 0; j < n; ++j) {
            if constexpr (std::is_integral_v<T>)
              block[j] =
                  static_cast<T>(static_cast<uint64_t>(start) +
                                 static_cast<uint64_t>(i + j) * static_cast<uint64_t>(delta));
            else
              block[j] = static_cast<T>(static_cast<double>(start) +
                                        static_cast<double>(i + j) * static_cast<double>(delta));
          }
          store_wide<T>(type, block, n, out.data, i);
        }
        return {};
      });
}

Status eye_like(KernelContext& ctx) {
  const ConstView& x = ctx.input(0);
  if (x.rank() != 2)
    return mismatch("input has shape " + format_dims(x.dims) + ", expected rank 2");
  const auto type =
      static_cast<DataType>(ctx.node().attr_int("dtype", static_cast<int64_t>(x.dtype)));
  const int64_t k = ctx.node().attr_int("k", 0);
  if (wide_type(type) == DataType::kUndefined || is_packed(type))
    return unsupported_type(type, "the output");
  ONNXTOOL_ASSIGN(const MutableView out, ctx.output(0, type, x.dims));
  const size_t size_bytes = size_bytes_of(type, static_cast<uint64_t>(out.count));
  if (out.count == 0) return {};
  std::memset(out.data, 0, size_bytes);
  static constexpr int32_t kOne = 1;
  std::byte one[8];
  convert_elements(DataType::kInt32, &kOne, type, one, 0, 1);
  const int64_t rows = x.dims[0], columns = x.dims[1];
  if (k <= -rows || k >= columns) return {};
  const auto size = static_cast<int64_t>(size_bytes_of(type, 1));
  for (int64_t r = std::max<int64_t>(0, -k); r < rows && r + k < columns; ++r)
    std::memcpy(static_cast<std::byte*>(out.data) + (r * columns + r + k) * size, one,
                static_cast<size_t>(size));
  return {};
}

// A tensor elsewhere need not be fetched for its extents.
InputUse only_dims(const NodeView&, int) { return InputUse::kDims; }

}  // namespace

constinit const KernelInfo kShape{
    .op = "Shape", .prepare = needs_inputs<1>, .run = shape, .use = only_dims};
constinit const KernelInfo kSize{
    .op = "Size", .prepare = needs_inputs<1>, .run = size, .use = only_dims};
constinit const KernelInfo kConstant{.op = "Constant", .run = constant};
constinit const KernelInfo kConstantOfShape{
    .op = "ConstantOfShape", .prepare = needs_inputs<1>, .run = constant_of_shape};
constinit const KernelInfo kRange{.op = "Range", .prepare = needs_inputs<3>, .run = range};
constinit const KernelInfo kEyeLike{.op = "EyeLike", .prepare = needs_inputs<1>, .run = eye_like};

}  // namespace onnxtool
