// Activation functions. Formulas are those of the operator pages; f16 and bf16 compute in float.

#include <cmath>

#include "calib/kernels/cpu/elementwise.h"
#include "calib/kernels/cpu/vector_math.h"

namespace onnxtool {
namespace {

template <class T>
ONNXTOOL_HD T sigmoid_of(T x) {
  return x < 0 ? std::exp(x) / (T{1} + std::exp(x)) : T{1} / (T{1} + std::exp(-x));
}
// log(1 + e^x) without overflow.
template <class T>
ONNXTOOL_HD T softplus_of(T x) {
  return (x > T{0} ? x : T{0}) + std::log1p(std::exp(-std::fabs(x)));
}
template <class T>
ONNXTOOL_HD T clip_to_one(T x) {
  return x < T{0} ? T{0} : x > T{1} ? T{1} : x;
}

// y = f(x): `vector(x, y, n)` for float, `scalar(x)` for double, and for both on a device.
template <class Vector, class Scalar>
Status float_unary(KernelContext& ctx, [[maybe_unused]] const Vector& vector,
                   const Scalar& scalar) {
#if defined(ONNXTOOL_DEVICE_KERNELS)
  return map_unary(ctx, WideFloats{}, scalar);
#else
  const DataType type = ctx.input(0).dtype;
  if (wide_type(type) != DataType::kFloat) return map_unary(ctx, TypeList<double>{}, scalar);
  const auto run = [](const void* f, const void* x, void* y, int64_t n) {
    (*static_cast<const Vector*>(f))(static_cast<const float*>(x), static_cast<float*>(y), n);
  };
  return run_unary(ctx, 0, type, false, run, &vector);
#endif
}

struct ReluOp {
  template <class T>
  ONNXTOOL_HD T operator()(T x) const {
    return x < T{0} ? T{0} : x;
  }
};
Status relu(KernelContext& ctx) {
  if (wide_type(ctx.input(0).dtype) == DataType::kFloat)
    return float_unary(
        ctx,
        [](const float* x, float* y, int64_t n) {
          vector_math().clip(x, y, n, 0.0f, std::numeric_limits<float>::infinity());
        },
        ReluOp());
  return map_unary(ctx, TypeList<double, int32_t, int64_t>{}, ReluOp());
}

struct LeakyReluOp {
  float alpha;
  template <class T>
  ONNXTOOL_HD T operator()(T x) const {
    return x < 0 ? static_cast<T>(alpha) * x : x;
  }
};
Status leaky_relu(KernelContext& ctx) {
  return map_unary(ctx, WideFloats{}, LeakyReluOp{ctx.node().attr_float("alpha", 0.01f)});
}

struct EluOp {
  float alpha;
  template <class T>
  ONNXTOOL_HD T operator()(T x) const {
    return x < 0 ? static_cast<T>(alpha) * std::expm1(x) : x;
  }
};
Status elu(KernelContext& ctx) {
  return map_unary(ctx, WideFloats{}, EluOp{ctx.node().attr_float("alpha", 1.0f)});
}

struct CeluOp {
  float alpha;
  template <class T>
  ONNXTOOL_HD T operator()(T x) const {
    const auto a = static_cast<T>(alpha);
    return T{0} < x ? x : a * std::expm1(x / a);  // NaN stays
  }
};
Status celu(KernelContext& ctx) {
  const float alpha = ctx.node().attr_float("alpha", 1.0f);
  if (alpha == 0) return bad_model("alpha is 0");
  return map_unary(ctx, WideFloats{}, CeluOp{alpha});
}

struct SeluOp {
  float alpha, gamma;
  template <class T>
  ONNXTOOL_HD T operator()(T x) const {
    return static_cast<T>(gamma) * (x > 0 ? x : static_cast<T>(alpha) * std::expm1(x));
  }
};
Status selu(KernelContext& ctx) {
  const bool rounded = ctx.node().opset() < 6;  // Selu-1 has defaults of four decimals
  const float alpha =
      ctx.node().attr_float("alpha", rounded ? 1.6732f : 1.67326319217681884765625f);
  const float gamma =
      ctx.node().attr_float("gamma", rounded ? 1.0507f : 1.05070102214813232421875f);
  return map_unary(ctx, WideFloats{}, SeluOp{alpha, gamma});
}

struct ThresholdedReluOp {
  float alpha;
  template <class T>
  ONNXTOOL_HD T operator()(T x) const {
    return x > alpha ? x : T{0};
  }
};
Status thresholded_relu(KernelContext& ctx) {
  return map_unary(ctx, WideFloats{}, ThresholdedReluOp{ctx.node().attr_float("alpha", 1.0f)});
}

struct ShrinkOp {
  float lambd, bias;
  template <class T>
  ONNXTOOL_HD T operator()(T x) const {
    const auto v = static_cast<double>(x);
    return v < -lambd ? static_cast<T>(v + bias) : v > lambd ? static_cast<T>(v - bias) : T{0};
  }
};
Status shrink(KernelContext& ctx) {
  return map_unary(
      ctx, WideTypes{},
      ShrinkOp{ctx.node().attr_float("lambd", 0.5f), ctx.node().attr_float("bias", 0.0f)});
}

struct SoftplusOp {
  template <class T>
  ONNXTOOL_HD T operator()(T x) const {
    return softplus_of(x);
  }
};
struct SoftsignOp {
  template <class T>
  ONNXTOOL_HD T operator()(T x) const {
    return x / (T{1} + std::fabs(x));
  }
};
struct MishOp {
  template <class T>
  ONNXTOOL_HD T operator()(T x) const {
    return x * std::tanh(softplus_of(x));
  }
};
Status softplus(KernelContext& ctx) { return map_unary(ctx, WideFloats{}, SoftplusOp()); }
Status softsign(KernelContext& ctx) { return map_unary(ctx, WideFloats{}, SoftsignOp()); }
Status mish(KernelContext& ctx) { return map_unary(ctx, WideFloats{}, MishOp()); }

struct SigmoidOp {
  template <class T>
  ONNXTOOL_HD T operator()(T x) const {
    return sigmoid_of(x);
  }
};
Status sigmoid(KernelContext& ctx) {
  return float_unary(ctx, vector_math().sigmoid, SigmoidOp());
}

struct HardSigmoidOp {
  float alpha, beta;
  template <class T>
  ONNXTOOL_HD T operator()(T x) const {
    return clip_to_one(static_cast<T>(alpha) * x + static_cast<T>(beta));
  }
};
Status hard_sigmoid(KernelContext& ctx) {
  const float alpha = ctx.node().attr_float("alpha", 0.2f),
              beta = ctx.node().attr_float("beta", 0.5f);
  return float_unary(
      ctx,
      [=](const float* x, float* y, int64_t n) {
        vector_math().hard_sigmoid(x, y, n, alpha, beta);
      },
      HardSigmoidOp{alpha, beta});
}

struct HardSwishOp {
  template <class T>
  ONNXTOOL_HD T operator()(T x) const {
    return x * clip_to_one(x / T{6} + T{0.5});
  }
};
Status hard_swish(KernelContext& ctx) {
  return float_unary(ctx, vector_math().hard_swish, HardSwishOp());
}

struct SwishOp {
  float alpha;
  template <class T>
  ONNXTOOL_HD T operator()(T x) const {
    return x * sigmoid_of(static_cast<T>(alpha) * x);
  }
};
Status swish_by(KernelContext& ctx, float alpha) {
  return float_unary(
      ctx, [=](const float* x, float* y, int64_t n) { vector_math().swish(x, y, n, alpha); },
      SwishOp{alpha});
}
Status swish(KernelContext& ctx) { return swish_by(ctx, ctx.node().attr_float("alpha", 1.0f)); }
Status quick_gelu(KernelContext& ctx) {
  return swish_by(ctx, ctx.node().attr_float("alpha", 1.702f));
}

struct GeluOp {
  template <class T>
  ONNXTOOL_HD T operator()(T x) const {
    return T{0.5} * x * (T{1} + std::erf(x * static_cast<T>(0.70710678118654752440)));
  }
};
struct GeluTanhOp {
  template <class T>
  ONNXTOOL_HD T operator()(T x) const {
    const T inner = static_cast<T>(0.79788456080286535588) *
                    (x + static_cast<T>(0.044715) * x * x * x);
    return T{0.5} * x * (T{1} + std::tanh(inner));
  }
};

Status gelu(KernelContext& ctx) {
  const std::string_view approximate = ctx.node().attr_string("approximate", "none");
  if (approximate == "none") return float_unary(ctx, vector_math().gelu, GeluOp());
  if (approximate == "tanh") return float_unary(ctx, vector_math().gelu_tanh, GeluTanhOp());
  return bad_model("approximate is '" + std::string(approximate) + "', expected none or tanh");
}

#if defined(ONNXTOOL_DEVICE_KERNELS)
template <class Gelu>
struct BiasGeluOp {
  ONNXTOOL_HD float operator()(float x, float bias) const { return Gelu()(x + bias); }
};
template <bool tanh_form>
constexpr BinaryRun bias_gelu_run =
    zip_run<float, float, BiasGeluOp<std::conditional_t<tanh_form, GeluTanhOp, GeluOp>>>;
#else
template <bool tanh_form>
void bias_gelu_run(const void*, const void* a, int64_t a_step, const void* b, int64_t b_step,
                   void* out, int64_t n) {
  float* y = static_cast<float*>(out);
  vector_math().add(static_cast<const float*>(a), a_step, static_cast<const float*>(b), b_step, y,
                    n);
  (tanh_form ? vector_math().gelu_tanh : vector_math().gelu)(y, y, n);
}
#endif

// com.microsoft BiasGelu and FastGelu: f(x + bias), the bias along the last axis; FastGelu's may be
// absent.
template <bool tanh_form>
Status bias_gelu(KernelContext& ctx) {
  if (!ctx.has_input(1)) {
    if constexpr (tanh_form)
      return float_unary(ctx, vector_math().gelu_tanh, GeluTanhOp());
    else
      return float_unary(ctx, vector_math().gelu, GeluOp());
  }
  if (wide_type(ctx.input(0).dtype) != DataType::kFloat)
    return unsupported_type(ctx.input(0).dtype, "input 0");
  const GeluOp none;  // an operator without members, as the run's own
  return run_binary(ctx, ctx.input(0), ctx.input(1), ctx.input(0).dtype, false,
                    bias_gelu_run<tanh_form>, &none);
}

struct PReluOp {
  template <class T>
  ONNXTOOL_HD T operator()(T x, T slope) const {
    return x < T{0} ? static_cast<T>(slope * x) : x;
  }
};

// The slope broadcasts to x; before opset 7 it is one value or one per channel (axis 1).
Status prelu(KernelContext& ctx) {
  const ConstView& x = ctx.input(0);
  ConstView slope = ctx.input(1);
  Dims per_channel;
  if (ctx.node().opset() < 7 && slope.count != 1 && x.rank() > 1) {
    per_channel.assign(static_cast<size_t>(x.rank() - 1), 1);
    per_channel[0] = slope.count;
    slope.dims = per_channel;
  }
  const PReluOp op;
  return dispatch(wide_type(x.dtype), WideTypes{}, "input 0", [&]<class T>() {
    return run_binary(ctx, x, slope, x.dtype, false, &zip_run<T, T, PReluOp>, &op);
  });
}

template <class T>
Result<T> clip_bound(const KernelContext& ctx, int i, std::string_view attribute, T fallback) {
  if (ctx.node().opset() < 11) {
    if constexpr (std::is_floating_point_v<T>) {
      if (ctx.node().has_attribute(attribute))
        return static_cast<T>(ctx.node().attr_float(attribute, 0));
    }
    return fallback;
  }
  if (!ctx.has_input(i)) return fallback;
  const ConstView& bound = ctx.input(i);
  if (bound.count != 1 || bound.dtype != ctx.input(0).dtype)
    return mismatch(std::string(attribute) + " is " + std::string(name(bound.dtype)) +
                    " of shape " + format_dims(bound.dims) + ", expected one " +
                    std::string(name(ctx.input(0).dtype)));
  T value;
  load_wide<T>(bound.dtype, bound.data, 0, 1, &value);
  return value;
}

// The largest finite number of the type, which is the bound that is absent.
template <class T>
T largest_of(DataType type) {
  if constexpr (std::is_floating_point_v<T>) {
    if (type == DataType::kFloat16) return 65504;
    if (type == DataType::kBfloat16) return T{0x1.fep127};
  }
  return std::numeric_limits<T>::max();
}

template <class T>
struct ClipOp {
  T low, high;
  ONNXTOOL_HD T operator()(T x) const {
    const T raised = x < low ? low : x;
    return raised > high ? high : raised;
  }
};

Status clip(KernelContext& ctx) {
  const DataType type = ctx.input(0).dtype;
  if (is_packed(type)) return unsupported_type(type, "input 0");
  return dispatch(wide_type(type), WideTypes{}, "input 0", [&]<class T>() -> Status {
    // Infinities become finite, as the operator page and onnxruntime have it; the body of the
    // function in the schema would leave them.
    const T largest = largest_of<T>(type),
            lowest = std::is_floating_point_v<T> ? -largest : std::numeric_limits<T>::lowest();
    ONNXTOOL_ASSIGN(const T low, clip_bound<T>(ctx, 1, "min", lowest));
    ONNXTOOL_ASSIGN(const T high, clip_bound<T>(ctx, 2, "max", largest));
#if !defined(ONNXTOOL_DEVICE_KERNELS)
    if constexpr (std::is_same_v<T, float>)
      return float_unary(
          ctx, [=](const float* x, float* y, int64_t n) { vector_math().clip(x, y, n, low, high); },
          ReluOp());
#endif
    return map_unary(ctx, TypeList<T>{}, ClipOp<T>{low, high});
  });
}

bool takes_first_in_any_layout(int input, Layout) { return input == 0; }

}  // namespace

constinit const KernelInfo kRelu{
    .op = "Relu", .prepare = needs_inputs<1>, .run = relu, .takes_layout = takes_any_layout};
constinit const KernelInfo kLeakyRelu{.op = "LeakyRelu",
                                      .prepare = needs_inputs<1>,
                                      .run = leaky_relu,
                                      .takes_layout = takes_any_layout};
constinit const KernelInfo kElu{
    .op = "Elu", .prepare = needs_inputs<1>, .run = elu, .takes_layout = takes_any_layout};
constinit const KernelInfo kCelu{
    .op = "Celu", .prepare = needs_inputs<1>, .run = celu, .takes_layout = takes_any_layout};
constinit const KernelInfo kSelu{
    .op = "Selu", .prepare = needs_inputs<1>, .run = selu, .takes_layout = takes_any_layout};
constinit const KernelInfo kThresholdedRelu{.op = "ThresholdedRelu",
                                            .prepare = needs_inputs<1>,
                                            .run = thresholded_relu,
                                            .takes_layout = takes_any_layout};
constinit const KernelInfo kShrink{
    .op = "Shrink", .prepare = needs_inputs<1>, .run = shrink, .takes_layout = takes_any_layout};
constinit const KernelInfo kSoftplus{.op = "Softplus",
                                     .prepare = needs_inputs<1>,
                                     .run = softplus,
                                     .takes_layout = takes_any_layout};
constinit const KernelInfo kSoftsign{.op = "Softsign",
                                     .prepare = needs_inputs<1>,
                                     .run = softsign,
                                     .takes_layout = takes_any_layout};
constinit const KernelInfo kMish{
    .op = "Mish", .prepare = needs_inputs<1>, .run = mish, .takes_layout = takes_any_layout};
constinit const KernelInfo kSigmoid{
    .op = "Sigmoid", .prepare = needs_inputs<1>, .run = sigmoid, .takes_layout = takes_any_layout};
constinit const KernelInfo kHardSigmoid{.op = "HardSigmoid",
                                        .prepare = needs_inputs<1>,
                                        .run = hard_sigmoid,
                                        .takes_layout = takes_any_layout};
constinit const KernelInfo kHardSwish{.op = "HardSwish",
                                      .prepare = needs_inputs<1>,
                                      .run = hard_swish,
                                      .takes_layout = takes_any_layout};
constinit const KernelInfo kSwish{
    .op = "Swish", .prepare = needs_inputs<1>, .run = swish, .takes_layout = takes_any_layout};
constinit const KernelInfo kGelu{
    .op = "Gelu", .prepare = needs_inputs<1>, .run = gelu, .takes_layout = takes_any_layout};
constinit const KernelInfo kPRelu{.op = "PRelu", .prepare = needs_inputs<2>, .run = prelu};
constinit const KernelInfo kClip{.op = "Clip",
                                 .prepare = needs_inputs<1>,
                                 .run = clip,
                                 .takes_layout = takes_first_in_any_layout,
                               .use = parameters_on_host};
constinit const KernelInfo kMsGelu{.domain = "com.microsoft",
                                   .op = "Gelu",
                                   .prepare = needs_inputs<1>,
                                   .run = gelu,
                                   .takes_layout = takes_any_layout};
constinit const KernelInfo kMsQuickGelu{.domain = "com.microsoft",
                                        .op = "QuickGelu",
                                        .prepare = needs_inputs<1>,
                                        .run = quick_gelu,
                                        .takes_layout = takes_any_layout};
constinit const KernelInfo kMsFastGelu{.domain = "com.microsoft",
                                       .op = "FastGelu",
                                       .prepare = needs_inputs<1>,
                                       .run = bias_gelu<true>};
constinit const KernelInfo kMsBiasGelu{.domain = "com.microsoft",
                                       .op = "BiasGelu",
                                       .prepare = needs_inputs<2>,
                                       .run = bias_gelu<false>};

}  // namespace onnxtool
