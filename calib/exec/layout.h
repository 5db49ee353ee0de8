// The physical orders of tensors.
#pragma once

#include <optional>
#include <span>

#include "calib/exec/kernel.h"

namespace onnxtool {

/// Bytes of a tensor of this layout, block padding included; nullopt on overflow.
std::optional<size_t> layout_size_bytes(DataType dtype, std::span<const int64_t> dims,
                                        Layout layout);
/// Copies elements of another layout into the plain one, on up to so many threads.
void to_plain_layout(const void* from, Layout layout, void* to, DataType dtype,
                     std::span<const int64_t> dims, int threads);

}  // namespace onnxtool
