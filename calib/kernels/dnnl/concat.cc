// Concat-4, 11, 13 along the channels, so that branches of channels-last tensors stay as they are.

#include <cstring>

#include "calib/kernels/dnnl/fusion.h"
#include "calib/kernels/dnnl/kernels.h"
#include "calib/kernels/dnnl/windows.h"

namespace onnxtool {
namespace {

bool accepts(const NodeView& node) {
  for (int i = 0; i < node.num_inputs(); ++i)
    if (!node.has_input(i) || node.input_dtype(i) != node.input_dtype(0)) return false;
  const int64_t axis = node.attr_int("axis", 0);
  const auto rank = static_cast<int64_t>(node.input_dims(0).size());
  return axis == 1 || (axis < 0 && rank > 1 && axis + rank == 1);
}

// y's channels from `at` on are x's, for each of `pixels` pixels.
template <class T>
void copy_lines(const T* x, int64_t x_channels, T* y, int64_t y_channels, int64_t at,
                int64_t pixels) {
  for (int64_t s = 0; s < pixels; ++s)
    std::memcpy(y + s * y_channels + at, x + s * x_channels,
                static_cast<size_t>(x_channels) * sizeof(T));
}

// T has the size of the elements.
template <class T>
Status concat(KernelContext& ctx) {
  const ConstView& first = ctx.input(0);
  std::vector<int64_t> dims(first.dims.begin(), first.dims.end());
  if (dims.size() < 2)
    return kernel_error(ErrorCode::kMismatch,
                        "input 0 has dims " + dims_text(dims) + ", expected at least two");
  dims[1] = 0;
  bool channels_last = false;
  const int inputs = ctx.node().num_inputs();
  for (int i = 0; i < inputs; ++i) {
    const ConstView& x = ctx.input(i);
    bool fits = x.dims.size() == dims.size();
    for (size_t a = 0; fits && a < dims.size(); ++a) fits = a == 1 || x.dims[a] == dims[a];
    if (x.dtype != first.dtype)
      return kernel_error(ErrorCode::kMismatch,
                          "input " + std::to_string(i) + " has another element type than input 0");
    if (!fits)
      return kernel_error(ErrorCode::kMismatch, "input " + std::to_string(i) + " has dims " +
                                                    dims_text(x.dims) + ", input 0 has " +
                                                    dims_text(first.dims));
    dims[1] += x.dims[1];
    channels_last |= x.layout == Layout::kChannelsLast;
  }
  channels_last &= !is_same_in_both_layouts(dims);
  ONNXTOOL_ASSIGN(
      const MutableView out,
      ctx.output(0, first.dtype, dims, channels_last ? Layout::kChannelsLast : Layout::kPlain));
  if (out.count == 0) return {};
  auto* y = static_cast<T*>(out.data);
  const int64_t images = dims[0], channels = dims[1], pixels = out.count / (images * channels);
  int64_t at = 0;
  for (int i = 0; i < inputs; ++i) {
    const int64_t own = ctx.input(i).dims[1];
    if (channels_last) {
      ONNXTOOL_ASSIGN(const T* x, channels_last_input<T>(ctx, i));
      ctx.parallel(images * pixels, std::max<int64_t>(16384 / std::max<int64_t>(own, 1), 1),
                   [=](int64_t begin, int64_t end) {
                     copy_lines(x + begin * own, own, y + begin * channels, channels, at,
                                end - begin);
                   });
    } else {
      // Images are lines of channel planes; a channels-last input here has one channel or one
      // pixel.
      const auto* x = static_cast<const T*>(ctx.input(i).data);
      ctx.parallel(images, std::max<int64_t>(16384 / std::max<int64_t>(own * pixels, 1), 1),
                   [=](int64_t begin, int64_t end) {
                     copy_lines(x + begin * own * pixels, own * pixels,
                                y + begin * channels * pixels, channels * pixels, at * pixels,
                                end - begin);
                   });
    }
    at += own;
  }
  return {};
}

Status run(KernelContext& ctx) {
  return ctx.input(0).dtype == DataType::kFloat ? concat<float>(ctx) : concat<uint16_t>(ctx);
}

}  // namespace

constinit const KernelInfo kConcat{
    .op = "Concat",
    .since = 4,
    .types = {DataType::kFloat, DataType::kFloat16},
    .run = run,
    .accepts = accepts,
    .takes_layout = [](int, Layout layout) { return layout == Layout::kChannelsLast; }};

}  // namespace onnxtool
