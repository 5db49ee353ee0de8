// Conv and com.microsoft.FusedConv on a device. Shapes as cpu/conv_common.h resolves them.
//
// A library (dnn.h) is asked first. Where it cannot: what each output position sees is copied to a
// column (im2col), for as many images at a time as kMostColumnBytes holds, and all their positions
// are multiplied at once; a last step moves sums to their images and adds the bias and what the
// plan fused. Large windows of one element without padding multiply the images as they lie. Groups
// of few channels are summed directly, one thread an output: the product would be too small. All
// sums are float (double for double), rounded once.

#include "calib/kernels/cpu/conv_common.h"
#include "calib/kernels/cpu/epilogue.h"
#include "calib/kernels/cuda/dnn.h"
#include "calib/kernels/cuda/post_ops.h"
#include "calib/kernels/cuda/product.h"
#include "calib/kernels/cuda/window.h"

namespace onnxtool {
namespace {

using device::DeviceWindow;
using device::Divider;
using device::PostOps;
using device::Precision;

// Large enough for products that fill a device; small against its memory.
constexpr int64_t kMostColumnBytes = int64_t{256} << 20;
// Images of so many positions make products of their own that are large enough, and save a copy.
constexpr int64_t kManyPixels = 256;

struct ConvState final : KernelState {
  WindowAttributes attributes;
  int64_t group = 1;
  Precision precision = Precision::kFloat32;
  std::vector<PostOp> own;  // FusedConv
};
template <Precision precision>
Result<std::unique_ptr<KernelState>> prepare(const NodeView& node) {
  ONNXTOOL_TRY(require_inputs(node, {0, 1}));
  auto state = std::make_unique<ConvState>();
  ONNXTOOL_ASSIGN(state->attributes, window_attributes(node));
  state->group = node.attr_int("group", 1);
  state->precision = precision;
  if (node.op_type() != "FusedConv") return {std::move(state)};
  if (node.has_input(3)) state->own.push_back({.kind = PostOp::Kind::kAdd, .input = 3});
  ONNXTOOL_ASSIGN(const std::vector<EpilogueOp> activation, fused_activation(node));
  const std::vector<PostOp> own = device::post_ops_from(activation);
  state->own.insert(state->own.end(), own.begin(), own.end());
  return {std::move(state)};
}

template <class T>
struct DirectConv {
  DeviceWindow w;
  DataType operand, type;
  const void *x, *weights, *bias;  // bias may be nullptr
  void* y;
  bool tf32;
  Divider pixels, out_channels, group_outputs;
  int64_t channels, group_channels;
  PostOps post;
  ONNXTOOL_HD void operator()(int64_t e) const {
    int64_t n = e;
    const int64_t p = pixels.split(n), m = out_channels.split(n);
    const int64_t first = n * channels + group_outputs.quotient(m) * group_channels,
                  taps = w.taps();
    T sum = 0;
    for (int64_t c = 0; c < group_channels; ++c)
      for (int64_t t = 0; t < taps; ++t)
        if (const int64_t i = w.at(p, t); i >= 0)
          sum += rounded(device::load<T>(operand, x, (first + c) * w.in_size() + i)) *
                 rounded(device::load<T>(operand, weights, (m * group_channels + c) * taps + t));
    if (bias) sum += device::load<T>(type, bias, m);
    device::store<T>(type, y, e, post.apply<T>(sum, e));
  }
  ONNXTOOL_HD T rounded(T v) const {
    if constexpr (std::is_same_v<T, float>)
      if (tf32) return device::round_to_tf32(v);
    return v;
  }
};

// columns [channel, tap, image, position] of one group, as operands of a product. All taps of a
// position are one thread's, so that it is located once.
template <class T>
struct CopyColumns {
  DeviceWindow w;
  DataType type, to;
  const void* x;  // of the group's first channel of the first image on
  void* columns;
  Divider pixels, images;
  int64_t channels;
  ONNXTOOL_HD void operator()(int64_t i) const {
    int64_t c = i;
    const int64_t p = pixels.split(c), image = images.split(c);
    int64_t depth = p;
    const int64_t column = w.out[2].split(depth), row = w.out[1].split(depth);
    const int64_t plane = (image * channels + c) * w.in_size(), step = images.by() * pixels.by();
    int64_t put = (c * w.taps() * images.by() + image) * pixels.by() + p;
    int64_t z = depth * w.stride[0] - w.pad[0];
    for (int64_t kd = 0; kd < w.kernel[0].by(); ++kd, z += w.dilation[0]) {
      int64_t y = row * w.stride[1] - w.pad[1];
      for (int64_t kh = 0; kh < w.kernel[1].by(); ++kh, y += w.dilation[1]) {
        const bool exists = z >= 0 && z < w.in[0] && y >= 0 && y < w.in[1];
        const int64_t line = plane + (z * w.in[1] + y) * w.in[2];
        int64_t at = column * w.stride[2] - w.pad[2];
        for (int64_t kw = 0; kw < w.kernel[2].by(); ++kw, at += w.dilation[2], put += step)
          device::store<T>(
              to, columns, put,
              exists && at >= 0 && at < w.in[2] ? device::load<T>(type, x, line + at) : T{0});
      }
    }
  }
};

// Sums [channel, image, position], or [image, channel, position] where `in_order`, to the output.
template <class T>
struct FinishSums {
  DataType from, type;
  const void *sums, *bias;
  void* y;
  Divider pixels, channels;
  int64_t images;
  bool in_order;
  PostOps post;
  int64_t first;  // element of the whole output
  ONNXTOOL_HD void operator()(int64_t i) const {
    int64_t image = i;
    const int64_t p = pixels.split(image), m = channels.split(image);
    T value = device::load<T>(from, sums, in_order ? i : (m * images + image) * pixels.by() + p);
    if (bias) value += device::load<T>(type, bias, m);
    device::store<T>(type, y, first + i, post.apply<T>(value, first + i));
  }
};

// Floats that keep what a narrower type holds of them.
struct RoundThrough {
  DataType type;
  const float* x;
  float* y;
  ONNXTOOL_HD void operator()(int64_t i) const {
    uint16_t bits;
    device::store<float>(type, &bits, 0, x[i]);
    y[i] = device::load<float>(type, &bits, 0);
  }
};

template <class T>
class Convolution {
 public:
  Convolution(KernelContext& ctx, const ConvShape& s, const MutableView& y, const ConvState& state)
      : ctx_(ctx),
        s_(s),
        y_(y),
        x_(ctx.input(0)),
        operand_(device::operand_type(x_.dtype, state.precision)),
        bias_(ctx.has_input(2) ? ctx.input(2).data : nullptr),
        all_post_(state.own) {
    const std::span<const PostOp> fused = ctx.node().post_ops();
    all_post_.insert(all_post_.end(), fused.begin(), fused.end());
    product_.type = operand_;
    product_.result = dtype_of<T>;
    product_.tf32 = state.precision == Precision::kTf32 && x_.dtype == DataType::kFloat;
    product_.m = s.group_outputs();
    product_.k = s.depth();
  }

