// Activation functions. Formulas are those of the operator pages; f16 and bf16 compute in float.

#include <cmath>

#include "calib/kernels/cpu/elementwise.h"
#include "calib/kernels/cpu/vector_math.h"

namespace onnxtool {
namespace {

template <class T>
T sigmoid_of(T x) {
  return x < 0 ? std::exp(x) / (T{1} + std::exp(x)) : T{1} / (T{1} + std::exp(-x));
}
// log(1 + e^x) without overflow.
template <class T>
T softplus_of(T x) {
  return std::max(x, T{0}) + std::log1p(std::exp(-std::fabs(x)));
}

// y = f(x): `vector(x, y, n)` for float, `scalar(x)` for double.
template <class Vector, class Scalar>
Status float_unary(KernelContext& ctx, const Vector& vector, const Scalar& scalar) {
  const DataType type = ctx.input(0).dtype;
  if (wide_type(type) != DataType::kFloat) return map_unary(ctx, TypeList<double>{}, scalar);
  const auto run = [](const void* f, const void* x, void* y, int64_t n) {
    (*static_cast<const Vector*>(f))(static_cast<const float*>(x), static_cast<float*>(y), n);
  };
  return run_unary(ctx, 0, type, false, run, &vector);
}

Status relu(KernelContext& ctx) {
  if (wide_type(ctx.input(0).dtype) == DataType::kFloat)
    return float_unary(
        ctx,
        [](const float* x, float* y, int64_t n) {
          vector_math().clip(x, y, n, 0.0f, std::numeric_limits<float>::infinity());
        },
        [](double x) { return x; });
  return map_unary(ctx, TypeList<double, int32_t, int64_t>{},
                   [](auto x) { return x < decltype(x){0} ? decltype(x){0} : x; });
}

Status leaky_relu(KernelContext& ctx) {
  const float alpha = ctx.node().attr_float("alpha", 0.01f);
  return map_unary(ctx, WideFloats{},
                   [=](auto x) { return x < 0 ? static_cast<decltype(x)>(alpha) * x : x; });
}

Status elu(KernelContext& ctx) {
  const float alpha = ctx.node().attr_float("alpha", 1.0f);
  return map_unary(ctx, WideFloats{}, [=](auto x) {
    return x < 0 ? static_cast<decltype(x)>(alpha) * std::expm1(x) : x;
  });
}

Status celu(KernelContext& ctx) {
  const float alpha = ctx.node().attr_float("alpha", 1.0f);
  if (alpha == 0) return bad_model("alpha is 0");
  return map_unary(ctx, WideFloats{}, [=](auto x) {
    const auto a = static_cast<decltype(x)>(alpha);
    const auto zero = decltype(x){0};
    return std::max(zero, x) + std::min(zero, a * std::expm1(x / a));
  });
}

Status selu(KernelContext& ctx) {
  const bool rounded = ctx.node().opset() < 6;  // Selu-1 has defaults of four decimals
  const float alpha =
      ctx.node().attr_float("alpha", rounded ? 1.6732f : 1.67326319217681884765625f);
  const float gamma =
      ctx.node().attr_float("gamma", rounded ? 1.0507f : 1.05070102214813232421875f);
  return map_unary(ctx, WideFloats{}, [=](auto x) {
    using T = decltype(x);
    return static_cast<T>(gamma) * (x > 0 ? x : static_cast<T>(alpha) * std::expm1(x));
  });
}

Status thresholded_relu(KernelContext& ctx) {
  const float alpha = ctx.node().attr_float("alpha", 1.0f);
  return map_unary(ctx, WideFloats{}, [=](auto x) { return x > alpha ? x : decltype(x){0}; });
}

Status shrink(KernelContext& ctx) {
  const float lambd = ctx.node().attr_float("lambd", 0.5f),
              bias = ctx.node().attr_float("bias", 0.0f);
  return map_unary(ctx, WideTypes{}, [=](auto x) {
    using T = decltype(x);
    const auto v = static_cast<double>(x);
    return v < -lambd ? static_cast<T>(v + bias) : v > lambd ? static_cast<T>(v - bias) : T{0};
  });
}

Status softplus(KernelContext& ctx) {
  return map_unary(ctx, WideFloats{}, [](auto x) { return softplus_of(x); });
}
Status softsign(KernelContext& ctx) {
  return map_unary(ctx, WideFloats{}, [](auto x) { return x / (decltype(x){1} + std::fabs(x)); });
}
Status mish(KernelContext& ctx) {
  return map_unary(ctx, WideFloats{}, [](auto x) { return x * std::tanh(softplus_of(x)); });
}

Status sigmoid(KernelContext& ctx) {
  return float_unary(ctx, vector_math().sigmoid, [](double x) { return sigmoid_of(x); });
}

Status hard_sigmoid(KernelContext& ctx) {
  const float alpha = ctx.node().attr_float("alpha", 0.2f),
              beta = ctx.node().attr_float("beta", 0.5f);
  return float_unary(
      ctx,
      [=](const float* x, float* y, int64_t n) {
        vector_math().hard_sigmoid(x, y, n, alpha, beta);
      },
      [=](double x) { return std::max(0.0, std::min(1.0, alpha * x + beta)); });
}

Status hard_swish(KernelContext& ctx) {
  return float_unary(ctx, vector_math().hard_swish,
                     [](double x) { return x * std::max(0.0, std::min(1.0, x / 6 + 0.5)); });
}

Status swish_by(KernelContext& ctx, float alpha) {
  return float_unary(
      ctx, [=](const float* x, float* y, int64_t n) { vector_math().swish(x, y, n, alpha); },
      [=](double x) { return x * sigmoid_of(alpha * x); });
}
Status swish(KernelContext& ctx) { return swish_by(ctx, ctx.node().attr_float("alpha", 1.0f)); }
Status quick_gelu(KernelContext& ctx) {
  return swish_by(ctx, ctx.node().attr_float("alpha", 1.702f));
}

constexpr auto gelu_of = [](double x) {
  return 0.5 * x * (1.0 + std::erf(x * 0.70710678118654752440));
};
constexpr auto gelu_tanh_of = [](double x) {
  return 0.5 * x * (1.0 + std::tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x)));
};

