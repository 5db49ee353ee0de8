// GridSample-16, 20, 22: y[n, c, point] is x[n, c] at the coordinates grid[n, point], which span
// [-1, 1] over each spatial axis and name the last axis first. One to three spatial axes.
//
// Each axis of a point becomes up to four taps (an index and a weight); their products are shared
// by all channels. NaN and far coordinates count as far outside. Coordinates and sums are float, or
// double where x is.

#include <cmath>

#include "calib/kernels/cpu/convert.h"
#include "calib/kernels/cpu/float_io.h"

namespace onnxtool {
namespace {

enum class Mode : uint8_t { kNearest, kLinear, kCubic };
enum class Padding : uint8_t { kZeros, kBorder, kReflection };

constexpr int64_t kMaxAxes = 3;
constexpr double kFar = 1e9;  // in elements; leaves room for taps in int64

struct GridState final : KernelState {
  Mode mode;
  Padding padding;
  bool align_corners;
};

Result<std::unique_ptr<KernelState>> prepare(const NodeView& node) {
  ONNXTOOL_TRY(require_inputs(node, {0, 1}));
  auto state = std::make_unique<GridState>();
  const std::string_view mode = node.attr_string("mode", "linear");
  if (mode == "nearest")
    state->mode = Mode::kNearest;
  else if (mode == "linear" || mode == "bilinear")
    state->mode = Mode::kLinear;
  else if (mode == "cubic" || mode == "bicubic")
    state->mode = Mode::kCubic;
  else
    return bad_model("mode is '" + std::string(mode) + "', expected nearest, linear or cubic");
  const std::string_view padding = node.attr_string("padding_mode", "zeros");
  if (padding == "zeros")
    state->padding = Padding::kZeros;
  else if (padding == "border")
    state->padding = Padding::kBorder;
  else if (padding == "reflection")
    state->padding = Padding::kReflection;
  else
    return bad_model("padding_mode is '" + std::string(padding) +
                     "', expected zeros, border or reflection");
  state->align_corners = node.attr_int("align_corners", 0) != 0;
  return {std::move(state)};
}

// Mirrors x into [low, high].
template <class T>
T reflect(T x, T low, T high) {
  const T range = high - low;
  if (!(range > 0)) return low;
  if (x >= low && x <= high) return x;
  const T distance = x < low ? low - x : x - high;
  const T turns = std::floor(distance / range), rest = distance - turns * range;
  const bool from_low = (std::fmod(turns, T{2}) == 0) == (x < low);
  return from_low ? low + rest : high - rest;
}

// One axis of one point: index[t] is -1 where the tap adds nothing.
template <class T>
struct Taps {
  int count = 0;
  int64_t index[4];
  T weight[4];
};

template <class T>
class Axis {
 public:
  Axis(const GridState& s, int64_t extent)
      : s_(s),
        extent_(extent),
        low_(s.align_corners ? T{0} : T{-0.5}),
        high_(static_cast<T>(extent) - (s.align_corners ? T{1} : T{0.5})) {}

  Taps<T> taps(T normalized) const {
    const T length = static_cast<T>(extent_);
    T x = s_.align_corners ? (normalized + 1) / 2 * (length - 1)
                           : ((normalized + 1) * length - 1) / 2;
    if (!(x > -static_cast<T>(kFar))) x = -static_cast<T>(kFar);
    x = std::min(x, static_cast<T>(kFar));
    if (s_.mode == Mode::kNearest) x = std::nearbyint(x);
    if (x < low_ || x > high_) {
      // Cubic taps beyond the border are clamped one by one instead, as PyTorch and ONNX Runtime
      // do.
      if (s_.padding == Padding::kBorder && s_.mode != Mode::kCubic)
        x = std::clamp(x, T{0}, length - 1);
      if (s_.padding == Padding::kReflection) x = reflect(x, low_, high_);
    }
    return taps_around(x);
  }

 private:
  Taps<T> taps_around(T x) const {
    Taps<T> taps;
    const T floor = std::floor(x), f = x - floor;
    const auto at = static_cast<int64_t>(floor);
    if (s_.mode == Mode::kNearest) {
      add(taps, static_cast<int64_t>(x), 1);
    } else if (s_.mode == Mode::kLinear) {
      add(taps, at, 1 - f);
      add(taps, at + 1, f);
    } else {
      const T outer = f + 1, rest = 1 - f, far = 2 - f, a = T{-0.75};
      add(taps, at - 1, ((a * outer - 5 * a) * outer + 8 * a) * outer - 4 * a);
      add(taps, at, ((a + 2) * f - (a + 3)) * f * f + 1);
      add(taps, at + 1, ((a + 2) * rest - (a + 3)) * rest * rest + 1);
      add(taps, at + 2, ((a * far - 5 * a) * far + 8 * a) * far - 4 * a);
    }
    return taps;
  }
  void add(Taps<T>& taps, int64_t i, T weight) const {
    if (s_.padding == Padding::kBorder)
      i = std::clamp<int64_t>(i, 0, extent_ - 1);
    else if (s_.padding == Padding::kReflection)
      i = std::clamp<int64_t>(static_cast<int64_t>(reflect(static_cast<T>(i), low_, high_)), 0,
                              extent_ - 1);
    taps.index[taps.count] = i >= 0 && i < extent_ ? i : -1;
    taps.weight[taps.count++] = weight;
  }