  Status run() {
    ONNXTOOL_ASSIGN(post_, device::post_ops_of(ctx_, all_post_, 0, y_.dims));
    if constexpr (std::is_same_v<T, float>) {
      ONNXTOOL_ASSIGN(const bool done, run_library());
      if (done) return {};
    }
    ONNXTOOL_ASSIGN(weights_, converted(ctx_, ctx_.input(1), operand_));
    constexpr int64_t kFewTerms = 64;
    if (s_.group > 1 && s_.depth() <= kFewTerms) {
      ONNXTOOL_ASSIGN(const ConstView x, converted(ctx_, x_, operand_));
      device::for_each_index(
          y_.count,
          DirectConv<T>{DeviceWindow(s_.window), operand_, y_.dtype, x.data, weights_.data, bias_,
                        y_.data, product_.tf32, Divider(s_.pixels()), Divider(s_.out_channels),
                        Divider(s_.group_outputs()), s_.channels, s_.group_channels(), post_});
    } else if (s_.pointwise() && operand_ == x_.dtype && s_.pixels() >= kManyPixels) {
      ONNXTOOL_TRY(multiply_as_it_lies());
    } else {
      ONNXTOOL_TRY(multiply_columns());
    }
    return device::apply_post_ops(ctx_, all_post_, PostOps::kMost, y_);
  }

