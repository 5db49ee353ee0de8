// float16 tensors at the borders of kernels that compute in float32.
#pragma once

#include <span>
#include <type_traits>
#include <vector>

#include "calib/kernels/dnnl/fusion.h"
#include "calib/kernels/dnnl/windows.h"

namespace onnxtool {

/// The elements of a float32 or float16 constant.
std::vector<float> floats_of(const ConstView& view);

/// float16 input i, widened into scratch memory: in the layout that it has, or with channels last.
Result<const float*> widened_halves(KernelContext& ctx, int i);
Result<const float*> channels_last_halves(KernelContext& ctx, int i);

/// Output 0 as float16 with channels last (plain where that is the same), computed in scratch
/// memory.
struct HalfOutput {
  float* floats = nullptr;
  MutableView out = {};

  static Result<HalfOutput> make(KernelContext& ctx, std::span<const int64_t> dims);
  /// Rounds what was computed, to nearest even.
  void store(KernelContext& ctx) const;
};

/// Input i with channels last as T, into which float16 is widened.
template <class T>
Result<const T*> channels_last_values(KernelContext& ctx, int i) {
  if constexpr (std::is_same_v<T, float>)
    if (ctx.input(i).dtype == DataType::kFloat16) return channels_last_halves(ctx, i);
  return channels_last_input<T>(ctx, i);
}

/// Output 0, of input 0's type, with channels last (plain where that is the same), to be computed
/// as T: where it is float16 store() rounds.
template <class T>
struct ChannelsLastOutput {
  MutableView view = {};
  T* values = nullptr;

  static Result<ChannelsLastOutput> make(KernelContext& ctx, std::span<const int64_t> dims) {
    const DataType dtype = ctx.input(0).dtype;
    if constexpr (std::is_same_v<T, float>)
      if (dtype == DataType::kFloat16) {
        ONNXTOOL_ASSIGN(const HalfOutput halves, HalfOutput::make(ctx, dims));
        return ChannelsLastOutput{halves.out, halves.floats};
      }
    const Layout layout = is_same_in_both_layouts(dims) ? Layout::kPlain : Layout::kChannelsLast;
    ONNXTOOL_ASSIGN(const MutableView view, ctx.output(0, dtype, dims, layout));
    return ChannelsLastOutput{view, static_cast<T*>(view.data)};
  }
  void store(KernelContext& ctx) const {
    if constexpr (std::is_same_v<T, float>)
      if (view.dtype == DataType::kFloat16) HalfOutput{values, view}.store(ctx);
  }
};

}  // namespace onnxtool