Status gelu(KernelContext& ctx) {
  const std::string_view approximate = ctx.node().attr_string("approximate", "none");
  if (approximate == "none") return float_unary(ctx, vector_math().gelu, gelu_of);
  if (approximate == "tanh") return float_unary(ctx, vector_math().gelu_tanh, gelu_tanh_of);
  return bad_model("approximate is '" + std::string(approximate) + "', expected none or tanh");
}

// com.microsoft BiasGelu and FastGelu: f(x + bias), the bias along the last axis; FastGelu's may be
// absent.
template <bool tanh_form>
Status bias_gelu(KernelContext& ctx) {
  if (!ctx.has_input(1)) {
    if constexpr (tanh_form)
      return float_unary(ctx, vector_math().gelu_tanh, gelu_tanh_of);
    else
      return float_unary(ctx, vector_math().gelu, gelu_of);
  }
  if (wide_type(ctx.input(0).dtype) != DataType::kFloat)
    return unsupported_type(ctx.input(0).dtype, "input 0");
  const auto run = [](const void*, const void* a, int64_t a_step, const void* b, int64_t b_step,
                      void* out, int64_t n) {
    float* y = static_cast<float*>(out);
    vector_math().add(static_cast<const float*>(a), a_step, static_cast<const float*>(b), b_step, y,
                      n);
    (tanh_form ? vector_math().gelu_tanh : vector_math().gelu)(y, y, n);
  };
  return run_binary(ctx, ctx.input(0), ctx.input(1), ctx.input(0).dtype, false, run, nullptr);
}

struct PReluOp {
  template <class T>
  T operator()(T x, T slope) const {
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

Status clip(KernelContext& ctx) {
  const DataType type = ctx.input(0).dtype;
  if (is_packed(type)) return unsupported_type(type, "input 0");
  return dispatch(wide_type(type), WideTypes{}, "input 0", [&]<class T>() -> Status {
    using Limits = std::numeric_limits<T>;
    constexpr bool is_real = std::is_floating_point_v<T>;
    ONNXTOOL_ASSIGN(const T low,
                    clip_bound<T>(ctx, 1, "min", is_real ? -Limits::infinity() : Limits::lowest()));
    ONNXTOOL_ASSIGN(const T high,
                    clip_bound<T>(ctx, 2, "max", is_real ? Limits::infinity() : Limits::max()));
    if constexpr (std::is_same_v<T, float>)
      return float_unary(
          ctx, [=](const float* x, float* y, int64_t n) { vector_math().clip(x, y, n, low, high); },
          [](double x) { return x; });
    else
      return map_unary(ctx, TypeList<T>{}, [=](T x) {
        const T raised = x < low ? low : x;
        return raised > high ? high : raised;
      });
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
                                 .takes_layout = takes_first_in_any_layout};
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