 private:
  // Operands of the library's convolutions, which have the type of their results. Rounded to 16
  // bits they lose nothing more to TF32, whose products are then exact.
  Result<const void*> rounded(const ConstView& v) {
    if (operand_ == v.dtype) return v.data;
    ONNXTOOL_ASSIGN(void* to, ctx_.scratch(static_cast<size_t>(v.count) * sizeof(float)));
    device::for_each_index(v.count, RoundThrough{operand_, static_cast<const float*>(v.data),
                                                 static_cast<float*>(to)});
    return static_cast<const void*>(to);
  }

  // In one call with the bias, a residual and Relu, else sums alone, which a last step finishes;
  // false where there is no such call. 16-bit results take one call, since they are rounded in it.
  Result<bool> run_library() {
    const auto window = device::dnn_window(s_.window);
    if (!window || device::library_refusal()) return false;
    ONNXTOOL_ASSIGN(const void* x, rounded(x_));
    ONNXTOOL_ASSIGN(const void* weights, rounded(ctx_.input(1)));
    device::DnnConvolution sums{.window = *window,
                                .type = x_.dtype,
                                .tf32 = product_.tf32 || operand_ != x_.dtype,
                                .batch = s_.batch,
                                .channels = s_.channels,
                                .out_channels = s_.out_channels,
                                .group = s_.group,
                                .x = x,
                                .weights = weights,
                                .y = y_.data};
    const auto is = [&](size_t at, PostOp::Kind kind) {
      return at < all_post_.size() && all_post_[at].kind == kind;
    };
    const size_t relu_at = is(0, PostOp::Kind::kAdd) ? 1 : 0;
    if (bias_ && is(relu_at, PostOp::Kind::kRelu)) {
      device::DnnConvolution all = sums;
      all.bias = bias_, all.relu = true;
      all.added = relu_at ? post_.ops[0].added : nullptr;
      ONNXTOOL_ASSIGN(const bool done, device::convolve(ctx_, all));
      if (done) {
        ONNXTOOL_TRY(device::apply_post_ops(ctx_, all_post_, relu_at + 1, y_));
        return true;
      }
    }
    if (!is_wide()) {
      if (!all_post_.empty()) return false;
      sums.bias = bias_;
      return device::convolve(ctx_, sums);
    }
    ONNXTOOL_ASSIGN(const bool done, device::convolve(ctx_, sums));
    if (!done) return false;
    if (bias_ || post_.count) finish(y_.data, true, s_.batch, 0);
    ONNXTOOL_TRY(device::apply_post_ops(ctx_, all_post_, PostOps::kMost, y_));
    return true;
  }

  const void* weights_of(int64_t g) const {
    return device::element(weights_.data, operand_, g * s_.group_outputs() * s_.depth());
  }
  bool is_wide() const { return y_.dtype == dtype_of<T>; }
  // From sums of some images on to the output from element `first` on.
  void finish(const void* sums, bool in_order, int64_t images, int64_t first) const {
    device::for_each_index(
        images * s_.out_channels * s_.pixels(),
        FinishSums<T>{dtype_of<T>, y_.dtype, sums, bias_, y_.data, Divider(s_.pixels()),
                      Divider(s_.out_channels), images, in_order, post_, first});
  }

  Status multiply_as_it_lies() {
    void* sums = y_.data;
    if (!is_wide()) {
      ONNXTOOL_ASSIGN(sums, ctx_.scratch(static_cast<size_t>(y_.count) * sizeof(T)));
    }
    product_.n = s_.pixels();
    product_.count = s_.batch;
    product_.b_step = s_.channels * s_.pixels();
    product_.c_step = s_.out_channels * s_.pixels();
    for (int64_t g = 0; g < s_.group; ++g) {
      product_.a = weights_of(g);
      product_.b = device::element(x_.data, operand_, g * s_.group_channels() * s_.pixels());
      product_.c = const_cast<std::byte*>(
          device::element(sums, dtype_of<T>, g * s_.group_outputs() * s_.pixels()));
      ONNXTOOL_TRY(device::multiply(ctx_, product_));
    }
    if (!is_wide() || bias_ || post_.count) finish(sums, true, s_.batch, 0);
    return {};
  }

