// LRN-1, 13: y = x / (bias + alpha / size * sum of x^2 over a window of `size` channels)^beta. The
// window of channel c is [c - floor((size - 1) / 2), c + ceil((size - 1) / 2)], cut at the ends.
// f16 and bf16 are computed in float; sums run over channels in order.

#include <algorithm>
#include <cmath>

#include "calib/kernels/cpu/cells.h"
#include "calib/kernels/cpu/float_io.h"

namespace onnxtool {
namespace {

struct Response {
  int64_t size;
  double alpha, beta, bias;
};

/// Rows of pixels, one for each channel of each image.
template <class T>
struct NormalizeChannels {
  const T* x;
  T* y;
  int64_t channels, pixels;
  Response r;
  struct Row {
    const T* x;  // the first channel that counts
    const T* own;
    T* y;
    int64_t count, pixels;
    Response r;
    ONNXTOOL_HD void operator()(int64_t i) const {
      double sum = 0;
      for (int64_t k = 0; k < count; ++k) {
        const auto v = static_cast<double>(x[k * pixels + i]);
        sum += v * v;
      }
      const double base = r.bias + r.alpha / static_cast<double>(r.size) * sum;
      // The usual 3/4, without pow.
      const double root = std::sqrt(base);
      const double power = r.beta == 0.75 ? root * std::sqrt(root) : std::pow(base, r.beta);
      y[i] = static_cast<T>(static_cast<double>(own[i]) / power);
    }
  };
  ONNXTOOL_HD Row row(int64_t i) const {
    // A window beyond all channels on both sides sees no more than they are; the sums stay small.
    const int64_t size = std::min(r.size, 2 * channels + 1), c = i % channels;
    const int64_t first = std::max<int64_t>(0, c - (size - 1) / 2),
                  end = std::min(channels - 1, c + size / 2);
    return {
        x + (i - c + first) * pixels, x + i * pixels, y + i * pixels, end - first + 1, pixels, r};
  }
};

Status run(KernelContext& ctx) {
  const NodeView& node = ctx.node();
  ONNXTOOL_TRY(require_inputs(node, {0}));
  const ConstView& x = ctx.input(0);
  if (x.rank() < 2)
    return bad_model("the input has shape " + format_dims(x.dims) +
                     ", expected [N, C, spatial...]");
  const Response r{node.attr_int("size", 0), static_cast<double>(node.attr_float("alpha", 1e-4f)),
                   static_cast<double>(node.attr_float("beta", 0.75f)),
                   static_cast<double>(node.attr_float("bias", 1))};
  if (r.size < 1) return bad_model("size is " + std::to_string(r.size) + ", expected at least 1");
  ONNXTOOL_ASSIGN(const WideOutput y, WideOutput::make(ctx, 0, x.dtype, x.dims));
  if (y.count() == 0) return {};
  return dispatch_float(x.dtype, [&]<class T>() -> Status {
    ONNXTOOL_ASSIGN(const T* data, float_input<T>(ctx, 0, x.dtype, "input"));
    const int64_t channels = x.dims[1], pixels = product(x.dims, 2, x.dims.size());
    for_each_cell(ctx, x.dims[0] * channels, pixels,
                  NormalizeChannels<T>{data, y.data<T>(), channels, pixels, r});
    y.finish(ctx);
    return {};
  });
}

}  // namespace

constinit const KernelInfo kLrn{.op = "LRN", .types = kFloatDataTypes, .run = run};

}  // namespace onnxtool
