// Operators that make a tensor of a few parameters: ConstantOfShape, Range, EyeLike; for the host
// and for a device.

#include <algorithm>
#include <cmath>

#include "calib/kernels/cpu/cells.h"

namespace onnxtool {
namespace {

template <class E>
struct FillElements {
  E value;
  E* y;
  ONNXTOOL_HD void operator()(int64_t i) const { y[i] = value; }
};

template <class T>
struct RangeElements {
  T start, delta;
  T* y;
  ONNXTOOL_HD void operator()(int64_t i) const {
    if constexpr (std::is_integral_v<T>)
      y[i] = static_cast<T>(static_cast<uint64_t>(start) +
                            static_cast<uint64_t>(i) * static_cast<uint64_t>(delta));
    else
      y[i] = static_cast<T>(static_cast<double>(start) +
                            static_cast<double>(i) * static_cast<double>(delta));
  }
};

struct DiagonalCells {
  int32_t* y;
  int64_t columns, k;
  struct Row {
    int32_t* y;
    int64_t one;
    ONNXTOOL_HD void operator()(int64_t i) const { y[i] = i == one; }
  };
  ONNXTOOL_HD Row row(int64_t i) const { return {y + i * columns, i + k}; }
};

// Every element of the output is the one of `value`, which is in host memory.
Status fill(KernelContext& ctx, const ConstView& value, std::span<const int64_t> dims) {
  ConstView element = value;
  uint8_t code = 0;
  if (is_packed(value.dtype)) {
    unpack_elements(value.dtype, value.data, 1, &code);
    element.dtype = DataType::kUint8;
    element.data = &code;
  }
  ONNXTOOL_ASSIGN(const MovedOutput out, MovedOutput::make(ctx, 0, value.dtype, dims));
  if (out.count() == 0) return {};
  dispatch_movement(element.dtype, [&]<class E>() {
    if constexpr (!kDeviceKernels || std::is_trivially_copyable_v<E>)
      for_each_row(
          ctx, out.count(), 1,
          FillElements<E>{*static_cast<const E*>(element.data), static_cast<E*>(out.data())});
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
        ONNXTOOL_ASSIGN(const WideOutput out, WideOutput::make(ctx, 0, type, std::span(&count, 1)));
        for_each_row(ctx, count, 1, RangeElements<T>{start, delta, out.data<T>()});
        out.finish(ctx);
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
  if (out.count == 0) return {};
  const int64_t rows = x.dims[0], columns = x.dims[1];
  ONNXTOOL_ASSIGN(void* ones, ctx.scratch(static_cast<size_t>(out.count) * sizeof(int32_t)));
  for_each_cell(
      ctx, rows, columns,
      DiagonalCells{static_cast<int32_t*>(ones), columns, std::clamp<int64_t>(k, -rows, columns)});
  convert_into(ctx, DataType::kInt32, ones, out);
  return {};
}

// A device makes floats only: integers are mostly shapes, which are looked at on the host.
bool is_made_here(DataType type) {
  return !kDeviceKernels || (is_float(type) && bits_of(type) >= 16);
}
bool accepts_value(const NodeView& node) {
  const ConstView* value = node.attr_tensor("value");
  return is_made_here(value ? value->dtype : DataType::kFloat);
}
bool accepts_range(const NodeView& node) { return is_made_here(node.input_dtype(0)); }
bool accepts_diagonal(const NodeView& node) {
  return is_made_here(
      static_cast<DataType>(node.attr_int("dtype", static_cast<int64_t>(node.input_dtype(0)))));
}

InputUse all_on_host(const NodeView&, int) { return InputUse::kHost; }
InputUse only_dims(const NodeView&, int) { return InputUse::kDims; }

}  // namespace

constinit const KernelInfo kConstantOfShape{.op = "ConstantOfShape",
                                            .prepare = needs_inputs<1>,
                                            .run = constant_of_shape,
                                            .accepts = accepts_value,
                                            .use = all_on_host};
constinit const KernelInfo kRange{.op = "Range",
                                  .prepare = needs_inputs<3>,
                                  .run = range,
                                  .accepts = accepts_range,
                                  .use = all_on_host};
constinit const KernelInfo kEyeLike{.op = "EyeLike",
                                    .prepare = needs_inputs<1>,
                                    .run = eye_like,
                                    .accepts = accepts_diagonal,
                                    .use = only_dims};

}  // namespace onnxtool
