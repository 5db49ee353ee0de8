// Single elements of device tensors in the types that kernels compute in, and strided walks.
#pragma once

#include <bit>

#include "calib/kernels/cpu/convert.h"
#include "calib/kernels/cpu/walk.h"
#include "calib/kernels/cuda/device.h"
#include "calib/kernels/cuda/divider.h"

namespace onnxtool::device {

/// As Half and Bfloat16 (libopt/support/half.h), whose functions a device cannot call: the test
/// compares all bits.
ONNXTOOL_HD inline float half_to_float(uint16_t bits) {
  const uint32_t sign = (bits & 0x8000u) << 16, magnitude = bits & 0x7fffu;
  if (magnitude >= 0x7c00u)
    return std::bit_cast<float>(sign | 0x7f800000u | ((magnitude & 0x3ffu) << 13));
  if (magnitude >= 0x400u) return std::bit_cast<float>(sign | ((magnitude << 13) + 0x38000000u));
  const float value = static_cast<float>(magnitude) * 0x1p-24f;
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(value));
}
ONNXTOOL_HD inline uint16_t float_to_half(float f) {
  const uint32_t x = std::bit_cast<uint32_t>(f);
  const uint32_t sign = (x >> 16) & 0x8000u, magnitude = x & 0x7fffffffu;
  if (magnitude >= 0x7f800000u)
    return static_cast<uint16_t>(sign | 0x7c00u | (magnitude > 0x7f800000u ? 0x200u : 0u));
  if (magnitude >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);
  if (magnitude < 0x38800000u) {
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3f000000u));
  }
  const uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u) - 0x38000000u;
  return static_cast<uint16_t>(sign | (rounded >> 13));
}
ONNXTOOL_HD inline float bfloat16_to_float(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}
ONNXTOOL_HD inline uint16_t float_to_bfloat16(float f) {
  const uint32_t x = std::bit_cast<uint32_t>(f);
  if ((x & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((x >> 16) | 0x40u);
  return static_cast<uint16_t>((x + 0x7fffu + ((x >> 16) & 1u)) >> 16);
}
/// To 10 bits of mantissa, half to even.
ONNXTOOL_HD inline float round_to_tf32(float f) {
  const uint32_t x = std::bit_cast<uint32_t>(f);
  if ((x & 0x7fffffffu) >= 0x7f800000u) return f;
  return std::bit_cast<float>((x + 0xfffu + ((x >> 13) & 1u)) & ~0x1fffu);
}

/// The types that device kernels read and write; the others stay on the host.
constexpr bool is_device_type(DataType type) {
  switch (type) {
    case DataType::kFloat:
    case DataType::kFloat16:
    case DataType::kBfloat16:
    case DataType::kDouble:
    case DataType::kInt8:
    case DataType::kUint8:
    case DataType::kInt16:
    case DataType::kUint16:
    case DataType::kInt32:
    case DataType::kUint32:
    case DataType::kInt64:
    case DataType::kUint64:
    case DataType::kBool: return true;
    default: return false;
  }
}

/// Element i of a tensor of `type` as W, which is wide_type(type), or the type itself.
template <class W>
ONNXTOOL_HD W load(DataType type, const void* data, int64_t i) {
  if constexpr (std::is_same_v<W, float>) {
    if (type == DataType::kFloat16) return half_to_float(static_cast<const uint16_t*>(data)[i]);
    if (type == DataType::kBfloat16)
      return bfloat16_to_float(static_cast<const uint16_t*>(data)[i]);
  } else if constexpr (std::is_same_v<W, int32_t>) {
    switch (type) {
      case DataType::kBool:
      case DataType::kUint8: return static_cast<const uint8_t*>(data)[i];
      case DataType::kInt8: return static_cast<const int8_t*>(data)[i];
      case DataType::kUint16: return static_cast<const uint16_t*>(data)[i];
      case DataType::kInt16: return static_cast<const int16_t*>(data)[i];
      default: break;
    }
  } else if constexpr (std::is_same_v<W, int64_t>) {
    if (type == DataType::kUint32) return static_cast<const uint32_t*>(data)[i];
  }
  return static_cast<const W*>(data)[i];
}

/// The inverse: integers keep their low bits, floats round to nearest even.
template <class W>
ONNXTOOL_HD void store(DataType type, void* data, int64_t i, W value) {
  if constexpr (std::is_same_v<W, float>) {
    if (type == DataType::kFloat16) {
      static_cast<uint16_t*>(data)[i] = float_to_half(value);
      return;
    }
    if (type == DataType::kBfloat16) {
      static_cast<uint16_t*>(data)[i] = float_to_bfloat16(value);
      return;
    }
  } else if constexpr (std::is_same_v<W, int32_t>) {
    switch (type) {
      case DataType::kBool:
      case DataType::kUint8:
      case DataType::kInt8: static_cast<uint8_t*>(data)[i] = static_cast<uint8_t>(value); return;
      case DataType::kUint16:
      case DataType::kInt16: static_cast<uint16_t*>(data)[i] = static_cast<uint16_t>(value); return;
      default: break;
    }
  } else if constexpr (std::is_same_v<W, int64_t>) {
    if (type == DataType::kUint32) {
      static_cast<uint32_t*>(data)[i] = static_cast<uint32_t>(value);
      return;
    }
  }
  static_cast<W*>(data)[i] = value;
}

/// A coalesced walk of at most kMostAxes axes, as launch parameters.
inline constexpr int kMostAxes = 8;
template <size_t N>
struct StridedWalk {
  int rank = 0;
  Divider extents[kMostAxes];
  int64_t strides[N][kMostAxes];

  /// Where element i, numbered row-major, lies in each operand.
  ONNXTOOL_HD void offsets(int64_t i, int64_t (&out)[N]) const {
    for (size_t k = 0; k < N; ++k) out[k] = 0;
    for (int a = rank - 1; a >= 0; --a) {
      const int64_t index = a == 0 ? i : extents[a].split(i);
      for (size_t k = 0; k < N; ++k) out[k] += index * strides[k][a];
    }
  }
};

/// Fails where more than kMostAxes axes are left.
template <size_t N>
Result<StridedWalk<N>> strided_walk(Walk<N> walk) {
  walk.coalesce();
  if (walk.extents.size() > kMostAxes)
    return kernel_error(ErrorCode::kUnsupported,
                        "a shape of more than " + std::to_string(kMostAxes) +
                            " separate axes is not supported on a device");
  StridedWalk<N> out;
  out.rank = static_cast<int>(walk.extents.size());
  for (int a = 0; a < kMostAxes; ++a) {
    const bool has = a < out.rank;
    out.extents[a] = Divider(has ? walk.extents[static_cast<size_t>(a)] : 1);
    for (size_t k = 0; k < N; ++k)
      out.strides[k][a] = has ? walk.strides[k][static_cast<size_t>(a)] : 0;
  }
  return out;
}

}  // namespace onnxtool::device
