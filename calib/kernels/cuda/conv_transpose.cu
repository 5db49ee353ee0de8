// ConvTranspose on a device; attributes and shapes are cpu/conv_transpose_shape.h's.
//
// A product gives for each output channel what each input pixel adds at each tap; one thread an
// output element then adds up, tap by tap, what belongs there. All sums are float (double for
// double), rounded once.

#include "calib/kernels/cpu/conv_transpose_shape.h"
#include "calib/kernels/cuda/post_ops.h"
#include "calib/kernels/cuda/product.h"
#include "calib/kernels/cuda/window.h"

namespace onnxtool {
namespace {

using device::Divider;
using device::PostOps;
using device::Precision;

constexpr int64_t kMostColumnBytes = int64_t{256} << 20;

struct TransposeState final : KernelState {
  TransposeAttributes attributes;
  Precision precision = Precision::kFloat32;
};
template <Precision precision>
Result<std::unique_ptr<KernelState>> prepare(const NodeView& node) {
  ONNXTOOL_TRY(require_inputs(node, {0, 1}));
  auto state = std::make_unique<TransposeState>();
  ONNXTOOL_ASSIGN(state->attributes, transpose_attributes(node));
  state->precision = precision;
  return {std::move(state)};
}

// y [image, channel, position] of sums [image, group, channel of it, tap, input position].
template <class T>
struct GatherTaps {
  DataType type;
  const T* sums;
  const void* bias;
  void* y;
  Divider out[3], stride[3], out_channels;
  int64_t in[3], kernel[3], dilation[3], pad[3];
  int64_t in_size;
  PostOps post;
  int64_t first;  // element of the whole output

