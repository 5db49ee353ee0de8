// InstanceNormalization-1, 6, 22 in float32, in the layout that x has:
//   y = (x - mean) * k + b    k = scale[c] / sqrt(var + epsilon)
// with mean and variance of each [n, c] over the spatial axes, in double.

#include <cmath>

#include "calib/kernels/cpu/statistics.h"
#include "calib/kernels/dnnl/kernels.h"
#include "calib/kernels/dnnl/multiversion.h"
#include "calib/kernels/dnnl/normalize.h"
#include "calib/kernels/dnnl/windows.h"

namespace onnxtool {
namespace {

// Channels whose sums stay in registers.
constexpr int64_t kLine = 16;

bool accepts(const NodeView& node) { return node.input_dims(0).size() >= 3; }

bool fuses(const NodeView& node, const PostOp& op) {
  return op.kind == PostOp::Kind::kRelu && node.post_ops().empty();
}

// Mean and variance of up to kLine channels of the `stride` that a pixel has, in one pass: sums of
// distances from the first pixel, so that a large mean takes no digits from the variance.
ONNXTOOL_MULTIVERSION void moments_of_pixels(const float* x, int64_t pixels, int64_t stride,
                                             int64_t channels, double* mean, double* variance) {
  double first[kLine] = {}, sum[kLine] = {}, squares[kLine] = {};
  for (int64_t k = 0; k < channels; ++k) first[k] = static_cast<double>(x[k]);
  if (channels == kLine) {
    for (int64_t s = 0; s < pixels; ++s)
      for (int64_t k = 0; k < kLine; ++k) {
        const double d = static_cast<double>(x[s * stride + k]) - first[k];
        sum[k] += d;
        squares[k] += d * d;
      }
  } else {
    for (int64_t s = 0; s < pixels; ++s)
      for (int64_t k = 0; k < channels; ++k) {
        const double d = static_cast<double>(x[s * stride + k]) - first[k];
        sum[k] += d;
        squares[k] += d * d;
      }
  }
  const auto n = static_cast<double>(pixels);
  for (int64_t k = 0; k < channels; ++k) {
    mean[k] = first[k] + sum[k] / n;
    const double v = squares[k] / n - sum[k] / n * (sum[k] / n);
    variance[k] = v < 0 ? 0 : v;
  }
}

struct Parameters {
  const float *scale, *bias;
  double epsilon;
  bool relu;

  float factor(int64_t c, double variance) const {
    return static_cast<float>(static_cast<double>(scale[c]) / std::sqrt(variance + epsilon));
  }
};

void normalize_planes(KernelContext& ctx, const Parameters& p, const float* x, int64_t planes,
                      int64_t channels, int64_t pixels, float* y) {
  ctx.parallel(planes, std::max<int64_t>(16384 / pixels, 1), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float* from = x + i * pixels;
      const double mean = sum_of(from, pixels) / static_cast<double>(pixels);
      const double variance =
          sum_of_squares_around(from, pixels, mean) / static_cast<double>(pixels);
      normalize_plane(from, static_cast<float>(mean), p.factor(i % channels, variance),
                      p.bias[i % channels], p.relu, pixels, y + i * pixels);
    }
  });
}

Status normalize_pixels(KernelContext& ctx, const Parameters& p, const float* x, int64_t images,
                        int64_t channels, int64_t pixels, float* y) {
  ONNXTOOL_ASSIGN(void* memory,
                  ctx.scratch(static_cast<size_t>(2 * images * channels) * sizeof(float)));
  auto* means = static_cast<float*>(memory);
  float* factors = means + images * channels;
  const int64_t groups = (channels + kLine - 1) / kLine;
  ctx.parallel(images * groups, std::max<int64_t>(16384 / (kLine * pixels), 1),
               [&](int64_t begin, int64_t end) {
                 for (int64_t i = begin; i < end; ++i) {
                   const int64_t image = i / groups, c = i % groups * kLine,
                                 count = std::min(kLine, channels - c);
                   double mean[kLine], variance[kLine];
                   moments_of_pixels(x + image * pixels * channels + c, pixels, channels, count,
                                     mean, variance);
                   for (int64_t k = 0; k < count; ++k) {
                     means[image * channels + c + k] = static_cast<float>(mean[k]);
                     factors[image * channels + c + k] = p.factor(c + k, variance[k]);
                   }
                 }
               });
  ctx.parallel(
      images * pixels, std::max<int64_t>(16384 / channels, 1), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const int64_t image = i / pixels;
          normalize_line(x + i * channels, means + image * channels, factors + image * channels,
                         p.bias, p.relu, channels, y + i * channels);
        }
      });
  return {};
}

Status run(KernelContext& ctx) {
  const ConstView x = ctx.input(0);
  for (const int i : {1, 2})
    if (!ctx.has_input(i) || ctx.input(i).dtype != DataType::kFloat || x.rank() < 2 ||
        ctx.input(i).count != x.dims[1])
      return kernel_error(ErrorCode::kMismatch,
                          std::string(i == 1 ? "scale" : "bias") +
                              " has not one float for each channel of an input of dims " +
                              dims_text(x.dims));
  const std::vector<int64_t> dims(x.dims.begin(), x.dims.end());
  ONNXTOOL_ASSIGN(const MutableView out, ctx.output_in_place(0, 0, DataType::kFloat, dims));
  if (x.count == 0) return {};
  const Parameters p{.scale = static_cast<const float*>(ctx.input(1).data),
                     .bias = static_cast<const float*>(ctx.input(2).data),
                     .epsilon = static_cast<double>(ctx.node().attr_float("epsilon", 1e-5f)),
                     .relu = !ctx.node().post_ops().empty()};
  const int64_t images = x.dims[0], channels = x.dims[1], pixels = x.count / (images * channels);
  const auto* from = static_cast<const float*>(x.data);
  auto* y = static_cast<float*>(out.data);
  if (x.layout == Layout::kChannelsLast)
    return normalize_pixels(ctx, p, from, images, channels, pixels, y);
  normalize_planes(ctx, p, from, images * channels, channels, pixels, y);
  return {};
}

}  // namespace

constinit const KernelInfo kInstanceNormalization{.op = "InstanceNormalization",
                                                  .types = {DataType::kFloat},
                                                  .run = run,
                                                  .accepts = accepts,
                                                  .fuses = fuses,
                                                  .takes_layout = [](int input, Layout layout) {
                                                    return input == 0 &&
                                                           layout == Layout::kChannelsLast;
                                                  }};

}  // namespace onnxtool
