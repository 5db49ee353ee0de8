// Kernels that compute in float or double: 16-bit inputs are widened, results rounded once.
#pragma once

#include "calib/kernels/cpu/convert.h"

namespace onnxtool {

inline constexpr std::initializer_list<DataType> kFloatDataTypes = {
    DataType::kFloat, DataType::kDouble, DataType::kFloat16, DataType::kBfloat16};

/// Elements of an input as T, when it has the expected element type, of which T is the wide one.
template <class T>
Result<const T*> float_input(KernelContext& ctx, int i, DataType expected, std::string_view what) {
  const ConstView& view = ctx.input(i);
  if (view.dtype != expected)
    return mismatch(std::string(what) + " has element type " + std::string(name(view.dtype)) +
                    ", expected " + std::string(name(expected)));
  ONNXTOOL_ASSIGN(const ConstView wide, widened(ctx, view));
  return static_cast<const T*>(wide.data);
}

/// As float_input; nullptr when the input is absent.
template <class T>
Result<const T*> optional_float_input(KernelContext& ctx, int i, DataType expected,
                                      std::string_view what) {
  if (!ctx.has_input(i)) return static_cast<const T*>(nullptr);
  return float_input<T>(ctx, i, expected, what);
}

/// Room for a float output of T: its own, or scratch that store() rounds into it.
template <class T>
struct FloatOutput {
  MutableView view;
  T* data = nullptr;

  static Result<FloatOutput> make(KernelContext& ctx, const MutableView& view) {
    if (view.dtype == dtype_of<T>) return FloatOutput{view, static_cast<T*>(view.data)};
    ONNXTOOL_ASSIGN(void* scratch, ctx.scratch(static_cast<size_t>(view.count) * sizeof(T)));
    return FloatOutput{view, static_cast<T*>(scratch)};
  }
  void store(KernelContext& ctx) const {
    if (data == view.data) return;
    ctx.parallel(view.count, kGrain, [&](int64_t begin, int64_t end) {
      store_wide<T>(view.dtype, data + begin, end - begin, view.data, begin);
    });
  }
};

/// Calls f.operator()<T>() for T = float or double, the type to compute `type` in.
template <class F>
Status dispatch_float(DataType type, F&& f) {
  if (!is_float(type)) return unsupported_type(type, "the input");
  return dispatch(wide_type(type), TypeList<float, double>{}, "the input", std::forward<F>(f));
}

/// A constant as T; empty when its element type is not one that widens to T.
template <class T, class Array>
Array widened_constant(const ConstView& view) {
  if (!is_float(view.dtype) || wide_type(view.dtype) != dtype_of<T>) return Array();
  Array wide(view.count);
  load_wide<T>(view.dtype, view.data, 0, view.count, wide.data());
  return wide;
}

}  // namespace onnxtool
