// Convolution as loops over pointers: implicit im2col in front of the blocked product, direct rows
// for depthwise windows. Shared by the float and the integer convolutions and by pooling.
#pragma once

#include "calib/kernels/cpu/gemm.h"
#include "calib/kernels/cpu/window.h"

namespace onnxtool {

/// Writes one channel [in...] as the windows cover it, [extents...] from -pad_begin on: x - zero
/// inside the input, 0 outside.
template <class From, class T>
void pad_channel(const From* x, From zero, const Window& w, const Spatial& extents, T* out);

/// im2col, panel by panel: k runs over (channel, window position), columns over output positions.
/// `image` holds `channels` planes of the given extents, which every window lies inside.
template <class T>
class ConvPanels final : public PanelSource<T> {
 public:
  ConvPanels(const T* image, int64_t channels, const Spatial& extents, const Window& w)
      : image_(image), end_(image + channels * volume(extents)), extents_(extents), window_(w) {}
  void pack(const PanelRequest& request, T* out) const override;
  const T* find(const PanelRequest&, int64_t*) const override { return nullptr; }

 private:
  const T* image_;
  const T* end_;
  Spatial extents_;
  const Window& window_;
};

/// Extents of a convolution. Weights are packed per group, rows [M / group], depth [C / group *
/// window].
struct ConvShape {
  Window window;
  int64_t batch = 0, channels = 0, out_channels = 0, group = 1;

  int64_t group_channels() const { return channels / group; }
  int64_t group_outputs() const { return out_channels / group; }
  int64_t depth() const { return group_channels() * volume(window.kernel); }
  int64_t pixels() const { return volume(window.out); }
  /// A product with the image as it lies: window of one element, no stride, no padding.
  bool pointwise() const {
    return volume(window.kernel) == 1 && volume(window.stride) == 1 && !window.padded() &&
           window.in == window.out;
  }
};

/// Dense (grouped) convolution of x [batch, channels, in...]; `zero` is subtracted from x. Weights
/// of group g lie packed at weights + g * packed_count(group_outputs, depth, tile rows). Batch n *
/// group + g of the sink is group g of image n.
template <class T, class From>
Status conv_gemm(KernelContext& ctx, const GemmIsa& isa, const ConvShape& shape, const From* x,
                 From zero, const T* weights, const ProductSink<T>& sink);

/// A strip of one padded plane whose rows are split by column stride, so that each window position
/// reads consecutive elements: element q of phase p of row r is column q * stride + p.
class RowImage {
 public:
  /// Fails when a strip overflows.
  static Result<RowImage> make(const Window& w);
  /// A strip is output rows [strip * strip_rows, ...) of one depth position.
  int64_t strips() const { return strips_; }
  int64_t strip_rows() const { return strip_rows_; }
  int64_t buffer_count() const { return buffer_count_; }
  /// Whether all rows of a strip are computed as one, row_size() apart: what lies between them is
  /// waste, but narrow rows are mostly overhead by themselves.
  bool flat() const { return w_.stride[1] == 1 && phases_ == 1 && w_.out[2] <= 64; }
  int64_t row_size() const { return row_size_; }
  int64_t taps() const { return static_cast<int64_t>(offsets_.size()); }

  /// Loads what output rows [first, last) at depth `od` see of a plane x; outside is `fill`.
  template <class From>
  void load(const From* x, From zero, float fill, int64_t od, int64_t first, int64_t last,
            float* buffer) const;
  /// Pointers for output row `row` of a strip that starts at `first`.
  void tap_pointers(const float* buffer, int64_t first, int64_t row, const float** x) const {
    const float* start = buffer + (row - first) * w_.stride[1] * row_size_;
    for (size_t t = 0; t < offsets_.size(); ++t) x[t] = start + offsets_[t];
  }

 private:
  Window w_;
  int64_t phases_ = 1, phase_size_ = 0, row_size_ = 0;
  int64_t strip_rows_ = 0, strips_ = 0, strip_inputs_ = 0, buffer_count_ = 0;
  Dims offsets_;
};

/// Slides a window over one plane at a time, row by row: x is [planes / multiplier, in...].
///   compute(plane, taps, n, out)                    out[i] from the taps' elements i, for i < n
///   place(plane, position)                          where a row of w.out[2] values may be
///   computed, or
///                                                   nullptr: in working memory
///   finish(plane, position, values, work)           takes a row; `work` is room for another one
/// position is that of the row within the output plane.
template <class From, class Compute, class Place, class Finish>
Status for_each_window_row(KernelContext& ctx, const Window& w, int64_t planes, int64_t multiplier,
                           const From* x, From zero, float fill, const Compute& compute,
                           const Place& place, const Finish& finish) {
  ONNXTOOL_ASSIGN(const RowImage image, RowImage::make(w));
  const int64_t columns = w.out[2], row_bytes = round_up(columns * 4, 64);
  const int64_t image_bytes = round_up(image.buffer_count() * 4, 64),
                taps_bytes = round_up(image.taps() * 8, 64);
  const int64_t values_bytes =
      image.flat() ? round_up(image.strip_rows() * image.row_size() * 4, 64) : row_bytes;
  ONNXTOOL_ASSIGN(const TaskPool pool,
                  TaskPool::make(ctx, image_bytes + taps_bytes + values_bytes + row_bytes));
  const int64_t strips = image.strips() * w.out[0];
  pool.run(ctx, planes * strips, [&](int64_t task, std::byte* memory) {
    auto* buffer = reinterpret_cast<float*>(memory);
    auto** taps = reinterpret_cast<const float**>(memory + image_bytes);
    auto* values = reinterpret_cast<float*>(memory + image_bytes + taps_bytes);
    auto* work = reinterpret_cast<float*>(memory + image_bytes + taps_bytes + values_bytes);
    const int64_t at = task / strips, od = task % strips / image.strips();
    const int64_t first = task % image.strips() * image.strip_rows();
    const int64_t last = std::min(first + image.strip_rows(), w.out[1]);
    image.load(x + at / multiplier * volume(w.in), zero, fill, od, first, last, buffer);
    const auto position = [&](int64_t row) { return (od * w.out[1] + row) * columns; };
    if (image.flat()) {
      image.tap_pointers(buffer, first, first, taps);
      compute(at, taps, (last - first - 1) * image.row_size() + columns, values);
      for (int64_t row = first; row < last; ++row)
        finish(at, position(row), values + (row - first) * image.row_size(), work);
      return;
    }
    for (int64_t row = first; row < last; ++row) {
      image.tap_pointers(buffer, first, row, taps);
      float* to = place(at, position(row));
      compute(at, taps, columns, to ? to : values);
      finish(at, position(row), to ? to : values, work);
    }
  });
  return {};
}

}  // namespace onnxtool
