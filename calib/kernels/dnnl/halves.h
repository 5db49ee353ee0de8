// float16 tensors at the borders of kernels that compute in float32.
#pragma once

#include <span>
#include <vector>

#include "calib/exec/kernel.h"

namespace onnxtool {

/// The elements of a float32 or float16 constant.
std::vector<float> floats_of(const ConstView& view);

/// float16 input i with channels last, widened into scratch memory.
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

}  // namespace onnxtool