  // The input position along an axis that adds to output position `o` at tap `k`; -1: none.
  ONNXTOOL_HD int64_t from(int a, int64_t o, int64_t k) const {
    const int64_t at = o + pad[a] - k * dilation[a];
    if (at < 0) return -1;
    const int64_t i = stride[a].quotient(at);
    return i * stride[a].by() == at && i < in[a] ? i : -1;
  }
  ONNXTOOL_HD void operator()(int64_t e) const {
    int64_t plane = e;
    const int64_t column = out[2].split(plane), row = out[1].split(plane),
                  slice = out[0].split(plane);
    const T* tap = sums + plane * kernel[0] * kernel[1] * kernel[2] * in_size;
    T sum = 0;
    for (int64_t kd = 0; kd < kernel[0]; ++kd) {
      const int64_t d = from(0, slice, kd);
      for (int64_t kh = 0; kh < kernel[1]; ++kh) {
        const int64_t h = from(1, row, kh);
        for (int64_t kw = 0; kw < kernel[2]; ++kw, tap += in_size) {
          const int64_t w = from(2, column, kw);
          if (d >= 0 && h >= 0 && w >= 0) sum += tap[(d * in[1] + h) * in[2] + w];
        }
      }
    }
    if (bias) sum += device::load<T>(type, bias, out_channels.remainder(plane));
    device::store<T>(type, y, first + e, post.apply<T>(sum, first + e));
  }
};

template <class T>
Status compute(KernelContext& ctx, const TransposeState& state, const ConvShape& s,
               const MutableView& y) {
  const DataType operand = device::operand_type(ctx.input(0).dtype, state.precision);
  ONNXTOOL_ASSIGN(const ConstView x, converted(ctx, ctx.input(0), operand));
  ONNXTOOL_ASSIGN(const ConstView weights, converted(ctx, ctx.input(1), operand));
  const Window& w = s.window;
  const int64_t taps = volume(w.kernel), in_size = volume(w.in), outputs = s.group_outputs(),
                depth = s.group_channels(), rows = outputs * taps,
                image_sums = s.group * rows * in_size,
                image_outputs = s.out_channels * volume(w.out);
  const auto bytes = checked_mul(image_sums, int64_t{sizeof(T)});
  if (!bytes) return kernel_error(ErrorCode::kLimit, "the sums of one image are too many");
  const int64_t most = std::clamp<int64_t>(kMostColumnBytes / std::max<int64_t>(*bytes, 1), 1,
                                           std::max<int64_t>(s.batch, 1));
  ONNXTOOL_ASSIGN(void* sums, ctx.scratch(static_cast<size_t>(most * *bytes)));
  ONNXTOOL_ASSIGN(const PostOps post, device::post_ops_of(ctx, ctx.node().post_ops(), 0, y.dims));
  GatherTaps<T> gather{.type = y.dtype,
                       .sums = static_cast<const T*>(sums),
                       .bias = ctx.has_input(2) ? ctx.input(2).data : nullptr,
                       .y = y.data,
                       .out_channels = Divider(s.out_channels),
                       .in_size = in_size,
                       .post = post};
  for (size_t a = 0; a < 3; ++a) {
    gather.out[a] = Divider(w.out[a]), gather.stride[a] = Divider(w.stride[a]);
    gather.in[a] = w.in[a], gather.kernel[a] = w.kernel[a];
    gather.dilation[a] = w.dilation[a], gather.pad[a] = w.pad_begin[a];
  }
  device::Product p;
  p.type = operand;
  p.result = dtype_of<T>;
  p.tf32 = state.precision == Precision::kTf32 && x.dtype == DataType::kFloat;
  p.transpose_a = true;
  p.m = rows, p.n = in_size, p.k = depth;
  p.b_step = s.channels * in_size;
  p.c_step = image_sums;
  const auto size = static_cast<int64_t>(size_bytes_of(operand, 1));
  for (int64_t first = 0; first < s.batch; first += most) {
    p.count = std::min(most, s.batch - first);
    for (int64_t g = 0; g < s.group; ++g) {
      p.a = static_cast<const std::byte*>(weights.data) + g * depth * rows * size;
      p.b =
          static_cast<const std::byte*>(x.data) + (first * s.channels + g * depth) * in_size * size;
      p.c = static_cast<T*>(sums) + g * rows * in_size;
      ONNXTOOL_TRY(device::multiply(ctx, p));
    }
    gather.first = first * image_outputs;
    device::for_each_index(p.count * image_outputs, gather);
  }
  return device::apply_post_ops(ctx, ctx.node().post_ops(), PostOps::kMost, y);
}

Status run(KernelContext& ctx) {
  const auto& state = static_cast<const TransposeState&>(*ctx.state());
  const ConstView &x = ctx.input(0), &w = ctx.input(1);
  for (int i = 1; i < 3; ++i)
    if (ctx.has_input(i) && ctx.input(i).dtype != x.dtype)
      return mismatch("input " + std::to_string(i) + " has element type " +
                      std::string(name(ctx.input(i).dtype)) + ", expected " +
                      std::string(name(x.dtype)));
  ONNXTOOL_ASSIGN(const ConvShape s, resolve_transpose(state.attributes, x.dims, w.dims));
  if (ctx.has_input(2)) ONNXTOOL_TRY(check_vector(ctx.input(2), "bias", s.out_channels));
  ONNXTOOL_ASSIGN(const MutableView y,
                  ctx.output(0, x.dtype, s.window.output_dims(s.batch, s.out_channels)));
  if (y.count == 0) return {};
  return dispatch(wide_type(x.dtype), TypeList<float, double>{}, "the input",
                  [&]<class T>() { return compute<T>(ctx, state, s, y); });
}

constexpr std::initializer_list<DataType> kAll = {DataType::kFloat, DataType::kDouble,
                                                  DataType::kFloat16, DataType::kBfloat16};
constexpr std::initializer_list<DataType> kFloatOnly = {DataType::kFloat};

template <Precision precision>
constexpr KernelInfo info() {
  return {.op = "ConvTranspose",
          .types = precision == Precision::kFloat32 ? kAll : kFloatOnly,
          .prepare = prepare<precision>,
          .run = run,
          .fuses = device::fuses_float};
}

}  // namespace

constinit const KernelInfo kConvTranspose = info<Precision::kFloat32>();
constinit const device::ReducedKernels kReducedConvTranspose{
    info<Precision::kTf32>(), info<Precision::kBf16>(), info<Precision::kFp16>()};

}  // namespace onnxtool
