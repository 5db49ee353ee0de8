// Pooling in float32 and, computed in that, float16 (MaxPool also of 8-bit integers), channels
// last: lines of channels are compared or added, pixel by pixel.
//   MaxPool-1 .. 22: padding never wins, NaN always does (oneDNN's own pooling drops NaN and
//   -infinity). AveragePool-1 .. 22: sum over the window / count; count_include_pad counts
//   positions within the
//     padded input, never what ceil_mode adds behind it. Sums run over the window in order.
//   GlobalAveragePool-1, 22, and ReduceMean-1 .. 18 over all spatial axes: sums in double, in the
//   order
//     of memory.

#include <cmath>
#include <limits>
#include <type_traits>

#include "calib/kernels/dnnl/fusion.h"
#include "calib/kernels/dnnl/halves.h"
#include "calib/kernels/dnnl/kernels.h"
#include "calib/kernels/dnnl/multiversion.h"
#include "calib/kernels/dnnl/windows.h"

namespace onnxtool {
namespace {

// Channels whose results stay in registers while a window is walked.
constexpr int64_t kLine = 16;

// Calls f.template operator()<N>(c) for stretches of N channels from c that cover all of them;
// those that overlap give what they gave before.
template <class F>
__attribute__((always_inline)) inline void for_stretches(int64_t channels, const F& f) {
  int64_t c = 0;
  for (; c + kLine <= channels; c += kLine) f.template operator()<kLine>(c);
  if (c < channels && channels > kLine) return f.template operator()<kLine>(channels - kLine);
  for (; c + 4 <= channels; c += 4) f.template operator()<4>(c);
  for (; c < channels; ++c) f.template operator()<1>(c);
}

template <class T>
__attribute__((always_inline)) inline bool is_nan(T v) {
  if constexpr (std::is_floating_point_v<T>) return v != v;
  return false;
}

// Output pixels side by side whose windows see the same taps.
struct Patch {
  const int64_t* offsets;  // of the first pixel's taps, in elements from the image
  size_t taps;
  int64_t channels;
  int64_t pixels, step;  // step: from one pixel's taps to the next one's
};

template <class T>
__attribute__((always_inline)) inline void max_loop(const T* x, const Patch& p, T* y) {
  using Limits = std::numeric_limits<T>;
  constexpr T kLowest = Limits::has_infinity ? -Limits::infinity() : Limits::lowest();
  for (int64_t pixel = 0; pixel < p.pixels; ++pixel, x += p.step, y += p.channels)
    for_stretches(
        p.channels, [&]<int64_t N>(int64_t c) __attribute__((always_inline)) {
          T best[N];
          for (T& b : best) b = kLowest;
          for (size_t i = 0; i < p.taps; ++i) {
            const T* tap = x + p.offsets[i] + c;
            for (int64_t k = 0; k < N; ++k)
              best[k] = ((tap[k] > best[k]) | is_nan(tap[k])) ? tap[k] : best[k];
          }
          for (int64_t k = 0; k < N; ++k) y[c + k] = best[k];
        });
}
ONNXTOOL_MULTIVERSION void max_of_patch(const float* x, const Patch& p, float* y) {
  max_loop(x, p, y);
}
ONNXTOOL_MULTIVERSION void max_of_patch(const uint8_t* x, const Patch& p, uint8_t* y) {
  max_loop(x, p, y);
}
ONNXTOOL_MULTIVERSION void max_of_patch(const int8_t* x, const Patch& p, int8_t* y) {
  max_loop(x, p, y);
}

ONNXTOOL_MULTIVERSION void mean_of_patch(const float* x, const Patch& p, float divisor, float* y) {
  for (int64_t pixel = 0; pixel < p.pixels; ++pixel, x += p.step, y += p.channels)
    for_stretches(
        p.channels, [&]<int64_t N>(int64_t c) __attribute__((always_inline)) {
          float sum[N] = {};
          for (size_t i = 0; i < p.taps; ++i)
            for (int64_t k = 0; k < N; ++k) sum[k] += x[p.offsets[i] + c + k];
          for (int64_t k = 0; k < N; ++k) y[c + k] = sum[k] / divisor;
        });
}

// y[c] = mean over pixels of x[s, c] for `channels` of the `stride` that a pixel has.
ONNXTOOL_MULTIVERSION void mean_of_pixels(const float* x, int64_t pixels, int64_t stride,
                                          int64_t channels, float* y) {
  for_stretches(
      channels, [&]<int64_t N>(int64_t c) __attribute__((always_inline)) {
        double sum[N] = {};
        for (int64_t s = 0; s < pixels; ++s)
          for (int64_t k = 0; k < N; ++k) sum[k] += static_cast<double>(x[s * stride + c + k]);
        for (int64_t k = 0; k < N; ++k)
          y[c + k] = static_cast<float>(sum[k] / static_cast<double>(pixels));
      });
}

struct PoolState final : KernelState {
  WindowAttributes attributes;
  bool count_pads = false;
};

bool accepts(const NodeView& node) {
  const auto attributes = window_attributes(node);
  return attributes && !attributes->kernel.empty() && attributes->kernel.size() <= 3 &&
         !node.wants_output(1);
}

Result<std::unique_ptr<KernelState>> prepare(const NodeView& node) {
  auto state = std::make_unique<PoolState>();
  state->attributes = *window_attributes(node);
  state->count_pads = node.attr_int("count_include_pad", 0) != 0;
  return {std::move(state)};
}

// Taps of one axis that see the input from output position o, and how many count.
struct Taps {
  int64_t first = 0, last = 0, start = 0, counted = 0;

