#include <algorithm>
#include <cstring>

#include "calib/exec/plan_impl.h"
#include "calib/exec/threads.h"
#include "calib/kernels/cpu/vector_math.h"
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

// y[c * spatial + s] = x[s * channels + c] for s in [begin, end).
template <class T>
void separate_channels(const T* x, T* y, int64_t channels, int64_t spatial, int64_t begin,
                       int64_t end) {
  if constexpr (sizeof(T) == sizeof(uint32_t)) {
    vector_math().transpose32(x + begin * channels, channels, y + begin, spatial, end - begin,
                              channels);
  } else {
    // Tiles whose lines stay in the first-level cache.
    constexpr int64_t kTile = 16;
    for (int64_t s0 = begin; s0 < end; s0 += kTile)
      for (int64_t c = 0; c < channels; ++c)
        for (int64_t s = s0; s < std::min(s0 + kTile, end); ++s)
          y[c * spatial + s] = x[s * channels + c];
  }
}

template <class T>
void from_channels_last(const T* from, T* to, Extents e, int threads) {
  // Stretches of a line of cache or more, so that no two threads write into one.
  constexpr int64_t kStretch = 64, kGrain = 16 * 1024;
  const int64_t stretches = (e.spatial + kStretch - 1) / kStretch;
  const auto body = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t image = i / stretches * e.c * e.spatial, s = i % stretches * kStretch;
      separate_channels(from + image, to + image, e.c, e.spatial, s,
                        std::min(s + kStretch, e.spatial));
    }
  };
  run_pieces(
      threads, e.n * stretches, std::max<int64_t>(kGrain / (kStretch * e.c), 1),
      [](void* f, int64_t begin, int64_t end) {
        (*static_cast<const decltype(body)*>(f))(begin, end);
      },
      const_cast<std::remove_const_t<decltype(body)>*>(&body));
}

template <class T>
void from_blocked(const T* from, T* to, Extents e) {
  const int64_t blocks = (e.c + e.block - 1) / e.block;
  for (int64_t n = 0; n < e.n; ++n)
    for (int64_t c = 0; c < e.c; ++c) {
      const T* source = from + ((n * blocks + c / e.block) * e.spatial) * e.block + c % e.block;
      T* target = to + (n * e.c + c) * e.spatial;
      for (int64_t s = 0; s < e.spatial; ++s) target[s] = source[s * e.block];
    }
}

template <class T>
void to_plain(const void* from, Layout layout, void* to, std::span<const int64_t> dims,
              int threads) {
  const Extents e = extents_of(dims, layout);
  if (e.n * e.c * e.spatial == 0) return;
  if (layout == Layout::kChannelsLast)
    from_channels_last(static_cast<const T*>(from), static_cast<T*>(to), e, threads);
  else
    from_blocked(static_cast<const T*>(from), static_cast<T*>(to), e);
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

void to_plain_layout(const void* from, Layout layout, void* to, DataType dtype,
                     std::span<const int64_t> dims, int threads) {
  ONNXTOOL_CHECK(layout != Layout::kPlain);
  switch (bits_of(dtype)) {
    case 8: return to_plain<uint8_t>(from, layout, to, dims, threads);
    case 16: return to_plain<uint16_t>(from, layout, to, dims, threads);
    case 32: return to_plain<uint32_t>(from, layout, to, dims, threads);
    case 64: return to_plain<uint64_t>(from, layout, to, dims, threads);
    default: check_failed(__FILE__, __LINE__, "blocked layouts hold whole bytes");
  }
}

}  // namespace onnxtool
