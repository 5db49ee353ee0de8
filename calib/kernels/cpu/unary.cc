// Functions of one element: math, signs, rounding.

#include <cmath>

#include "calib/kernels/cpu/elementwise.h"
#include "calib/kernels/cpu/vector_math.h"

namespace onnxtool {
namespace {

using SignedTypes = TypeList<float, double, int32_t, int64_t>;

struct NegOp {
  template <class T>
  ONNXTOOL_HD T operator()(T x) const {
    if constexpr (std::is_integral_v<T>)
      return static_cast<T>(std::make_unsigned_t<T>(0) - std::make_unsigned_t<T>(x));
    else
      return -x;
  }
};
struct AbsOp {
  template <class T>
  ONNXTOOL_HD T operator()(T x) const {
    if constexpr (std::is_floating_point_v<T>)
      return std::fabs(x);
    else if constexpr (std::is_signed_v<T>)
      return x < 0 ? NegOp()(x) : x;
    else
      return x;
  }
};
struct SignOp {
  template <class T>
  ONNXTOOL_HD T operator()(T x) const {
    if constexpr (std::is_unsigned_v<T>)
      return x != 0;
    else
      return x > T{0} ? T{1} : x < T{0} ? T{-1} : x;  // zeros and NaN stay
  }
};
struct BitwiseNotOp {
  template <class T>
  ONNXTOOL_HD T operator()(T x) const {
    return ~x;
  }
};
struct SqrtOp {
  template <class T>
  ONNXTOOL_HD T operator()(T x) const {
    return std::sqrt(x);
  }
};
struct ReciprocalOp {
  template <class T>
  ONNXTOOL_HD T operator()(T x) const {
    return T{1} / x;
  }
};
struct CeilOp {
  template <class T>
  ONNXTOOL_HD T operator()(T x) const {
    return std::ceil(x);
  }
};
struct FloorOp {
  template <class T>
  ONNXTOOL_HD T operator()(T x) const {
    return std::floor(x);
  }
};
struct RoundOp {  // half to even
  template <class T>
  ONNXTOOL_HD T operator()(T x) const {
    return std::nearbyint(x);
  }
};
struct LogOp {
  template <class T>
  ONNXTOOL_HD T operator()(T x) const {
    return std::log(x);
  }
};
struct SinOp {
  template <class T>
  ONNXTOOL_HD T operator()(T x) const {
    return std::sin(x);
  }
};
struct CosOp {
  template <class T>
  ONNXTOOL_HD T operator()(T x) const {
    return std::cos(x);
  }
};
struct TanOp {
  template <class T>
  ONNXTOOL_HD T operator()(T x) const {
    return std::tan(x);
  }
};
struct AsinOp {
  template <class T>
  ONNXTOOL_HD T operator()(T x) const {
    return std::asin(x);
  }
};
struct AcosOp {
  template <class T>
  ONNXTOOL_HD T operator()(T x) const {
    return std::acos(x);
  }
};
struct AtanOp {
  template <class T>
  ONNXTOOL_HD T operator()(T x) const {
    return std::atan(x);
  }
};
struct SinhOp {
  template <class T>
  ONNXTOOL_HD T operator()(T x) const {
    return std::sinh(x);
  }
};
struct CoshOp {
  template <class T>
  ONNXTOOL_HD T operator()(T x) const {
    return std::cosh(x);
  }
};
struct AsinhOp {
  template <class T>
  ONNXTOOL_HD T operator()(T x) const {
    return std::asinh(x);
  }
};
struct AcoshOp {
  template <class T>
  ONNXTOOL_HD T operator()(T x) const {
    return std::acosh(x);
  }
};
struct AtanhOp {
  template <class T>
  ONNXTOOL_HD T operator()(T x) const {
    return std::atanh(x);
  }
};

template <class Op, class Types = WideFloats>
Status unary(KernelContext& ctx) {
  return map_unary(ctx, Types{}, Op());
}

struct ExpOp {
  template <class T>
  ONNXTOOL_HD T operator()(T x) const {
    return std::exp(x);
  }
};
struct ErfOp {
  template <class T>
  ONNXTOOL_HD T operator()(T x) const {
    return std::erf(x);
  }
};
struct TanhOp {
  template <class T>
  ONNXTOOL_HD T operator()(T x) const {
    return std::tanh(x);
  }
};

// float by a loop of vector_math where there is one, else by libm.
using VectorRun = void (*)(const float*, float*, int64_t);
template <class Op, VectorRun VectorMath::*vector>
Status vector_unary(KernelContext& ctx) {
#if defined(ONNXTOOL_DEVICE_KERNELS)
  return map_unary(ctx, WideFloats{}, Op());
#else
  const DataType type = ctx.input(0).dtype;
  if (wide_type(type) != DataType::kFloat) return map_unary(ctx, TypeList<double>{}, Op());
  const auto run = [](const void*, const void* x, void* y, int64_t n) {
    (vector_math().*vector)(static_cast<const float*>(x), static_cast<float*>(y), n);
  };
  return run_unary(ctx, 0, type, false, run, nullptr);
#endif
}

}  // namespace

constinit const KernelInfo kNeg{.op = "Neg",
                                .prepare = needs_inputs<1>,
                                .run = unary<NegOp, SignedTypes>,
                                .takes_layout = takes_any_layout};
constinit const KernelInfo kAbs{.op = "Abs",
                                .prepare = needs_inputs<1>,
                                .run = unary<AbsOp, WideTypes>,
                                .takes_layout = takes_any_layout};
constinit const KernelInfo kSign{.op = "Sign",
                                 .prepare = needs_inputs<1>,
                                 .run = unary<SignOp, WideTypes>,
                                 .takes_layout = takes_any_layout};
constinit const KernelInfo kBitwiseNot{
    .op = "BitwiseNot", .prepare = needs_inputs<1>, .run = unary<BitwiseNotOp, WideInts>};
constinit const KernelInfo kSqrt{.op = "Sqrt",
                                 .prepare = needs_inputs<1>,
                                 .run = unary<SqrtOp>,
                                 .takes_layout = takes_any_layout};
constinit const KernelInfo kReciprocal{.op = "Reciprocal",
                                       .prepare = needs_inputs<1>,
                                       .run = unary<ReciprocalOp>,
                                       .takes_layout = takes_any_layout};
constinit const KernelInfo kCeil{.op = "Ceil",
                                 .prepare = needs_inputs<1>,
                                 .run = unary<CeilOp>,
                                 .takes_layout = takes_any_layout};
constinit const KernelInfo kFloor{.op = "Floor",
                                  .prepare = needs_inputs<1>,
                                  .run = unary<FloorOp>,
                                  .takes_layout = takes_any_layout};
constinit const KernelInfo kRound{.op = "Round",
                                  .prepare = needs_inputs<1>,
                                  .run = unary<RoundOp>,
                                  .takes_layout = takes_any_layout};
constinit const KernelInfo kLog{
    .op = "Log", .prepare = needs_inputs<1>, .run = unary<LogOp>, .takes_layout = takes_any_layout};
constinit const KernelInfo kSin{
    .op = "Sin", .prepare = needs_inputs<1>, .run = unary<SinOp>, .takes_layout = takes_any_layout};
constinit const KernelInfo kCos{
    .op = "Cos", .prepare = needs_inputs<1>, .run = unary<CosOp>, .takes_layout = takes_any_layout};
constinit const KernelInfo kTan{
    .op = "Tan", .prepare = needs_inputs<1>, .run = unary<TanOp>, .takes_layout = takes_any_layout};
constinit const KernelInfo kAsin{.op = "Asin",
                                 .prepare = needs_inputs<1>,
                                 .run = unary<AsinOp>,
                                 .takes_layout = takes_any_layout};
constinit const KernelInfo kAcos{.op = "Acos",
                                 .prepare = needs_inputs<1>,
                                 .run = unary<AcosOp>,
                                 .takes_layout = takes_any_layout};
constinit const KernelInfo kAtan{.op = "Atan",
                                 .prepare = needs_inputs<1>,
                                 .run = unary<AtanOp>,
                                 .takes_layout = takes_any_layout};
constinit const KernelInfo kSinh{.op = "Sinh",
                                 .prepare = needs_inputs<1>,
                                 .run = unary<SinhOp>,
                                 .takes_layout = takes_any_layout};
constinit const KernelInfo kCosh{.op = "Cosh",
                                 .prepare = needs_inputs<1>,
                                 .run = unary<CoshOp>,
                                 .takes_layout = takes_any_layout};
constinit const KernelInfo kAsinh{.op = "Asinh",
                                  .prepare = needs_inputs<1>,
                                  .run = unary<AsinhOp>,
                                  .takes_layout = takes_any_layout};
constinit const KernelInfo kAcosh{.op = "Acosh",
                                  .prepare = needs_inputs<1>,
                                  .run = unary<AcoshOp>,
                                  .takes_layout = takes_any_layout};
constinit const KernelInfo kAtanh{.op = "Atanh",
                                  .prepare = needs_inputs<1>,
                                  .run = unary<AtanhOp>,
                                  .takes_layout = takes_any_layout};
constinit const KernelInfo kExp{.op = "Exp",
                                .prepare = needs_inputs<1>,
                                .run = vector_unary<ExpOp, &VectorMath::exp>,
                                .takes_layout = takes_any_layout};
constinit const KernelInfo kErf{.op = "Erf",
                                .prepare = needs_inputs<1>,
                                .run = vector_unary<ErfOp, &VectorMath::erf>,
                                .takes_layout = takes_any_layout};
constinit const KernelInfo kTanh{.op = "Tanh",
                                 .prepare = needs_inputs<1>,
                                 .run = vector_unary<TanhOp, &VectorMath::tanh>,
                                 .takes_layout = takes_any_layout};

}  // namespace onnxtool