  bool sees_as(const Taps& o) const {
    return first == o.first && last == o.last && counted == o.counted;
  }
};
Taps taps_of(const Windows& w, size_t axis, int64_t o, bool count_pads) {
  Taps t;
  const int64_t d = w.dilations[axis], k = w.kernel[axis];
  t.start = o * w.strides[axis] - w.pads_begin[axis];
  t.first = t.start >= 0 ? 0 : std::min((d - 1 - t.start) / d, k);
  t.last = std::max(t.first, std::min(k, (w.in[axis] - t.start + d - 1) / d));
  const int64_t room = std::max<int64_t>(w.in[axis] + w.pads_end[axis] - t.start, 0);
  t.counted = count_pads ? std::min(k, (room + d - 1) / d) : t.last - t.first;
  return t;
}

// Output pixels of a row, one after the other, that see the same taps of it; `taps` is the first
// one's.
struct Stretch {
  Taps taps;
  int64_t pixels;
};

// Windows of three axes over x [images, in, channels], into y [images, out, channels].
template <class T, bool kMax>
void pool_windows(KernelContext& ctx, const Windows& w, int64_t images, int64_t channels,
                  bool count_pads, const T* x, T* target) {
  const int64_t in_image = w.in[0] * w.in[1] * w.in[2] * channels;
  const int64_t taps = w.kernel[0] * w.kernel[1] * w.kernel[2];
  std::vector<Stretch> stretches;
  for (int64_t ow = 0; ow < w.out[2]; ++ow) {
    const Taps t = taps_of(w, 2, ow, count_pads);
    if (stretches.empty() || !t.sees_as(stretches.back().taps)) stretches.push_back({t, 0});
    ++stretches.back().pixels;
  }
  // A task makes whole rows of output pixels.
  ctx.parallel(
      images * w.out[0] * w.out[1], std::max<int64_t>(65536 / (w.out[2] * channels * taps), 1),
      [&](int64_t begin, int64_t end) {
        std::vector<int64_t> offsets;
        T* y = target + begin * w.out[2] * channels;
        for (int64_t row = begin; row < end; ++row) {
          const T* image = x + row / (w.out[0] * w.out[1]) * in_image;
          const Taps d = taps_of(w, 0, row / w.out[1] % w.out[0], count_pads),
                     h = taps_of(w, 1, row % w.out[1], count_pads);
          for (const auto& [v, pixels] : stretches) {
            offsets.clear();
            for (int64_t i = d.first; i < d.last; ++i)
              for (int64_t j = h.first; j < h.last; ++j)
                for (int64_t k = v.first; k < v.last; ++k)
                  offsets.push_back(
                      (((d.start + i * w.dilations[0]) * w.in[1] + h.start + j * w.dilations[1]) *
                           w.in[2] +
                       v.start + k * w.dilations[2]) *
                      channels);
            const Patch patch{offsets.data(), offsets.size(), channels, pixels,
                              w.strides[2] * channels};
            if constexpr (kMax)
              max_of_patch(image, patch, y);
            else
              mean_of_patch(image, patch, static_cast<float>(d.counted * h.counted * v.counted), y);
            y += pixels * channels;
          }
        }
      });
}

// Whether the maxima of each row first, then those of these, are much less to compare.
bool pays_by_axis(const Windows& w) {
  const int64_t rows_in = w.in[0] * w.in[1], rows_out = w.out[0] * w.out[1],
                rows_seen = w.kernel[0] * w.kernel[1];
  return 2 * (rows_in * w.kernel[2] + rows_out * rows_seen) < rows_out * rows_seen * w.kernel[2];
}

// The same bits: of equal maxima the first one counts in either order, of NaN the last one.
template <class T>
Status max_by_axis(KernelContext& ctx, const Windows& w, int64_t images, int64_t channels,
                   const T* x, T* y) {
  Windows along = w, across = w;
  along.out = {w.in[0], w.in[1], w.out[2]};
  along.kernel = {1, 1, w.kernel[2]};
  along.strides = {1, 1, w.strides[2]};
  along.dilations = {1, 1, w.dilations[2]};
  along.pads_begin = {0, 0, w.pads_begin[2]};
  along.pads_end = {0, 0, w.pads_end[2]};
  across.in[2] = w.out[2];
  across.kernel[2] = across.strides[2] = across.dilations[2] = 1;
  across.pads_begin[2] = across.pads_end[2] = 0;
  const size_t rows = static_cast<size_t>(images * w.in[0] * w.in[1]);
  ONNXTOOL_ASSIGN(void* const memory,
                  ctx.scratch(rows * static_cast<size_t>(w.out[2] * channels) * sizeof(T)));
  pool_windows<T, true>(ctx, along, images, channels, false, x, static_cast<T*>(memory));
  pool_windows<T, true>(ctx, across, images, channels, false, static_cast<const T*>(memory), y);
  return {};
}

template <class T, bool kMax>
Status pool(KernelContext& ctx) {
  const auto& state = static_cast<const PoolState&>(*ctx.state());
  const ConstView& x = ctx.input(0);
  std::optional<Windows> windows;
  if (x.rank() >= 3)
    windows = resolve_windows(state.attributes, x.dims.subspan(2), state.attributes.kernel);
  if (!windows)
    return kernel_error(ErrorCode::kMismatch,
                        "no window of extents " + dims_text(state.attributes.kernel) +
                            " fits into an input of dims " + dims_text(x.dims));
  Windows& w = *windows;
  std::vector<int64_t> dims{x.dims[0], x.dims[1]};
  dims.insert(dims.end(), w.out.end() - (x.rank() - 2), w.out.end());
  ONNXTOOL_ASSIGN(const ChannelsLastOutput<T> out, ChannelsLastOutput<T>::make(ctx, dims));
  if (out.view.count == 0) return {};
  ONNXTOOL_ASSIGN(const T* source, channels_last_values<T>(ctx, 0));
  if (w.in.size() == 2) {
    for (auto* v : {&w.in, &w.out, &w.kernel, &w.strides, &w.dilations}) v->insert(v->begin(), 1);
    w.pads_begin.insert(w.pads_begin.begin(), 0), w.pads_end.insert(w.pads_end.begin(), 0);
  }
  if (kMax && pays_by_axis(w))
    ONNXTOOL_TRY(max_by_axis(ctx, w, x.dims[0], x.dims[1], source, out.values));
  else
    pool_windows<T, kMax>(ctx, w, x.dims[0], x.dims[1], state.count_pads, source, out.values);
  out.store(ctx);
  return {};
}

Status run_max(KernelContext& ctx) {
  switch (ctx.input(0).dtype) {
    case DataType::kUint8: return pool<uint8_t, true>(ctx);
    case DataType::kInt8: return pool<int8_t, true>(ctx);
    default: return pool<float, true>(ctx);
  }
}

Status run_global(KernelContext& ctx) {
  const ConstView& x = ctx.input(0);
  if (x.rank() < 2)
    return kernel_error(ErrorCode::kMismatch,
                        "input has dims " + dims_text(x.dims) + ", expected [N, C, spatial...]");
  std::vector<int64_t> dims(x.dims.begin(), x.dims.end());
  std::fill(dims.begin() + 2, dims.end(), 1);
  if (ctx.node().op_type() == "ReduceMean" && ctx.node().attr_int("keepdims", 1) == 0)
    dims.resize(2);
  // The same in both layouts: one pixel.
  ONNXTOOL_ASSIGN(const ChannelsLastOutput<float> out, ChannelsLastOutput<float>::make(ctx, dims));
  if (out.view.count == 0) return {};
  const int64_t channels = x.dims[1], pixels = x.count / out.view.count;
  const auto* from = static_cast<const float*>(x.data);
  if (x.dtype == DataType::kFloat16) {
    ONNXTOOL_ASSIGN(from, widened_halves(ctx, 0));
  }
  float* const y = out.values;
  if (x.layout == Layout::kChannelsLast) {
    const int64_t groups = (channels + kLine - 1) / kLine;
    ctx.parallel(x.dims[0] * groups,
                 std::max<int64_t>(65536 / (kLine * std::max<int64_t>(pixels, 1)), 1),
                 [=](int64_t begin, int64_t end) {
                   for (int64_t g = begin; g < end; ++g) {
                     const int64_t n = g / groups, c = g % groups * kLine;
                     mean_of_pixels(from + n * pixels * channels + c, pixels, channels,
                                    std::min(kLine, channels - c), y + n * channels + c);
                   }
                 });
  } else {
    ctx.parallel(out.view.count, std::max<int64_t>(65536 / std::max<int64_t>(pixels, 1), 1),
                 [=](int64_t begin, int64_t end) {
                   for (int64_t i = begin; i < end; ++i)
                     mean_of_pixels(from + i * pixels, pixels, 1, 1, y + i);
                 });
  }
  out.store(ctx);
  return {};
}

// Axes 2 and up, all of them, of a tensor whose rank is known.
bool accepts_reduce(const NodeView& node) {
  const auto rank = static_cast<int64_t>(node.input_dims(0).size());
  std::vector<int64_t> axes(node.attr_ints("axes").begin(), node.attr_ints("axes").end());
  if (node.opset() >= 18) {
    const ConstView* c = node.has_input(1) ? node.constant(1) : nullptr;
    if (!c || c->dtype != DataType::kInt64) return false;
    axes.assign(c->as<int64_t>().begin(), c->as<int64_t>().end());
  }
  for (int64_t& a : axes) a = a < 0 ? a + rank : a;
  std::sort(axes.begin(), axes.end());
  if (rank < 3 || static_cast<int64_t>(axes.size()) != rank - 2) return false;
  for (int64_t i = 2; i < rank; ++i)
    if (axes[static_cast<size_t>(i - 2)] != i) return false;
  return true;
}

bool takes_channels_last(int input, Layout layout) {
  return input == 0 && layout == Layout::kChannelsLast;
}

}  // namespace

constinit const KernelInfo kMaxPool{
    .op = "MaxPool",
    .types = {DataType::kFloat, DataType::kFloat16, DataType::kUint8, DataType::kInt8},
    .prepare = prepare,
    .run = run_max,
    .accepts = accepts,
    .takes_layout = takes_channels_last};
constinit const KernelInfo kAveragePool{.op = "AveragePool",
                                        .types = {DataType::kFloat, DataType::kFloat16},
                                        .prepare = prepare,
                                        .run = pool<float, false>,
                                        .accepts = accepts,
                                        .takes_layout = takes_channels_last};
constinit const KernelInfo kGlobalAveragePool{.op = "GlobalAveragePool",
                                              .types = {DataType::kFloat, DataType::kFloat16},
                                              .run = run_global,
                                              .takes_layout = takes_channels_last};
constinit const KernelInfo kReduceMean{.op = "ReduceMean",
                                       .types = {DataType::kFloat},
                                       .run = run_global,
                                       .accepts = accepts_reduce,
                                       .takes_layout = takes_channels_last};

}  // namespace onnxtool
