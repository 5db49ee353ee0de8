#include "calib/kernels/dnnl/window_sums.h"

#include <algorithm>

#include "calib/kernels/dnnl/multiversion.h"

namespace onnxtool {
namespace {

template <class T>
__attribute__((always_inline)) inline void sum_lines(const T* x, int64_t lines, int64_t channels,
                                                     uint32_t shift, int32_t* sums) {
  for (int64_t i = 0; i < lines; ++i, x += channels) {
    int32_t sum = 0;
    for (int64_t c = 0; c < channels; ++c) sum += x[c];
    sums[i] = static_cast<int32_t>(static_cast<uint32_t>(sum) - shift);
  }
}
ONNXTOOL_MULTIVERSION void line_sums(const uint8_t* x, int64_t lines, int64_t channels,
                                     uint32_t shift, int32_t* sums) {
  sum_lines(x, lines, channels, shift, sums);
}
ONNXTOOL_MULTIVERSION void line_sums(const int8_t* x, int64_t lines, int64_t channels,
                                     uint32_t shift, int32_t* sums) {
  sum_lines(x, lines, channels, shift, sums);
}

// Three axes, the leading ones of extent 1 where there are fewer.
struct Axes {
  int64_t in[3], out[3], kernel[3], stride[3], dilation[3], pad[3];

  explicit Axes(const ConvolutionProblem& p) {
    for (size_t a = 0; a < 3; ++a) {
      const size_t lead = 3 - p.in.size();
      const bool there = a >= lead;
      in[a] = there ? p.in[a - lead] : 1;
      out[a] = there ? p.out[a - lead] : 1;
      kernel[a] = there ? p.kernel[a - lead] : 1;
      stride[a] = there ? p.strides[a - lead] : 1;
      dilation[a] = there ? p.dilations[a - lead] : 1;
      pad[a] = there ? p.pads_begin[a - lead] : 0;
    }
  }
  static int64_t volume(const int64_t (&v)[3]) { return v[0] * v[1] * v[2]; }

  // Calls f(position) for each tap along an axis that sees the input from output position o.
  template <class F>
  void taps(size_t a, int64_t o, const F& f) const {
    for (int64_t k = 0; k < kernel[a]; ++k) {
      const int64_t at = o * stride[a] - pad[a] + k * dilation[a];
      if (at >= 0 && at < in[a]) f(at);
    }
  }
};

int32_t sum_window(const Axes& axes, const int32_t* pixels, int64_t output) {
  uint32_t sum = 0;
  axes.taps(0, output / axes.out[2] / axes.out[1], [&](int64_t d) {
    axes.taps(1, output / axes.out[2] % axes.out[1], [&](int64_t h) {
      const int32_t* row = pixels + (d * axes.in[1] + h) * axes.in[2];
      axes.taps(2, output % axes.out[2], [&](int64_t w) { sum += static_cast<uint32_t>(row[w]); });
    });
  });
  return static_cast<int32_t>(sum);
}

}  // namespace

Result<const int32_t*> window_sums(KernelContext& ctx, const ConvolutionProblem& problem,
                                   const uint8_t* x, bool is_signed, int32_t zero_point) {
  const Axes axes(problem);
  const int64_t channels = problem.in_channels, in = Axes::volume(axes.in),
                out = Axes::volume(axes.out), pixels = problem.images * in;
  const auto scratch = [&](int64_t count) {
    return ctx.scratch(static_cast<size_t>(count) * sizeof(int32_t));
  };
  ONNXTOOL_ASSIGN(void* const line_memory, scratch(pixels));
  auto* const lines = static_cast<int32_t*>(line_memory);
  const uint32_t shift = static_cast<uint32_t>(channels) * static_cast<uint32_t>(zero_point);
  ctx.parallel(pixels, std::max<int64_t>(65536 / channels, 1), [&](int64_t begin, int64_t end) {
    const uint8_t* from = x + begin * channels;
    if (is_signed)
      line_sums(reinterpret_cast<const int8_t*>(from), end - begin, channels, shift, lines + begin);
    else
      line_sums(from, end - begin, channels, shift, lines + begin);
  });
  if (problem.is_pointwise()) return lines;
  ONNXTOOL_ASSIGN(void* const sum_memory, scratch(problem.images * out));
  auto* const sums = static_cast<int32_t*>(sum_memory);
  const int64_t taps = Axes::volume(axes.kernel);
  ctx.parallel(problem.images * out, std::max<int64_t>(16384 / taps, 1),
               [&](int64_t begin, int64_t end) {
                 for (int64_t i = begin; i < end; ++i)
                   sums[i] = sum_window(axes, lines + i / out * in, i % out);
               });
  return sums;
}

}  // namespace onnxtool
