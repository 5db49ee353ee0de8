#include "calib/kernels/cpu/conv_loops.h"

#include <cstring>

namespace onnxtool {

namespace {

/// Every second element, four at a time: to[i] = from[2 * i] for i < the result, which is at most
/// n. Reads nothing past from[2 * (n - 1)].
int64_t copy_every_second(const float* from, int64_t n, float* to) {
  typedef float Four __attribute__((vector_size(16)));
  int64_t i = 0;
  for (; i + 4 < n; i += 4) {
    Four low, high;
    std::memcpy(&low, from + 2 * i, sizeof low);
    std::memcpy(&high, from + 2 * i + 4, sizeof high);
    const Four even = __builtin_shufflevector(low, high, 0, 2, 4, 6);
    std::memcpy(to + i, &even, sizeof even);
  }
  return i;
}

/// Copies a row of the input into a padded row of `extent` elements, every `step`-th one from
/// column `column` (which may lie outside) on.
template <class From, class T>
void copy_padded_row(const From* x, From zero, T fill, int64_t in, int64_t column, int64_t step,
                     int64_t extent, T* out) {
  int64_t i = 0;
  for (; i < extent && column < 0; ++i, column += step) out[i] = fill;
  const int64_t inside = column < in ? std::min(extent, i + (in - column - 1) / step + 1) : i;
  if (step == 1 && std::is_same_v<From, T>) {
    if (inside > i) std::memcpy(out + i, x + column, static_cast<size_t>(inside - i) * sizeof(T));
    i = std::max(i, inside);
  } else {
    if constexpr (std::is_same_v<From, float> && std::is_same_v<T, float>) {
      if (step == 2 && i < inside) {
        const int64_t done = copy_every_second(x + column, inside - i, out + i);
        i += done;
        column += done * step;
      }
    }
    for (; i < inside; ++i, column += step) {
      if constexpr (std::is_integral_v<From>)
        out[i] = static_cast<T>(x[column] - zero);
      else
        out[i] = static_cast<T>(x[column]);
    }
  }
  for (; i < extent; ++i) out[i] = fill;
}

bool inside(int64_t i, int64_t extent) { return i >= 0 && i < extent; }

/// Consecutive output positions of one output row within a panel.
struct Segment {
  int64_t offset;  // of the first one's window in a plane
  int count;
};

/// Eight elements at a time, the last of them past the segment, where the next one will be written;
/// `slack` allows that, the end of the image stops it.
template <class T>
void copy_segment(const T* from, int64_t step, int count, const T* end, bool slack, T* to) {
  int i = 0;
  if (step == 1) {
    for (; i + 8 <= count; i += 8) std::memcpy(to + i, from + i, 8 * sizeof(T));
    if (i < count && slack && end - (from + i) >= 8) {
      std::memcpy(to + i, from + i, 8 * sizeof(T));
      return;
    }
  }
  if constexpr (std::is_same_v<T, float>)
    if (step == 2) i = static_cast<int>(copy_every_second(from, count, to));
  for (; i < count; ++i) to[i] = from[i * step];
}

/// As copy_segment, for two rows that end up interleaved; `second` may be nullptr (zeros).
void copy_pair(const int16_t* first, const int16_t* second, int64_t step, int count, int16_t* to) {
  int i = 0;
  if (step == 1 && second) {
    typedef int16_t Eight __attribute__((vector_size(16)));
    for (; i + 8 <= count; i += 8) {
      Eight a, b;
      std::memcpy(&a, first + i, sizeof a);
      std::memcpy(&b, second + i, sizeof b);
      const Eight low = __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
      const Eight high = __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
      std::memcpy(to + 2 * i, &low, sizeof low);
      std::memcpy(to + 2 * i + 8, &high, sizeof high);
    }
  }
  for (; i < count; ++i) {
    to[2 * i] = first[i * step];
    to[2 * i + 1] = second ? second[i * step] : int16_t{0};
  }
}

/// Offsets of successive k (channel, then window position) in an image.
class TapWalker {
 public:
  TapWalker(const Window& w, const Spatial& extents, int64_t k) : w_(w), extents_(extents) {
    const int64_t taps = volume(w.kernel);
    channel_ = k / taps;
    at_ = {k % taps / plane(w.kernel), k % plane(w.kernel) / w.kernel[2], k % w.kernel[2]};
  }
  int64_t offset() const {
    return ((channel_ * extents_[0] + at_[0] * w_.dilation[0]) * extents_[1] +
            at_[1] * w_.dilation[1]) *
               extents_[2] +
           at_[2] * w_.dilation[2];
  }
  void next() {
    if (++at_[2] < w_.kernel[2]) return;
    at_[2] = 0;
    if (++at_[1] < w_.kernel[1]) return;
    at_[1] = 0;
    if (++at_[0] < w_.kernel[0]) return;
    at_[0] = 0;
    ++channel_;
  }

