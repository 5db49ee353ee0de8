// Pooling windows element by element: what the operators share when rows of pixels do not apply.
#pragma once

#include "calib/kernels/cpu/window.h"

namespace onnxtool {

/// For each axis and output position the taps that see the input.
class PoolTaps {
 public:
  explicit PoolTaps(const Window& w) : w_(w) {
    for (int axis = 0; axis < kSpatial; ++axis)
      for (int64_t o = 0; o < w.out[static_cast<size_t>(axis)]; ++o)
        taps_[static_cast<size_t>(axis)].push_back(w.taps(axis, o));
  }
  /// Calls f(input offset in the plane) for the taps of one output position, in their order.
  template <class F>
  void for_each(int64_t od, int64_t oh, int64_t ow, F&& f) const {
    const auto [d0, d1] = at(0, od);
    const auto [h0, h1] = at(1, oh);
    const auto [c0, c1] = at(2, ow);
    for (int64_t d = d0; d < d1; ++d)
      for (int64_t h = h0; h < h1; ++h) {
        const int64_t row = (position(0, od, d) * w_.in[1] + position(1, oh, h)) * w_.in[2];
        for (int64_t c = c0; c < c1; ++c) f(row + position(2, ow, c));
      }
  }
  /// Taps of axis at output position o that see the input.
  int64_t count(int axis, int64_t o) const {
    const auto [first, last] = at(axis, o);
    return last - first;
  }

 private:
  std::pair<int64_t, int64_t> at(int axis, int64_t o) const {
    return taps_[static_cast<size_t>(axis)][static_cast<size_t>(o)];
  }
  int64_t position(size_t axis, int64_t o, int64_t k) const {
    return o * w_.stride[axis] - w_.pad_begin[axis] + k * w_.dilation[axis];
  }
  const Window& w_;
  std::array<std::vector<std::pair<int64_t, int64_t>>, kSpatial> taps_;
};

/// What each axis contributes to the number of elements that an output position averages: those
/// that exist or, with count_pads, those within the padded input.
struct PoolCounts {
  std::array<Dims, kSpatial> axis;

  PoolCounts(const Window& w, bool count_pads) {
    for (int a = 0; a < kSpatial; ++a) {
      const auto i = static_cast<size_t>(a);
      for (int64_t o = 0; o < w.out[i]; ++o) {
        const auto [first, last] = w.taps(a, o);
        const int64_t room = w.in[i] + w.pad_end[i] - (o * w.stride[i] - w.pad_begin[i]);
        axis[i].push_back(
            count_pads ? std::min(w.kernel[i],
                                  (std::max<int64_t>(0, room) + w.dilation[i] - 1) / w.dilation[i])
                       : last - first);
      }
    }
  }
  int64_t at(int64_t d, int64_t h, int64_t c) const {
    return axis[0][static_cast<size_t>(d)] * axis[1][static_cast<size_t>(h)] *
           axis[2][static_cast<size_t>(c)];
  }
};

/// Calls body(plane, output offset, od, oh, ow) for every output element of `planes` planes.
template <class Body>
void for_each_output(KernelContext& ctx, const Window& w, int64_t planes, const Body& body) {
  const int64_t size = volume(w.out);
  if (size == 0) return;
  ctx.parallel(planes * size, grain_of(volume(w.kernel)), [&](int64_t begin, int64_t end) {
    for (int64_t e = begin; e < end; ++e)
      body(e / size, e, e % size / plane(w.out), e % plane(w.out) / w.out[2], e % w.out[2]);
  });
}

}  // namespace onnxtool
