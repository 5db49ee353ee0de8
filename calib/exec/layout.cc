#include <cstring>

#include "calib/exec/plan_impl.h"
#include "libopt/support/checked.h"

namespace onnxtool {
namespace {

int64_t block_of(Layout layout) {
  return layout == Layout::kBlocked16 ? 16 : layout == Layout::kBlocked8 ? 8 : 1;
}

// [N, C, spatial] with spatial dims flattened; a channels-last tensor is one block of all channels.
struct Extents {
  int64_t n = 1, c = 1, spatial = 1, block = 1;
};

Extents extents_of(std::span<const int64_t> dims, Layout layout) {
  Extents e;
  if (!dims.empty()) e.n = dims[0];
  if (dims.size() > 1) e.c = dims[1];
  for (size_t i = 2; i < dims.size(); ++i) e.spatial *= dims[i];
  e.block = layout == Layout::kChannelsLast ? e.c : block_of(layout);
  return e;
}

template <class T>
void to_blocked(const T* from, T* to, Extents e) {
  const int64_t blocks = e.block ? (e.c + e.block - 1) / e.block : 0;
  for (int64_t n = 0; n < e.n; ++n)
    for (int64_t b = 0; b < blocks; ++b)
      for (int64_t s = 0; s < e.spatial; ++s)
        for (int64_t i = 0; i < e.block; ++i) {
          const int64_t c = b * e.block + i;
          to[((n * blocks + b) * e.spatial + s) * e.block + i] =
              c < e.c ? from[(n * e.c + c) * e.spatial + s] : T{};
        }
}

template <class T>
void from_blocked(const T* from, T* to, Extents e) {
  const int64_t blocks = e.block ? (e.c + e.block - 1) / e.block : 0;
  for (int64_t n = 0; n < e.n; ++n)
    for (int64_t c = 0; c < e.c; ++c) {
      const T* source = from + ((n * blocks + c / e.block) * e.spatial) * e.block + c % e.block;
      T* target = to + (n * e.c + c) * e.spatial;
      for (int64_t s = 0; s < e.spatial; ++s) target[s] = source[s * e.block];
    }
}

template <class T>
void convert(const void* from, Layout from_layout, void* to, Layout to_layout,
             std::span<const int64_t> dims) {
  if (from_layout == Layout::kPlain)
    to_blocked(static_cast<const T*>(from), static_cast<T*>(to), extents_of(dims, to_layout));
  else
    from_blocked(static_cast<const T*>(from), static_cast<T*>(to), extents_of(dims, from_layout));
}

}  // namespace

std::optional<size_t> layout_size_bytes(DataType dtype, std::span<const int64_t> dims,
                                        Layout layout) {
  const auto count = checked_product(dims);
  if (!count || *count > (int64_t{1} << 56)) return std::nullopt;
  const int64_t block = block_of(layout);
  if (block == 1 || dims.size() < 2) return size_bytes_of(dtype, static_cast<uint64_t>(*count));
  const int64_t per_channel = dims[1] ? *count / dims[1] : 0;
  const auto padded = checked_mul(per_channel, (dims[1] + block - 1) / block * block);
  if (!padded || *padded > (int64_t{1} << 56)) return std::nullopt;
  return size_bytes_of(dtype, static_cast<uint64_t>(*padded));
}

void convert_layout(const void* from, Layout from_layout, void* to, Layout to_layout,
                    DataType dtype, std::span<const int64_t> dims) {
  ONNXTOOL_CHECK((from_layout == Layout::kPlain) != (to_layout == Layout::kPlain));
  switch (bits_of(dtype)) {
    case 8: return convert<uint8_t>(from, from_layout, to, to_layout, dims);
    case 16: return convert<uint16_t>(from, from_layout, to, to_layout, dims);
    case 32: return convert<uint32_t>(from, from_layout, to, to_layout, dims);
    case 64: return convert<uint64_t>(from, from_layout, to, to_layout, dims);
    default: check_failed(__FILE__, __LINE__, "blocked layouts hold whole bytes");
  }
}

}  // namespace onnxtool