 private:
  const Window& w_;
  const Spatial& extents_;
  int64_t channel_;
  Spatial at_;
};

}  // namespace

template <class From, class T>
void pad_channel(const From* x, From zero, const Window& w, const Spatial& extents, T* out) {
  for (int64_t d = 0; d < extents[0]; ++d)
    for (int64_t h = 0; h < extents[1]; ++h, out += extents[2]) {
      const int64_t id = d - w.pad_begin[0], ih = h - w.pad_begin[1];
      if (!inside(id, w.in[0]) || !inside(ih, w.in[1]))
        std::fill_n(out, extents[2], T{});
      else
        copy_padded_row(x + (id * w.in[1] + ih) * w.in[2], zero, T{}, w.in[2], -w.pad_begin[2], 1,
                        extents[2], out);
    }
}

template <class T>
void ConvPanels<T>::pack(const PanelRequest& r, T* out) const {
  const Window& w = window_;
  Segment segments[kMaxTileCols];
  int segment_count = 0;
  for (int done = 0; done < r.count;) {
    const int64_t pixel = r.first + done;
    const int64_t d = pixel / plane(w.out), h = pixel / w.out[2] % w.out[1], c = pixel % w.out[2];
    const int count = static_cast<int>(std::min<int64_t>(r.count - done, w.out[2] - c));
    segments[segment_count++] = {
        (d * w.stride[0] * extents_[1] + h * w.stride[1]) * extents_[2] + c * w.stride[2], count};
    done += count;
  }
  TapWalker tap(w, extents_, r.k0);
  const int64_t step = w.stride[2];
  if constexpr (std::is_same_v<T, int16_t>) {
    for (int64_t k = 0; k < r.depth; k += 2, out += 2 * r.width) {
      const T* first = image_ + tap.offset();
      tap.next();
      const T* second = nullptr;
      if (k + 1 < r.depth) {
        second = image_ + tap.offset();
        tap.next();
      }
      T* to = out;
      for (int s = 0; s < segment_count; to += 2 * segments[s].count, ++s)
        copy_pair(first + segments[s].offset, second ? second + segments[s].offset : nullptr, step,
                  segments[s].count, to);
      std::fill(to, out + 2 * r.width, T{});
    }
  } else {
    for (int64_t k = 0; k < r.depth; ++k, out += r.width, tap.next()) {
      const T* base = image_ + tap.offset();
      T* to = out;
      for (int s = 0; s < segment_count; to += segments[s].count, ++s)
        copy_segment(base + segments[s].offset, step, segments[s].count, end_,
                     (r.depth - 1 - k) * r.width >= 8, to);
      std::fill(to, out + r.width, T{});
    }
  }
}

template <class T, class From>
Status conv_gemm(KernelContext& ctx, const GemmIsa& isa, const ConvShape& shape, const From* x,
                 From zero, const T* weights, const ProductSink<T>& sink) {
  const Window& w = shape.window;
  const int64_t outputs = shape.group_outputs(), depth = shape.depth(), pixels = shape.pixels();
  if (shape.batch == 0 || shape.out_channels == 0 || pixels == 0) return {};
  const int mr = tile_rows_of<T>(isa);
  const int64_t group_size = packed_count<T>(outputs, depth, mr);
  const bool copies = !std::is_same_v<From, T> || w.padded();
  const Spatial extents = w.padded() ? Spatial{w.covered(0), w.covered(1), w.covered(2)} : w.in;
  const Dims image_dims{std::max<int64_t>(1, shape.channels), extents[0], extents[1], extents[2],
                        int64_t{sizeof(T)}};
  const auto image_bytes = checked_product(image_dims);
  if (!image_bytes || *image_bytes > INT64_MAX / 4)
    return kernel_error(ErrorCode::kLimit, "the padded input overflows");
  // Padded copies of many small images at once give the threads something to share.
  constexpr int64_t kPassBytes = 32 << 20;
  const int64_t pass =
      copies ? std::clamp<int64_t>(kPassBytes / std::max<int64_t>(1, *image_bytes), 1, shape.batch)
             : shape.batch;
  const int64_t image_size = shape.channels * volume(extents);
  T* copy = nullptr;
  if (copies) {
    ONNXTOOL_ASSIGN(void* scratch, ctx.scratch(static_cast<size_t>(pass * *image_bytes)));
    copy = static_cast<T*>(scratch);
  }
  const GemmGrid grid =
      make_grid<T>(isa, pass * shape.group, outputs, pixels, true, ctx.node().threads());
  const PackedPanels<T> any(weights, outputs, mr);
  const int64_t workspace =
      round_up(gemm_workspace<T>(isa, any, grid.rows, depth) * int64_t{sizeof(T)}, 64);
  const int64_t sums =
      sink.buffer_count(grid.rows * grid.cols) * int64_t{sizeof(typename GemmSum<T>::type)};
  ONNXTOOL_ASSIGN(const TaskPool pool, TaskPool::make(ctx, workspace + sums));

  for (int64_t first = 0; first < shape.batch; first += pass) {
    const int64_t images = std::min(pass, shape.batch - first);
    const int64_t in_size = volume(w.in);
    const From* from = x + first * shape.channels * in_size;
    if (copies)
      ctx.parallel(
          images * shape.channels, grain_of(volume(extents)), [&](int64_t begin, int64_t end) {
            for (int64_t c = begin; c < end; ++c)
              pad_channel(from + c * in_size, zero, w, extents, copy + c * volume(extents));
          });
    const T* source = copy;
    if constexpr (std::is_same_v<From, T>)
      if (!copies) source = from;
    const auto run = [&](int64_t task, std::byte* memory) {
      const int64_t n = grid.batch(task) / shape.group, g = grid.batch(task) % shape.group;
      const GemmRange range = grid.range(task);
      const T* image = source + n * image_size + g * shape.group_channels() * volume(extents);
      const PackedPanels<T> a(weights + g * group_size, outputs, mr);
      auto* buffer = reinterpret_cast<typename GemmSum<T>::type*>(memory + workspace);
      int64_t stride = 0;
      auto* to = sink.target((first + n) * shape.group + g, range, buffer, &stride);
      if (shape.pointwise() && !std::is_same_v<T, int16_t>) {
        const MatrixPanels<T> b(image, pixels, 1, ceil_div(outputs, mr));
        gemm_range<T>(isa, a, b, depth, range, to, stride, reinterpret_cast<T*>(memory));
      } else {
        const ConvPanels<T> b(image, shape.group_channels(), extents, w);
        gemm_range<T>(isa, a, b, depth, range, to, stride, reinterpret_cast<T*>(memory));
      }
      sink.finish((first + n) * shape.group + g, range, to, stride);
    };
    pool.run(ctx, grid.m_tasks * grid.n_tasks * images * shape.group, run);
  }
  return {};
}

Result<RowImage> RowImage::make(const Window& w) {
  RowImage image;
  image.w_ = w;
  image.phases_ = std::min(w.stride[2], w.covered(2) > 0 ? w.covered(2) : 1);
  image.phase_size_ = ceil_div(w.covered(2), w.stride[2]);
  const auto row = checked_mul(image.phases_, image.phase_size_);
  const int64_t span_d = (w.kernel[0] - 1) * w.dilation[0] + 1,
                span_h = (w.kernel[1] - 1) * w.dilation[1] + 1;
  const auto one = row ? checked_product(Dims{*row, span_d, span_h, 8}) : std::nullopt;
  // A strip fits a core's second-level cache.
  constexpr int64_t kStripFloats = 32 * 1024;
  if (!one || *one > INT64_MAX / 16) return kernel_error(ErrorCode::kLimit, "the window overflows");
  image.row_size_ = *row;
  const int64_t fitting = *row > 0 ? (kStripFloats / span_d / *row - span_h) / w.stride[1] + 1 : 1;
  image.strip_rows_ = std::clamp<int64_t>(fitting, 1, std::max<int64_t>(1, w.out[1]));
  image.strips_ = ceil_div(w.out[1], image.strip_rows_);
  image.strip_inputs_ = (image.strip_rows_ - 1) * w.stride[1] + span_h;
  const auto count = checked_product(Dims{*row, span_d, image.strip_inputs_, 8});
  if (!count || *count > INT64_MAX / 16)
    return kernel_error(ErrorCode::kLimit, "the window overflows");
  // What the smallest strip sees must fit: 1 GiB.
  if (*count / 8 > int64_t{1} << 28)
    return kernel_error(ErrorCode::kLimit, "a row of windows sees more than 2^28 elements");
  image.buffer_count_ = *count / 8 + kRowSlack;
  for (int64_t d = 0; d < w.kernel[0]; ++d)
    for (int64_t h = 0; h < w.kernel[1]; ++h)
      for (int64_t c = 0; c < w.kernel[2]; ++c) {
        const int64_t column = c * w.dilation[2];
        image.offsets_.push_back((d * image.strip_inputs_ + h * w.dilation[1]) * *row +
                                 column % w.stride[2] * image.phase_size_ + column / w.stride[2]);
      }
  return image;
}

template <class From>
void RowImage::load(const From* x, From zero, float fill, int64_t od, int64_t first, int64_t last,
                    float* buffer) const {
  const int64_t inputs =
      (last - first - 1) * w_.stride[1] + (w_.kernel[1] - 1) * w_.dilation[1] + 1;
  for (int64_t d = 0; d < w_.kernel[0]; ++d) {
    const int64_t id = od * w_.stride[0] - w_.pad_begin[0] + d * w_.dilation[0];
    for (int64_t h = 0; h < inputs; ++h) {
      const int64_t ih = first * w_.stride[1] - w_.pad_begin[1] + h;
      float* out = buffer + (d * strip_inputs_ + h) * row_size_;
      if (!inside(id, w_.in[0]) || !inside(ih, w_.in[1])) {
        std::fill_n(out, row_size_, fill);
        continue;
      }
      const From* row = x + (id * w_.in[1] + ih) * w_.in[2];
      for (int64_t p = 0; p < phases_; ++p)
        copy_padded_row(row, zero, fill, w_.in[2], p - w_.pad_begin[2], w_.stride[2], phase_size_,
                        out + p * phase_size_);
    }
  }
  std::fill_n(buffer + buffer_count_ - kRowSlack, kRowSlack, fill);
}

template void RowImage::load(const float*, float, float, int64_t, int64_t, int64_t, float*) const;
template void RowImage::load(const uint8_t*, uint8_t, float, int64_t, int64_t, int64_t,
                             float*) const;
template void RowImage::load(const int8_t*, int8_t, float, int64_t, int64_t, int64_t, float*) const;
template Status conv_gemm(KernelContext&, const GemmIsa&, const ConvShape&, const float*, float,
                          const float*, const ProductSink<float>&);
template Status conv_gemm(KernelContext&, const GemmIsa&, const ConvShape&, const double*, double,
                          const double*, const ProductSink<double>&);
template Status conv_gemm(KernelContext&, const GemmIsa&, const ConvShape&, const uint8_t*, uint8_t,
                          const int16_t*, const ProductSink<int16_t>&);
template Status conv_gemm(KernelContext&, const GemmIsa&, const ConvShape&, const int8_t*, int8_t,
                          const int16_t*, const ProductSink<int16_t>&);

}  // namespace onnxtool
