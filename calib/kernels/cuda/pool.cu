// Pooling on a device, by a library (dnn.h) where it can, else one thread an output: MaxPool,
// AveragePool, LpPool; GlobalAveragePool, GlobalMaxPool and GlobalLpPool reduce planes. Windows as
// cpu/window.h resolves them; sums run over the window in order, in float for AveragePool as on the
// host, else in double.

#include <cmath>
#include <limits>

#include "calib/kernels/cuda/dnn.h"
#include "calib/kernels/cuda/lines.h"
#include "calib/kernels/cuda/window.h"

namespace onnxtool {
namespace {

using device::DeviceWindow;
using device::Lines;

struct PoolState final : KernelState {
  WindowAttributes attributes;
};
Result<std::unique_ptr<KernelState>> prepare(const NodeView& node) {
  ONNXTOOL_TRY(require_inputs(node, {0}));
  auto state = std::make_unique<PoolState>();
  ONNXTOOL_ASSIGN(state->attributes, window_attributes(node));
  return {std::move(state)};
}
Result<Window> window_of(const KernelContext& ctx) {
  const auto& state = static_cast<const PoolState&>(*ctx.state());
  return resolve_window(state.attributes, ctx.input(0).dims, state.attributes.kernel);
}

// MaxPool without indices and AveragePool, of types that a library takes.
Result<bool> pool_by_library(KernelContext& ctx, device::DnnPool::Kind kind, const Window& w,
                             const MutableView& y) {
  const ConstView& x = ctx.input(0);
  const auto window = device::dnn_pool_window(w, kind == device::DnnPool::Kind::kAverageWithPads);
  if (!window || wide_type(x.dtype) != DataType::kFloat || device::library_refusal()) return false;
  return device::pool(ctx, {kind, *window, x.dtype, x.dims[0], x.dims[1], x.data, y.data});
}

// Padding never wins, NaN always does.
template <class T>
struct MaxElements {
  DeviceWindow w;
  DataType type;
  const void* x;
  void* y;
  int64_t* indices;  // may be nullptr
  bool column_major;
  T lowest;
  ONNXTOOL_HD void operator()(int64_t e) const {
    int64_t plane = e;
    const int64_t p = w.pixels.split(plane), size = w.in_size();
    T best = lowest;
    int64_t best_at = -1;
    for (int64_t t = 0; t < w.taps(); ++t) {
      const int64_t i = w.at(p, t);
      if (i < 0) continue;
      const T v = device::load<T>(type, x, plane * size + i);
      if (best_at >= 0 && !(v > best || (v != v && best == best))) continue;
      best = v;
      best_at = i;
    }
    device::store<T>(type, y, e, best);
    if (!indices) return;
    const int64_t i = best_at < 0 ? 0 : best_at;
    const int64_t d = i / (w.in[1] * w.in[2]), h = i / w.in[2] % w.in[1], c = i % w.in[2];
    indices[e] = plane * size + (column_major ? (c * w.in[1] + h) * w.in[0] + d : i);
  }
};

Status max_pool(KernelContext& ctx) {
  const ConstView& x = ctx.input(0);
  ONNXTOOL_ASSIGN(const Window w, window_of(ctx));
  const Dims dims = w.output_dims(x.dims[0], x.dims[1]);
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, x.dtype, dims));
  int64_t* indices = nullptr;
  if (ctx.wants_output(1)) {
    ONNXTOOL_ASSIGN(const MutableView view, ctx.output(1, DataType::kInt64, dims));
    indices = static_cast<int64_t*>(view.data);
  } else {
    ONNXTOOL_ASSIGN(const bool done, pool_by_library(ctx, device::DnnPool::Kind::kMax, w, y));
    if (done) return {};
  }
  const bool column_major = ctx.node().attr_int("storage_order", 0) != 0;
  return dispatch(wide_type(x.dtype), TypeList<float, double, int32_t>{}, "the input",
                  [&]<class T>() -> Status {
                    constexpr T kLowest = std::numeric_limits<T>::has_infinity
                                              ? -std::numeric_limits<T>::infinity()
                                              : std::numeric_limits<T>::lowest();
                    const T lowest = x.dtype == DataType::kInt8    ? static_cast<T>(-128)
                                     : x.dtype == DataType::kUint8 ? T{0}
                                                                   : kLowest;
                    device::for_each_index(
                        y.count, MaxElements<T>{DeviceWindow(w), x.dtype, x.data, y.data, indices,
                                                column_major, lowest});
                    return {};
                  });
}

template <class T>
struct AverageElements {
  DeviceWindow w;
  DataType type;
  const void* x;
  void* y;
  bool count_pads;
  ONNXTOOL_HD void operator()(int64_t e) const {
    int64_t plane = e;
    const int64_t p = w.pixels.split(plane);
    T sum = 0;
    for (int64_t t = 0; t < w.taps(); ++t)
      if (const int64_t i = w.at(p, t); i >= 0)
        sum += device::load<T>(type, x, plane * w.in_size() + i);
    device::store<T>(type, y, e, sum / static_cast<T>(w.count(p, count_pads)));
  }
};

ONNXTOOL_HD inline double power(double v, double p) {
  v = std::fabs(v);
  return p == 2 ? v * v : p == 1 ? v : std::pow(v, p);
}
ONNXTOOL_HD inline double root(double v, double p) {
  return p == 2 ? std::sqrt(v) : p == 1 ? v : std::pow(v, 1 / p);
}

