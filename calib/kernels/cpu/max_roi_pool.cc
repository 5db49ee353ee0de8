// MaxRoiPool-1, 22: regions (sample, x1, y1, x2, y2), scaled and rounded to whole elements, are cut
// into pooled_shape bins; y is the maximum of a bin, 0 of one without elements.

#include <cmath>

#include "calib/kernels/cpu/convert.h"
#include "calib/kernels/cpu/float_io.h"

namespace onnxtool {
namespace {

struct Extent {
  int64_t begin, end;
};

// Bins of a region [begin, end] of one axis, cut to [0, extent).
template <class T>
std::vector<Extent> bins_of(T begin, T end, int64_t count, int64_t extent) {
  const T start = std::round(begin), length = std::max(std::round(end) - start + 1, T{1});
  const T size = length / static_cast<T>(count);
  std::vector<Extent> bins;
  const auto cut = [&](T at) {
    return static_cast<int64_t>(std::clamp(at, T{0}, static_cast<T>(extent)));
  };
  for (int64_t i = 0; i < count; ++i)
    bins.push_back({cut(start + std::floor(static_cast<T>(i) * size)),
                    cut(start + std::ceil(static_cast<T>(i + 1) * size))});
  return bins;
}

template <class T>
void pool_region(const T* image, std::span<const int64_t> x, std::span<const int64_t> pooled,
                 T scale, const T* roi, T* y) {
  const auto columns = bins_of(roi[1] * scale, roi[3] * scale, pooled[1], x[3]);
  const auto rows = bins_of(roi[2] * scale, roi[4] * scale, pooled[0], x[2]);
  for (int64_t c = 0; c < x[1]; ++c, image += x[2] * x[3])
    for (const Extent& row : rows)
      for (const Extent& column : columns) {
        const bool empty = row.begin >= row.end || column.begin >= column.end;
        T best = empty ? T{0} : image[row.begin * x[3] + column.begin];
        for (int64_t i = row.begin; i < row.end; ++i)
          for (int64_t j = column.begin; j < column.end; ++j)
            best = std::max(best, image[i * x[3] + j]);
        *y++ = best;
      }
}

Status run(KernelContext& ctx) {
  const std::span<const int64_t> x = ctx.input(0).dims, rois = ctx.input(1).dims,
                                 pooled = ctx.node().attr_ints("pooled_shape");
  const DataType type = ctx.input(0).dtype;
  if (x.size() != 4 || rois.size() != 2 || rois[1] != 5)
    return mismatch("input and rois have shapes " + format_dims(x) + " and " + format_dims(rois) +
                    ", expected [N, C, H, W] and [regions, 5]");
  if (pooled.size() != 2 || pooled[0] < 1 || pooled[1] < 1)
    return bad_model("pooled_shape is " + format_dims(pooled) + ", expected two extents");
  ONNXTOOL_ASSIGN(const WideOutput y,
                  WideOutput::make(ctx, 0, type, Dims{rois[0], x[1], pooled[0], pooled[1]}));
  if (y.count() == 0) return {};
  return dispatch_float(type, [&]<class T>() -> Status {
    ONNXTOOL_ASSIGN(const T* images, float_input<T>(ctx, 0, type, "input"));
    ONNXTOOL_ASSIGN(const T* regions, float_input<T>(ctx, 1, type, "rois"));
    const T scale = static_cast<T>(ctx.node().attr_float("spatial_scale", 1));
    for (int64_t i = 0; i < rois[0] * 5; ++i) {
      const T v = regions[i];
      if (!(i % 5 == 0 ? v >= 0 && v < static_cast<T>(x[0]) : std::abs(v * scale) < T{1e9}))
        return mismatch("region " + std::to_string(i / 5) + " has " + std::to_string(v) +
                        " where a sample or coordinate of the input belongs");
    }
    const int64_t per_sample = x[1] * x[2] * x[3], per_region = y.count() / rois[0];
    ctx.parallel(rois[0], grain_of(4 * per_region), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        pool_region(images + static_cast<int64_t>(regions[i * 5]) * per_sample, x, pooled, scale,
                    regions + i * 5, y.data<T>() + i * per_region);
    });
    y.finish(ctx);
    return {};
  });
}

}  // namespace

constinit const KernelInfo kMaxRoiPool{
    .op = "MaxRoiPool", .types = kFloatDataTypes, .prepare = needs_inputs<2>, .run = run};

}  // namespace onnxtool
