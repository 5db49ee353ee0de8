// Conv on a device. Shapes as cpu/conv_common.h resolves them.
//
// Windows of one element without padding multiply the image as it lies; others first copy what each
// output position sees to a column (im2col), for as many images at a time as kMostColumnBytes
// holds. Groups of few channels are summed directly, one thread an output: the product would be
// too small. All sums are float (double for double), rounded once with the bias.

#include "calib/kernels/cpu/conv_common.h"
#include "calib/kernels/cuda/product.h"
#include "calib/kernels/cuda/window.h"

namespace onnxtool {
namespace {

using device::DeviceWindow;

// Large enough for products that fill a device; small against its memory.
constexpr int64_t kMostColumnBytes = int64_t{256} << 20;

struct ConvState final : KernelState {
  WindowAttributes attributes;
  int64_t group = 1;
};
Result<std::unique_ptr<KernelState>> prepare(const NodeView& node) {
  ONNXTOOL_TRY(require_inputs(node, {0, 1}));
  auto state = std::make_unique<ConvState>();
  ONNXTOOL_ASSIGN(state->attributes, window_attributes(node));
  state->group = node.attr_int("group", 1);
  return {std::move(state)};
}

template <class T>
struct DirectConv {
  DeviceWindow w;
  DataType type;
  const void *x, *weights, *bias;  // bias may be nullptr
  void* y;
  int64_t channels, out_channels, group_channels, group_outputs;
  ONNXTOOL_HD void operator()(int64_t e) const {
    const int64_t p = e % w.out_size(), m = e / w.out_size() % out_channels,
                  n = e / w.out_size() / out_channels;
    const int64_t first = n * channels + m / group_outputs * group_channels, taps = w.taps();
    T sum = 0;
    for (int64_t c = 0; c < group_channels; ++c)
      for (int64_t t = 0; t < taps; ++t)
        if (const int64_t i = w.at(p, t); i >= 0)
          sum += device::load<T>(type, x, (first + c) * w.in_size() + i) *
                 device::load<T>(type, weights, (m * group_channels + c) * taps + t);
    device::store<T>(type, y, e, bias ? sum + device::load<T>(type, bias, m) : sum);
  }
};

// columns [image, channel, tap, position] of one group.
template <class E>
struct CopyColumns {
  DeviceWindow w;
  const E* x;  // the group's first channel of the first image
  E* columns;
  int64_t channels, group_channels;
  ONNXTOOL_HD void operator()(int64_t i) const {
    const int64_t p = i % w.out_size(), row = i / w.out_size();
    const int64_t t = row % w.taps(), c = row / w.taps() % group_channels,
                  image = row / w.taps() / group_channels;
    const int64_t at = w.at(p, t);
    columns[i] = at < 0 ? E{0} : x[(image * channels + c) * w.in_size() + at];
  }
};

template <class T>
struct RoundWithBias {
  DataType from, type;
  const void *sums, *bias;
  void* y;
  int64_t channels, pixels;
  ONNXTOOL_HD void operator()(int64_t i) const {
    T value = device::load<T>(from, sums, i);
    if (bias) value += device::load<T>(type, bias, i / pixels % channels);
    device::store<T>(type, y, i, value);
  }
};

template <class E>
void copy_columns(const ConvShape& s, const void* x, void* columns, int64_t images) {
  device::for_each_index(images * s.depth() * s.pixels(),
                         CopyColumns<E>{DeviceWindow(s.window), static_cast<const E*>(x),
                                        static_cast<E*>(columns), s.channels, s.group_channels()});
}

const std::byte* element(const void* data, DataType type, int64_t i) {
  return static_cast<const std::byte*>(data) + i * static_cast<int64_t>(size_bytes_of(type, 1));
}

// Sums of type `result` to `sums` [N, M, pixels].
Status multiply(KernelContext& ctx, const ConvShape& s, DataType type, DataType result,
                void* sums) {
  const ConstView &x = ctx.input(0), &w = ctx.input(1);
  const int64_t size = static_cast<int64_t>(size_bytes_of(type, 1));
  const int64_t column_count = s.depth() * s.pixels(), image = s.channels * volume(s.window.in);
  const int64_t images = s.pointwise() ? s.batch
                                       : std::clamp<int64_t>(kMostColumnBytes /
                                                                 std::max<int64_t>(
                                                                     column_count * size, 1),
                                                             1, std::max<int64_t>(s.batch, 1));
  void* columns = nullptr;
  if (!s.pointwise()) {
    ONNXTOOL_ASSIGN(columns, ctx.scratch(static_cast<size_t>(images * column_count * size)));
  }
  device::Product p;
  p.type = type;
  p.result = result;
  p.m = s.group_outputs(), p.n = s.pixels(), p.k = s.depth();
  p.b_step = s.pointwise() ? image : column_count;
  p.c_step = s.out_channels * s.pixels();
  for (int64_t first = 0; first < s.batch; first += images)
    for (int64_t g = 0; g < s.group; ++g) {
      p.count = std::min(images, s.batch - first);
      const void* from =
          element(x.data, type, first * image + g * s.group_channels() * volume(s.window.in));
      if (!s.pointwise()) {
        switch (size) {
          case 2: copy_columns<uint16_t>(s, from, columns, p.count); break;
          case 4: copy_columns<uint32_t>(s, from, columns, p.count); break;
          default: copy_columns<uint64_t>(s, from, columns, p.count); break;
        }
        from = columns;
      }
      p.a = element(w.data, type, g * s.group_outputs() * s.depth());
      p.b = from;
      p.c = const_cast<std::byte*>(element(
          sums, result, first * p.c_step + g * s.group_outputs() * s.pixels()));
      ONNXTOOL_TRY(device::multiply(ctx, p));
    }
  return {};
}

template <class T>
Status compute(KernelContext& ctx, const ConvShape& s, const MutableView& y) {
  const ConstView& x = ctx.input(0);
  const void* bias = ctx.has_input(2) ? ctx.input(2).data : nullptr;
  constexpr int64_t kFewTerms = 64;
  if (s.group > 1 && s.depth() <= kFewTerms) {
    device::for_each_index(
        y.count, DirectConv<T>{DeviceWindow(s.window), x.dtype, x.data, ctx.input(1).data, bias,
                               y.data, s.channels, s.out_channels, s.group_channels(),
                               s.group_outputs()});
    return {};
  }
  const bool wide = x.dtype == dtype_of<T>;
  void* sums = y.data;
  if (!wide) {
    ONNXTOOL_ASSIGN(sums, ctx.scratch(static_cast<size_t>(y.count) * sizeof(T)));
  }
  ONNXTOOL_TRY(multiply(ctx, s, x.dtype, dtype_of<T>, sums));
  if (wide && !bias) return {};
  device::for_each_index(y.count, RoundWithBias<T>{dtype_of<T>, x.dtype, sums, bias, y.data,
                                                   s.out_channels, s.pixels()});
  return {};
}

Status run(KernelContext& ctx) {
  const auto& state = static_cast<const ConvState&>(*ctx.state());
  const ConstView &x = ctx.input(0), &w = ctx.input(1);
  for (int i = 1; i < 3; ++i)
    if (ctx.has_input(i) && ctx.input(i).dtype != x.dtype)
      return mismatch("input " + std::to_string(i) + " has element type " +
                      std::string(name(ctx.input(i).dtype)) + ", expected " +
                      std::string(name(x.dtype)));
  ONNXTOOL_ASSIGN(const ConvShape s, resolve_conv(state.attributes, state.group, x.dims, w.dims));
  if (ctx.has_input(2)) ONNXTOOL_TRY(check_vector(ctx.input(2), "bias", s.out_channels));
  ONNXTOOL_ASSIGN(const MutableView y,
                  ctx.output(0, x.dtype, s.window.output_dims(s.batch, s.out_channels)));
  if (y.count == 0) return {};
  return dispatch(wide_type(x.dtype), TypeList<float, double>{}, "the input",
                  [&]<class T>() { return compute<T>(ctx, s, y); });
}

}  // namespace

constinit const KernelInfo kConv{.op = "Conv",
                                 .types = {DataType::kFloat, DataType::kDouble, DataType::kFloat16,
                                           DataType::kBfloat16},
                                 .prepare = prepare,
                                 .run = run};

}  // namespace onnxtool
