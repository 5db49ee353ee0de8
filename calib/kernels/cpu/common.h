// What every kernel of this directory needs: errors, axes, integer inputs, dispatch on element
// types.
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "calib/exec/kernel.h"
#include "calib/kernels/cpu/cpu_kernels.h"
#include "libopt/ir/tensor.h"
#include "libopt/support/checked.h"
#include "libopt/support/half.h"

namespace onnxtool {

using Dims = std::vector<int64_t>;

inline Dims to_dims(std::span<const int64_t> dims) { return Dims(dims.begin(), dims.end()); }

/// The model breaks a rule of the operator.
inline Error bad_model(std::string message) {
  return kernel_error(ErrorCode::kBadModel, std::move(message));
}
/// Values that arrived at run time do not fit the operator.
inline Error mismatch(std::string message) {
  return kernel_error(ErrorCode::kMismatch, std::move(message));
}
inline Error unsupported_type(DataType type, std::string_view where) {
  return kernel_error(ErrorCode::kUnsupported, "element type " + std::string(name(type)) + " of " +
                                                   std::string(where) + " is not supported");
}

/// An error when one of these inputs is absent.
inline Status require_inputs(const NodeView& node, std::initializer_list<int> inputs) {
  for (const int i : inputs)
    if (!node.has_input(i)) return bad_model("input " + std::to_string(i) + " is absent");
  return {};
}

/// [-rank, rank) to [0, rank). `what` names the attribute in the error.
Result<int64_t> resolve_axis(int64_t axis, int64_t rank, std::string_view what = "axis");
/// As resolve_axis for each; an axis given twice is an error.
Result<Dims> resolve_axes(std::span<const int64_t> axes, int64_t rank,
                          std::string_view what = "axes");

/// The elements of an int32 or int64 tensor of rank 0 or 1.
Result<Dims> integer_values(const ConstView& view, std::string_view what);
/// The one element of an integer tensor.
Result<int64_t> integer_scalar(const ConstView& view, std::string_view what);
/// Optional input `i` of integers, else attribute `name`; nullopt when both are absent.
Result<std::optional<Dims>> integers_from(const KernelContext& ctx, int i, std::string_view name);

/// prepare() of kernels that prepare nothing: the first `count` inputs must be present.
template <int count>
Result<std::unique_ptr<KernelState>> needs_inputs(const NodeView& node) {
  for (int i = 0; i < count; ++i) ONNXTOOL_TRY(require_inputs(node, {i}));
  return std::unique_ptr<KernelState>();
}
/// As needs_inputs, for variadic operators: at least one input, and none left out.
inline Result<std::unique_ptr<KernelState>> needs_every_input(const NodeView& node) {
  for (int i = 0; i < std::max(node.num_inputs(), 1); ++i) ONNXTOOL_TRY(require_inputs(node, {i}));
  return std::unique_ptr<KernelState>();
}

/// Product of dims [begin, end), which must be extents of an existing tensor. In a tensor without
/// elements the other extents may pass int64: that wraps, and nobody uses it.
inline int64_t product(std::span<const int64_t> dims, size_t begin, size_t end) {
  uint64_t n = 1;
  for (size_t i = begin; i < end; ++i) n *= static_cast<uint64_t>(dims[i]);
  return static_cast<int64_t>(n);
}
inline int64_t product(std::span<const int64_t> dims) { return product(dims, 0, dims.size()); }

/// A tensor as [outer, n, inner] around an axis.
struct LineShape {
  int64_t outer = 1, n = 1, inner = 1;
};
inline LineShape line_shape(std::span<const int64_t> dims, int64_t axis) {
  const auto a = static_cast<size_t>(axis);
  return {product(dims, 0, a), dims[a], product(dims, a + 1, dims.size())};
}

/// Elements that a task should at least have: below this a thread costs more than it brings.
inline constexpr int64_t kGrain = 16 * 1024;
/// Grain in units of `size` elements.
inline int64_t grain_of(int64_t size) {
  return size >= kGrain ? 1 : kGrain / (size > 0 ? size : 1);
}

template <class... Ts>
struct TypeList {};
using FloatTypes = TypeList<float, double, Half, Bfloat16>;

/// Calls f.operator()<T>() for the T of `types` that `type` is; an error when it is none of them.
template <class F, class... Ts>
Status dispatch(DataType type, TypeList<Ts...>, std::string_view where, F&& f) {
  Status status = unsupported_type(type, where);
  const auto attempt = [&]<class T>() {
    if (type != dtype_of<T>) return false;
    status = f.template operator()<T>();
    return true;
  };
  (void)(attempt.template operator()<Ts>() || ...);
  return status;
}

/// The arithmetic types of this directory. Narrower ones are computed in wide_type() (convert.h).
using WideTypes = TypeList<float, double, int32_t, int64_t, uint64_t>;

struct Bits128 {
  uint64_t word[2];
};

/// Calls f.operator()<E>() with an E that moves elements of this type: an unsigned integer of its
/// size, Bits128 or std::string. 4- and 2-bit elements must have been unpacked (convert.h).
template <class F>
decltype(auto) dispatch_movement(DataType type, F&& f) {
  if (type == DataType::kString) return f.template operator()<std::string>();
  switch (bits_of(type)) {
    case 16: return f.template operator()<uint16_t>();
    case 32: return f.template operator()<uint32_t>();
    case 64: return f.template operator()<uint64_t>();
    case 128: return f.template operator()<Bits128>();
    default: return f.template operator()<uint8_t>();
  }
}

inline const void* at(const ConstView& view, int64_t byte_offset) {
  return static_cast<const std::byte*>(view.data) + byte_offset;
}

}  // namespace onnxtool