template <class T>
struct NormElements {
  DeviceWindow w;
  DataType type;
  const void* x;
  void* y;
  double power_of;
  ONNXTOOL_HD void operator()(int64_t e) const {
    int64_t plane = e;
    const int64_t p = w.pixels.split(plane);
    double sum = 0;
    for (int64_t t = 0; t < w.taps(); ++t)
      if (const int64_t i = w.at(p, t); i >= 0)
        sum +=
            power(static_cast<double>(device::load<T>(type, x, plane * w.in_size() + i)), power_of);
    device::store<T>(type, y, e, static_cast<T>(root(sum, power_of)));
  }
};

double order_of(const NodeView& node) {
  return node.opset() < 2 ? static_cast<double>(node.attr_float("p", 2))
                          : static_cast<double>(node.attr_int("p", 2));
}

template <bool kNorm>
Status window_pool(KernelContext& ctx) {
  const ConstView& x = ctx.input(0);
  ONNXTOOL_ASSIGN(const Window w, window_of(ctx));
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, x.dtype, w.output_dims(x.dims[0], x.dims[1])));
  const bool count_pads = ctx.node().attr_int("count_include_pad", 0) != 0;
  if constexpr (!kNorm) {
    using Kind = device::DnnPool::Kind;
    ONNXTOOL_ASSIGN(
        const bool done,
        pool_by_library(ctx, count_pads ? Kind::kAverageWithPads : Kind::kAverage, w, y));
    if (done) return {};
  }
  return dispatch(
      wide_type(x.dtype), TypeList<float, double>{}, "the input", [&]<class T>() -> Status {
        if constexpr (kNorm)
          device::for_each_index(y.count, NormElements<T>{DeviceWindow(w), x.dtype, x.data, y.data,
                                                          order_of(ctx.node())});
        else
          device::for_each_index(
              y.count, AverageElements<T>{DeviceWindow(w), x.dtype, x.data, y.data, count_pads});
        return {};
      });
}

enum class Kind : uint8_t { kAverage, kMax, kNorm };

template <class T>
struct PlaneTerm {
  DataType type;
  const void* x;
  double power_of;  // 0: the value itself
  ONNXTOOL_HD double operator()(int64_t i, int64_t) const {
    const auto v = static_cast<double>(device::load<T>(type, x, i));
    return power_of == 0 ? v : power(v, power_of);
  }
};
template <class T>
struct PutPlane {
  DataType type;
  void* y;
  double divisor, power_of;
  ONNXTOOL_HD void operator()(int64_t line, double sum) const {
    const double v = power_of == 0 ? sum / divisor : root(sum, power_of);
    device::store<T>(type, y, line, static_cast<T>(v));
  }
};
template <class T>
struct MaxPlane {
  using Part = T;
  Lines lines;
  DataType type;
  const void* x;
  void* y;
  ONNXTOOL_HD int64_t length() const { return lines.n; }
  ONNXTOOL_HD Part start() const { return -std::numeric_limits<T>::infinity(); }
  ONNXTOOL_HD void add(Part& part, int64_t line, int64_t i) const {
    merge(part, device::load<T>(type, x, lines.start(line) + i));
  }
  ONNXTOOL_HD void merge(Part& a, const Part& b) const { a = b > a || b != b ? b : a; }
  ONNXTOOL_HD void finish(int64_t line, const Part& part) const {
    device::store<T>(type, y, line, part);
  }
};

template <Kind kKind>
Status global_pool(KernelContext& ctx) {
  const ConstView& x = ctx.input(0);
  if (x.rank() < 2)
    return bad_model("the input has shape " + format_dims(x.dims) +
                     ", expected [N, C, spatial...]");
  Dims dims = to_dims(x.dims);
  std::fill(dims.begin() + 2, dims.end(), 1);
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, x.dtype, dims));
  const Lines lines{product(x.dims, 2, x.dims.size()), 1};
  const double p = kKind == Kind::kNorm ? order_of(ctx.node()) : 0;
  return dispatch(
      wide_type(x.dtype), TypeList<float, double>{}, "the input", [&]<class T>() -> Status {
        if constexpr (kKind == Kind::kMax)
          device::reduce_lines(y.count, MaxPlane<T>{lines, x.dtype, x.data, y.data}, false);
        else
          device::sum_lines(y.count, lines, PlaneTerm<T>{x.dtype, x.data, p},
                            PutPlane<T>{x.dtype, y.data, static_cast<double>(lines.n), p});
        return {};
      });
}

constexpr std::initializer_list<DataType> kFloats = {DataType::kFloat, DataType::kDouble,
                                                     DataType::kFloat16, DataType::kBfloat16};

}  // namespace

constinit const KernelInfo kMaxPool{
    .op = "MaxPool",
    .types = {DataType::kFloat, DataType::kDouble, DataType::kFloat16, DataType::kBfloat16,
              DataType::kInt8, DataType::kUint8},
    .prepare = prepare,
    .run = max_pool};
constinit const KernelInfo kAveragePool{
    .op = "AveragePool", .types = kFloats, .prepare = prepare, .run = window_pool<false>};
constinit const KernelInfo kLpPool{
    .op = "LpPool", .types = kFloats, .prepare = prepare, .run = window_pool<true>};
constinit const KernelInfo kGlobalAveragePool{.op = "GlobalAveragePool",
                                              .types = kFloats,
                                              .prepare = needs_inputs<1>,
                                              .run = global_pool<Kind::kAverage>};
constinit const KernelInfo kGlobalMaxPool{.op = "GlobalMaxPool",
                                          .types = kFloats,
                                          .prepare = needs_inputs<1>,
                                          .run = global_pool<Kind::kMax>};
constinit const KernelInfo kGlobalLpPool{.op = "GlobalLpPool",
                                         .types = kFloats,
                                         .prepare = needs_inputs<1>,
                                         .run = global_pool<Kind::kNorm>};

}  // namespace onnxtool
