// Element conversion: narrow types in and out of the arithmetic ones, 8-bit floats, packed
// elements.
#pragma once

#include "calib/kernels/cpu/common.h"
#include "calib/kernels/cpu/host_device.h"

namespace onnxtool {

/// The type that kernels compute in: float for 16-, 8- and 4-bit floats, int32 for integers below
/// 32 bits and bool, int64 for uint32; float, double, int32, int64 and uint64 stand for themselves.
/// kUndefined: no arithmetic (string, complex).
DataType wide_type(DataType type);
inline bool is_wide(DataType type) {
  return type != DataType::kUndefined && wide_type(type) == type;
}
inline bool is_packed(DataType type) { return bits_of(type) > 0 && bits_of(type) < 8; }

/// Elements [offset, offset + n) of `data` as W, where wide_type(type) is W.
template <class W>
void load_wide(DataType type, const void* data, int64_t offset, int64_t n, W* out);
/// The inverse. Integers keep their low bits; floats round to nearest even; float8 and float4
/// saturate, or with saturate = false overflow to infinity or NaN as the format has it.
/// Threads may not store packed elements that share a byte.
template <class W>
void store_wide(DataType type, const W* in, int64_t n, void* data, int64_t offset,
                bool saturate = true);

/// Elements that are converted at a time, in a buffer on the stack. Even, for packed elements.
inline constexpr int64_t kBlock = 512;

/// Elements [first, first + n) as Cast converts them: to bool as x != 0, floats to integers towards
/// 0, integers to narrower ones by their low bits. Neither type is a string.
void convert_elements(DataType from, const void* in, DataType to, void* out, int64_t first,
                      int64_t n, bool saturate = true);
/// All elements as `to`: the view's own data, or converted into scratch.
Result<ConstView> converted(KernelContext& ctx, const ConstView& view, DataType to);

/// All elements in the wide type: the view's own data, or converted into scratch.
Result<ConstView> widened(KernelContext& ctx, const ConstView& view);

/// The view with one byte per element when its elements are packed (converted into scratch, type
/// uint8, sign not extended), else the view itself.
Result<ConstView> unpacked(KernelContext& ctx, const ConstView& view);

/// The inverse of unpacked(): the low bits of each byte, into a packed tensor of `type`.
void pack_elements(DataType type, const uint8_t* bytes, int64_t count, void* packed);
/// One byte per element, the sign not extended.
void unpack_elements(DataType type, const void* packed, int64_t count, uint8_t* bytes);

/// Output `i`, for kernels that write whole bytes: packed types are written to scratch, uint8 per
/// element, and packed by finish().
class MovedOutput {
 public:
  static Result<MovedOutput> make(KernelContext& ctx, int i, DataType dtype,
                                  std::span<const int64_t> dims);
  void* data() const { return data_; }
  int64_t count() const { return view_.count; }
  DataType dtype() const { return dtype_; }  // uint8 for packed types
  void finish() const;

 private:
  MutableView view_;
  DataType dtype_ = DataType::kUndefined;
  void* data_ = nullptr;
};

/// Output `i` for kernels that compute in the wide type: narrow types are written to scratch and
/// converted by finish().
class WideOutput {
 public:
  static Result<WideOutput> make(KernelContext& ctx, int i, DataType dtype,
                                 std::span<const int64_t> dims);
  template <class W>
  W* data() const {
    return static_cast<W*>(data_);
  }
  int64_t count() const { return view_.count; }
  void finish(KernelContext& ctx) const;

 private:
  MutableView view_;
  void* data_ = nullptr;
};

/// One 8- or 4-bit float. `bits` may have garbage above the format's own.
float decode_small_float(DataType type, uint8_t bits);
uint8_t encode_small_float(DataType type, float value, bool saturate);
/// float8e8m0 (a power of two, no sign) with the rounding that Cast names: "up", "down", "nearest".
uint8_t encode_e8m0(float value, bool saturate, std::string_view round_mode);

/// Out of range and NaN give the lowest value, as x86 conversion does; everywhere alike.
ONNXTOOL_HD inline int32_t to_int32(float x) {
  return x >= -0x1p31f && x < 0x1p31f ? static_cast<int32_t>(x) : INT32_MIN;
}
ONNXTOOL_HD inline int32_t to_int32(double x) {
  return x > -0x1p31 - 1 && x < 0x1p31 ? static_cast<int32_t>(x) : INT32_MIN;
}
ONNXTOOL_HD inline int64_t to_int64(float x) {
  return x >= -0x1p63f && x < 0x1p63f ? static_cast<int64_t>(x) : INT64_MIN;
}
ONNXTOOL_HD inline int64_t to_int64(double x) {
  return x >= -0x1p63 && x < 0x1p63 ? static_cast<int64_t>(x) : INT64_MIN;
}
/// Negative values wrap.
ONNXTOOL_HD inline uint64_t to_uint64(double x) {
  return x >= 0x1p63 && x < 0x1p64 ? static_cast<uint64_t>(x) : static_cast<uint64_t>(to_int64(x));
}

/// As Cast converts one element, types in which kernels compute.
template <class To, class From>
ONNXTOOL_HD To convert_one(From x) {
  if constexpr (std::is_floating_point_v<From> && std::is_same_v<To, int32_t>)
    return to_int32(x);
  else if constexpr (std::is_floating_point_v<From> && std::is_same_v<To, int64_t>)
    return to_int64(x);
  else if constexpr (std::is_floating_point_v<From> && std::is_same_v<To, uint64_t>)
    return to_uint64(x);
  else
    return static_cast<To>(x);
}

}  // namespace onnxtool