  const GridState& s_;
  int64_t extent_;
  T low_, high_;
};

struct GridShape {
  int64_t channels, volume, points;  // per sample
  std::span<const int64_t> spatial;
};

// The taps of all axes together.
template <class T>
struct PointTaps {
  int count = 0;
  int64_t offset[64];
  T weight[64];
};

template <class T>
void point_taps(std::span<const Axis<T>> axes, const GridShape& shape, const T* point,
                PointTaps<T>& result) {
  // Only what is used is copied: the buffers are far larger than most points need.
  PointTaps<T> other, *all = &result, *next = &other;
  all->count = 1;
  all->offset[0] = 0;
  all->weight[0] = 1;
  for (size_t axis = 0; axis < axes.size(); ++axis, std::swap(all, next)) {
    const Taps<T> taps = axes[axis].taps(point[axes.size() - 1 - axis]);
    next->count = 0;
    for (int i = 0; i < all->count; ++i)
      for (int t = 0; t < taps.count; ++t) {
        if (taps.index[t] < 0) continue;
        next->offset[next->count] = all->offset[i] * shape.spatial[axis] + taps.index[t];
        next->weight[next->count++] = all->weight[i] * taps.weight[t];
      }
  }
  if (all == &result) return;
  result.count = other.count;
  std::copy_n(other.offset, other.count, result.offset);
  std::copy_n(other.weight, other.count, result.weight);
}

// Points whose taps are kept while all channels are visited: a channel's plane stays in cache.
constexpr int64_t kPoints = 64;

template <class T>
void sample(KernelContext& ctx, const GridState& state, const GridShape& shape, int64_t batches,
            const T* x, const T* grid, T* y) {
  std::vector<Axis<T>> axes;
  for (const int64_t extent : shape.spatial) axes.emplace_back(state, extent);
  const auto rank = static_cast<int64_t>(axes.size());
  const int64_t blocks = (shape.points + kPoints - 1) / kPoints;
  ctx.parallel(
      batches * blocks, grain_of(8 * kPoints * shape.channels), [&](int64_t begin, int64_t end) {
        std::vector<PointTaps<T>> taps(static_cast<size_t>(kPoints));
        for (int64_t block = begin; block < end; ++block) {
          const int64_t n = block / blocks, first = block % blocks * kPoints;
          const int64_t count = std::min(kPoints, shape.points - first);
          for (int64_t i = 0; i < count; ++i)
            point_taps<T>(axes, shape, grid + (n * shape.points + first + i) * rank,
                          taps[static_cast<size_t>(i)]);
          const T* from = x + n * shape.channels * shape.volume;
          T* to = y + n * shape.channels * shape.points + first;
          for (int64_t c = 0; c < shape.channels; ++c, from += shape.volume, to += shape.points)
            for (int64_t i = 0; i < count; ++i) {
              const PointTaps<T>& point = taps[static_cast<size_t>(i)];
              T sum = 0;
              for (int t = 0; t < point.count; ++t) sum += point.weight[t] * from[point.offset[t]];
              to[i] = sum;
            }
        }
      });
}

Status run(KernelContext& ctx) {
  const auto& state = static_cast<const GridState&>(*ctx.state());
  const std::span<const int64_t> x = ctx.input(0).dims, grid = ctx.input(1).dims;
  const DataType type = ctx.input(0).dtype;
  const auto axes = static_cast<int64_t>(x.size()) - 2;
  if (axes < 1 || axes > kMaxAxes)
    return mismatch("input has shape " + format_dims(x) +
                    ", expected [N, C, ...] with one to three spatial axes");
  if (grid.size() != x.size() || grid[0] != x[0] || grid.back() != axes)
    return mismatch("grid has shape " + format_dims(grid) + ", expected [" + std::to_string(x[0]) +
                    ", ..., " + std::to_string(axes) + "] of rank " + std::to_string(x.size()));
  Dims dims{x[0], x[1]};
  dims.insert(dims.end(), grid.begin() + 1, grid.end() - 1);
  const GridShape shape{x[1], product(x, 2, x.size()), product(grid, 1, grid.size() - 1),
                        x.subspan(2)};
  ONNXTOOL_ASSIGN(const WideOutput y, WideOutput::make(ctx, 0, type, dims));
  if (y.count() == 0) return {};
  if (shape.volume == 0)
    return mismatch("input has shape " + format_dims(x) + ", without elements");
  return dispatch_float(type, [&]<class T>() -> Status {
    ONNXTOOL_ASSIGN(const T* data, float_input<T>(ctx, 0, type, "input"));
    ONNXTOOL_ASSIGN(const ConstView points, converted(ctx, ctx.input(1), dtype_of<T>));
    sample<T>(ctx, state, shape, x[0], data, static_cast<const T*>(points.data), y.data<T>());
    y.finish(ctx);
    return {};
  });
}

}  // namespace

constinit const KernelInfo kGridSample{
    .op = "GridSample", .types = kFloatDataTypes, .prepare = prepare, .run = run};

}  // namespace onnxtool
