// RoiAlign-10, 16, 22: each region of interest is cut into output_height x output_width bins; a bin
// is the mean (or maximum) of samples on a regular grid inside it, interpolated between the four
// elements around them. Mode max takes the greatest of the four weighted elements, as the
// standard's reference does. One task owns a region.

#include <cmath>

#include "calib/kernels/cpu/convert.h"
#include "calib/kernels/cpu/float_io.h"
#include "calib/kernels/cpu/indices.h"

namespace onnxtool {
namespace {

// Samples along one axis of one region; more would be a region far larger than any image.
constexpr double kMaxSamples = 1 << 22;
// Samples of one region: those of an image of 8192 x 8192, one for each element.
constexpr size_t kMaxRegionSamples = size_t{1} << 26;

struct RoiOptions {
  int64_t height, width, sampling_ratio;
  double scale;
  bool half_pixel, takes_max;
};

Result<RoiOptions> read_options(const NodeView& node) {
  RoiOptions o{node.attr_int("output_height", 1),
               node.attr_int("output_width", 1),
               node.attr_int("sampling_ratio", 0),
               node.attr_float("spatial_scale", 1),
               false,
               false};
  if (o.height < 1 || o.width < 1 || o.sampling_ratio < 0)
    return bad_model("output_height, output_width and sampling_ratio are " +
                     std::to_string(o.height) + ", " + std::to_string(o.width) + " and " +
                     std::to_string(o.sampling_ratio) + ", expected positive extents");
  const std::string_view mode = node.attr_string("mode", "avg");
  if (mode != "avg" && mode != "max")
    return bad_model("mode is '" + std::string(mode) + "', expected avg or max");
  o.takes_max = mode == "max";
  const std::string_view coordinates = node.attr_string(
      "coordinate_transformation_mode", node.opset() < 16 ? "output_half_pixel" : "half_pixel");
  if (coordinates != "half_pixel" && coordinates != "output_half_pixel")
    return bad_model("coordinate_transformation_mode is '" + std::string(coordinates) +
                     "', expected half_pixel or output_half_pixel");
  o.half_pixel = coordinates == "half_pixel";
  return o;
}

// One sample along one axis: two neighbours and the share of the second. Outside of the image: no
// share at all.
template <class T>
struct AxisSample {
  int64_t low = 0, high = 0;
  T low_share = 0, high_share = 0;
};

template <class T>
struct RoiAxis {
  int64_t per_bin = 0;
  std::vector<AxisSample<T>> samples;  // [bins, per_bin]
};

template <class T>
Result<RoiAxis<T>> roi_axis(T begin, T end, int64_t bins, int64_t extent, const RoiOptions& o) {
  const T scale = static_cast<T>(o.scale), shift = o.half_pixel ? T{0.5} : T{0};
  const T start = begin * scale - shift;
  T length = end * scale - shift - start;
  if (!o.half_pixel) length = std::max(length, T{1});  // malformed regions become 1 x 1
  const T bin = length / static_cast<T>(bins);
  RoiAxis<T> axis;
  const double wanted = o.sampling_ratio > 0 ? static_cast<double>(o.sampling_ratio)
                                             : std::ceil(static_cast<double>(bin));
  if (!(std::abs(static_cast<double>(start)) < 1e9) ||
      !(wanted * static_cast<double>(bins) <= kMaxSamples))
    return mismatch("a region from " + std::to_string(begin) + " to " + std::to_string(end) +
                    " needs too many samples");
  axis.per_bin = std::max<int64_t>(static_cast<int64_t>(wanted), 0);
  axis.samples.resize(static_cast<size_t>(bins * axis.per_bin));
  const T limit = static_cast<T>(extent);
  for (int64_t b = 0, i = 0; b < bins; ++b)
    for (int64_t s = 0; s < axis.per_bin; ++s, ++i) {
      T at = start + static_cast<T>(b) * bin +
             (static_cast<T>(s) + T{0.5}) * bin / static_cast<T>(axis.per_bin);
      if (!(at >= -1 && at <= limit)) continue;
      at = std::max(at, T{0});
      AxisSample<T>& sample = axis.samples[static_cast<size_t>(i)];
      sample.low = std::min(static_cast<int64_t>(at), extent - 1);
      sample.high = std::min(sample.low + 1, extent - 1);
      sample.high_share = sample.high == sample.low ? T{0} : at - static_cast<T>(sample.low);
      sample.low_share = 1 - sample.high_share;
    }
  return axis;
}

template <class T>
T pool_bin(const T* plane, int64_t width, std::span<const AxisSample<T>> ys,
           std::span<const AxisSample<T>> xs, bool takes_max) {
  T sum = 0, best = 0;
  bool first = true;
  for (const AxisSample<T>& y : ys)
    for (const AxisSample<T>& x : xs) {
      const T* low = plane + y.low * width;
      const T* high = plane + y.high * width;
      const T a = y.low_share * x.low_share * low[x.low],
              b = y.low_share * x.high_share * low[x.high],
              c = y.high_share * x.low_share * high[x.low],
              d = y.high_share * x.high_share * high[x.high];
      sum += a + b + c + d;
      const T most = std::max(std::max(a, b), std::max(c, d));
      best = first ? most : std::max(best, most);
      first = false;
    }
  if (takes_max) return best;
  const auto count = static_cast<int64_t>(ys.size() * xs.size());
  return sum / static_cast<T>(std::max<int64_t>(count, 1));
}

template <class T>
Status align_region(const RoiOptions& o, std::span<const int64_t> x_dims, const T* image,
                    const T* roi, T* y) {
  const int64_t height = x_dims[2], width = x_dims[3];
  ONNXTOOL_ASSIGN(const RoiAxis<T> xs, roi_axis(roi[0], roi[2], o.width, width, o));
  ONNXTOOL_ASSIGN(const RoiAxis<T> ys, roi_axis(roi[1], roi[3], o.height, height, o));
  if (xs.samples.size() * ys.samples.size() > kMaxRegionSamples)
    return kernel_error(ErrorCode::kLimit, "a region needs " + std::to_string(ys.samples.size()) +
                                               " x " + std::to_string(xs.samples.size()) +
                                               " samples, more than RoiAlign's " +
                                               std::to_string(kMaxRegionSamples));
  const auto part = [](const RoiAxis<T>& axis, int64_t bin) {
    return std::span<const AxisSample<T>>(axis.samples)
        .subspan(static_cast<size_t>(bin * axis.per_bin), static_cast<size_t>(axis.per_bin));
  };
  for (int64_t c = 0; c < x_dims[1]; ++c, image += height * width)
    for (int64_t h = 0; h < o.height; ++h)
      for (int64_t w = 0; w < o.width; ++w)
        *y++ = pool_bin(image, width, part(ys, h), part(xs, w), o.takes_max);
  return {};
}

Status run(KernelContext& ctx) {
  const std::span<const int64_t> x = ctx.input(0).dims, rois = ctx.input(1).dims;
  const DataType type = ctx.input(0).dtype;
  ONNXTOOL_ASSIGN(const RoiOptions options, read_options(ctx.node()));
  if (x.size() != 4 || rois.size() != 2 || rois[1] != 4 || ctx.input(2).rank() != 1 ||
      ctx.input(2).count != rois[0])
    return mismatch("input, rois and batch_indices have shapes " + format_dims(x) + ", " +
                    format_dims(rois) + " and " + format_dims(ctx.input(2).dims) +
                    ", expected [N, C, H, W], [regions, 4] and [regions]");
  ONNXTOOL_ASSIGN(const auto batches, checked_indices(ctx, ctx.input(2), x.subspan(0, 1)));
  const Dims dims{rois[0], x[1], options.height, options.width};
  ONNXTOOL_ASSIGN(const WideOutput y, WideOutput::make(ctx, 0, type, dims));
  if (y.count() == 0) return {};
  if (ctx.input(0).count == 0)
    return mismatch("input has shape " + format_dims(x) + ", without elements");
  return dispatch_float(type, [&]<class T>() -> Status {
    ONNXTOOL_ASSIGN(const T* image, float_input<T>(ctx, 0, type, "input"));
    ONNXTOOL_ASSIGN(const T* regions, float_input<T>(ctx, 1, type, "rois"));
    const int64_t per_sample = x[1] * x[2] * x[3], per_region = y.count() / rois[0];
    std::vector<Status> results(static_cast<size_t>(rois[0]));
    ctx.parallel(rois[0], grain_of(16 * per_region), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const auto r = static_cast<size_t>(i);
        results[r] = align_region<T>(options, x, image + batches[r] * per_sample, regions + i * 4,
                                     y.data<T>() + i * per_region);
      }
    });
    for (Status& result : results) ONNXTOOL_TRY(std::move(result));
    y.finish(ctx);
    return {};
  });
}

}  // namespace

constinit const KernelInfo kRoiAlign{
    .op = "RoiAlign", .types = kFloatDataTypes, .prepare = needs_inputs<3>, .run = run};

}  // namespace onnxtool