  Status multiply_columns() {
    const int64_t column_count = s_.depth() * s_.pixels(),
                  image_outputs = s_.out_channels * s_.pixels();
    const int64_t per_image =
        std::max<int64_t>(column_count * static_cast<int64_t>(size_bytes_of(operand_, 1)),
                          image_outputs * static_cast<int64_t>(sizeof(T)));
    const int64_t most = std::clamp<int64_t>(kMostColumnBytes / std::max<int64_t>(per_image, 1), 1,
                                             std::max<int64_t>(s_.batch, 1));
    ONNXTOOL_ASSIGN(void* columns, ctx_.scratch(size_bytes_of(
                                       operand_, static_cast<uint64_t>(most * column_count))));
    // One image's sums lie as its output does.
    const bool direct = is_wide() && most == 1;
    void* sums = nullptr;
    if (!direct) {
      ONNXTOOL_ASSIGN(sums, ctx_.scratch(static_cast<size_t>(most * image_outputs) * sizeof(T)));
    }
    const int64_t in_image = s_.channels * volume(s_.window.in);
    for (int64_t first = 0; first < s_.batch; first += most) {
      const int64_t images = std::min(most, s_.batch - first);
      if (direct)
        sums = const_cast<std::byte*>(device::element(y_.data, y_.dtype, first * image_outputs));
      product_.n = images * s_.pixels();
      for (int64_t g = 0; g < s_.group; ++g) {
        device::for_each_index(
            images * s_.group_channels() * s_.pixels(),
            CopyColumns<T>{
                DeviceWindow(s_.window), x_.dtype, operand_,
                device::element(x_.data, x_.dtype,
                                first * in_image + g * s_.group_channels() * volume(s_.window.in)),
                columns, Divider(s_.pixels()), Divider(images), s_.channels});
        product_.a = weights_of(g);
        product_.b = columns;
        product_.c = const_cast<std::byte*>(
            device::element(sums, dtype_of<T>, g * s_.group_outputs() * product_.n));
        ONNXTOOL_TRY(device::multiply(ctx_, product_));
      }
      if (!direct || bias_ || post_.count) finish(sums, direct, images, first * image_outputs);
    }
    return {};
  }

  KernelContext& ctx_;
  const ConvShape& s_;
  const MutableView& y_;
  const ConstView& x_;
  DataType operand_;
  const void* bias_;
  std::vector<PostOp> all_post_;
  ConstView weights_;
  PostOps post_;  // the first of them
  device::Product product_;
};

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
                  [&]<class T>() { return Convolution<T>(ctx, s, y, state).run(); });
}

constexpr std::initializer_list<DataType> kAll = {DataType::kFloat, DataType::kDouble,
                                                  DataType::kFloat16, DataType::kBfloat16};
constexpr std::initializer_list<DataType> kFloatOnly = {DataType::kFloat};

template <Precision precision>
constexpr KernelInfo info(std::string_view domain, std::string_view op) {
  return {.domain = domain,
          .op = op,
          .types = precision == Precision::kFloat32 ? kAll : kFloatOnly,
          .prepare = prepare<precision>,
          .run = run,
          .fuses = device::fuses_float};
}
constexpr device::ReducedKernels reduced(std::string_view domain, std::string_view op) {
  return {info<Precision::kTf32>(domain, op), info<Precision::kBf16>(domain, op),
          info<Precision::kFp16>(domain, op)};
}

}  // namespace

constinit const KernelInfo kConv = info<Precision::kFloat32>("", "Conv");
constinit const KernelInfo kFusedConv = info<Precision::kFloat32>("com.microsoft", "FusedConv");
constinit const device::ReducedKernels kReducedConv = reduced("", "Conv");
constinit const device::ReducedKernels kReducedFusedConv = reduced("com.microsoft", "FusedConv");

}  // namespace onnxtool
