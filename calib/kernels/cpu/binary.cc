// Arithmetic on two tensors that broadcast, and the variadic Sum, Mean, Min and Max.
//
// Integers wrap. Division by zero is an error for integers; the lowest integer divided by -1 wraps.

#include <algorithm>
#include <cmath>

#include "calib/kernels/cpu/elementwise.h"
#include "calib/kernels/cpu/vector_math.h"
#include "calib/kernels/cpu/walk.h"

namespace onnxtool {
namespace {

struct AddOp {
  template <class T>
  ONNXTOOL_HD T operator()(T a, T b) const {
    if constexpr (std::is_integral_v<T>)
      return static_cast<T>(std::make_unsigned_t<T>(a) + std::make_unsigned_t<T>(b));
    else
      return a + b;
  }
};
struct SubOp {
  template <class T>
  ONNXTOOL_HD T operator()(T a, T b) const {
    if constexpr (std::is_integral_v<T>)
      return static_cast<T>(std::make_unsigned_t<T>(a) - std::make_unsigned_t<T>(b));
    else
      return a - b;
  }
};
struct MulOp {
  template <class T>
  ONNXTOOL_HD T operator()(T a, T b) const {
    if constexpr (std::is_integral_v<T>)
      return static_cast<T>(std::make_unsigned_t<T>(a) * std::make_unsigned_t<T>(b));
    else
      return a * b;
  }
};
struct DivOp {
  template <class T>
  ONNXTOOL_HD T operator()(T a, T b) const {
    if constexpr (std::is_signed_v<T> && std::is_integral_v<T>)
      return b == T{-1} ? static_cast<T>(std::make_unsigned_t<T>(0) - std::make_unsigned_t<T>(a))
                        : static_cast<T>(a / b);
    else
      return a / b;
  }
};
// NaN in either input gives NaN, as numpy's minimum and maximum do.
struct MinOp {
  template <class T>
  ONNXTOOL_HD T operator()(T a, T b) const {
    return a < b || a != a ? a : b;
  }
};
struct MaxOp {
  template <class T>
  ONNXTOOL_HD T operator()(T a, T b) const {
    return a > b || a != a ? a : b;
  }
};

// Mod with fmod = 0: the sign of the divisor, as Python's %, for zeros too.
struct FloorModOp {
  template <class T>
  ONNXTOOL_HD T operator()(T a, T b) const {
    if constexpr (std::is_floating_point_v<T>) {
      const T r = std::fmod(a, b);
      if (r == 0) return std::copysign(r, b);
      return (r < 0) != (b < 0) ? r + b : r;
    } else {
      if constexpr (std::is_signed_v<T>)
        if (b == T{-1}) return 0;
      const T r = static_cast<T>(a % b);
      return r != 0 && ((r < 0) != (b < 0)) ? static_cast<T>(r + b) : r;
    }
  }
};
// Mod with fmod = 1: the sign of the dividend, as C.
struct TruncModOp {
  template <class T>
  ONNXTOOL_HD T operator()(T a, T b) const {
    if constexpr (std::is_floating_point_v<T>) {
      return std::fmod(a, b);
    } else {
      if constexpr (std::is_signed_v<T>)
        if (b == T{-1}) return 0;
      return static_cast<T>(a % b);
    }
  }
};

#if !defined(ONNXTOOL_DEVICE_KERNELS)
// The float run of a vector_math entry, whose address is the closure.
using VectorRun = void (*)(const float*, int64_t, const float*, int64_t, float*, int64_t);
void vector_run(const void* closure, const void* a, int64_t a_step, const void* b, int64_t b_step,
                void* out, int64_t n) {
  (*static_cast<const VectorRun*>(closure))(static_cast<const float*>(a), a_step,
                                            static_cast<const float*>(b), b_step,
                                            static_cast<float*>(out), n);
}
#endif

template <class Op, class... Ts>
Status zip_types(KernelContext& ctx, const ConstView& b, TypeList<Ts...> types) {
  const Op op;
  const ConstView& a = ctx.input(0);
  return dispatch(wide_type(a.dtype), types, "input 0", [&]<class T>() {
    return run_binary(ctx, a, b, a.dtype, false, &zip_run<T, T, Op>, &op);
  });
}

#if defined(ONNXTOOL_DEVICE_KERNELS)
template <class Op>
Status float_arithmetic(KernelContext& ctx, const ConstView& b) {
  return zip_types<Op>(ctx, b, TypeList<float>{});
}
#else
// The loops of vector_math that do what an Op does.
template <class Op>
constexpr VectorRun VectorMath::*kVector = nullptr;
template <>
constexpr VectorRun VectorMath::*kVector<AddOp> = &VectorMath::add;
template <>
constexpr VectorRun VectorMath::*kVector<SubOp> = &VectorMath::sub;
template <>
constexpr VectorRun VectorMath::*kVector<MulOp> = &VectorMath::mul;
template <>
constexpr VectorRun VectorMath::*kVector<DivOp> = &VectorMath::div;

template <class Op>
Status float_arithmetic(KernelContext& ctx, const ConstView& b) {
  return run_binary(ctx, ctx.input(0), b, ctx.input(0).dtype, false, vector_run,
                    &(vector_math().*kVector<Op>));
}
#endif

template <class Op>
Status arithmetic(KernelContext& ctx) {
  Dims storage;
  ONNXTOOL_ASSIGN(const ConstView b, broadcast_operand(ctx, 1, storage));
  if (wide_type(ctx.input(0).dtype) == DataType::kFloat) return float_arithmetic<Op>(ctx, b);
  return zip_types<Op>(ctx, b, TypeList<double, int32_t, int64_t, uint64_t>{});
}

// Integers divide without a check in the loop.
Status check_divisor(const ConstView& b) {
  if (is_float(b.dtype) || wide_type(b.dtype) == DataType::kFloat || is_packed(b.dtype)) return {};
  Status status;
  dispatch_movement(b.dtype, [&]<class E>() {
    if constexpr (std::is_integral_v<E>) {
      const E* values = static_cast<const E*>(b.data);
      const int64_t count = physical_count(b.dims, b.layout, b.count);
      const E* zero = std::find(values, values + count, E{0});
      if (zero != values + count && b.layout == Layout::kPlain)
        status = mismatch("integer division by zero: element " + std::to_string(zero - values) +
                          " of input 1");
      else if (zero != values + count)
        status = mismatch("integer division by zero in input 1");
    }
  });
  return status;
}

Status div(KernelContext& ctx) {
  ONNXTOOL_TRY(check_divisor(ctx.input(1)));
  return arithmetic<DivOp>(ctx);
}

Status mod(KernelContext& ctx) {
  ONNXTOOL_TRY(check_divisor(ctx.input(1)));
  if (ctx.node().attr_int("fmod", 0) != 0)
    return zip_types<TruncModOp>(ctx, ctx.input(1), WideTypes{});
  return zip_types<FloorModOp>(ctx, ctx.input(1), WideTypes{});
}

// Squares and cubes are common (variance, the tanh form of Gelu) and exact to the last place here;
// pow() is a hundred times slower.
struct PowOp {
  template <class T>
  ONNXTOOL_HD T operator()(T a, T b) const {
    if constexpr (std::is_floating_point_v<T>) {
      return std::pow(a, b);
    } else {
      if constexpr (std::is_signed_v<T>)
        if (b < 0) return a == 1 ? T{1} : a == T{-1} ? (b % 2 != 0 ? T{-1} : T{1}) : T{0};
      using U = std::make_unsigned_t<T>;
      U result = 1, base = static_cast<U>(a);
      for (U e = static_cast<U>(b); e != 0; e >>= 1) {
        if ((e & 1) != 0) result *= base;
        base *= base;
      }
      return static_cast<T>(result);
    }
  }
};

#if defined(ONNXTOOL_DEVICE_KERNELS)
constexpr BinaryRun pow_run_f32 = zip_run<float, float, PowOp>;
#else
void pow_run_f32(const void* op, const void* a, int64_t a_step, const void* b, int64_t b_step,
                 void* out, int64_t n) {
  const float* x = static_cast<const float*>(a);
  float* y = static_cast<float*>(out);
  const float exponent = *static_cast<const float*>(b);
  if (a_step != 0 && b_step == 0 && exponent == 2.0f) {
    map_loop([](float v) { return v * v; }, x, y, n);
  } else if (a_step != 0 && b_step == 0 && exponent == 3.0f) {
    map_loop([](float v) { return static_cast<float>(static_cast<double>(v) * v * v); }, x, y, n);
  } else {
    zip_run<float, float, PowOp>(op, a, a_step, b, b_step, out, n);
  }
}
#endif

// The result has the base's type. The exponent is converted to it, but for an integer base with a
// fraction as exponent: that is computed in double.
Status pow(KernelContext& ctx) {
  const ConstView& a = ctx.input(0);
  Dims storage;
  ONNXTOOL_ASSIGN(ConstView b, broadcast_operand(ctx, 1, storage));
  const auto fractional = [](DataType t) {
    return wide_type(t) == DataType::kFloat || wide_type(t) == DataType::kDouble;
  };
  const PowOp op;
  if (!fractional(a.dtype) && fractional(b.dtype)) {
    ONNXTOOL_ASSIGN(const ConstView x, converted(ctx, a, DataType::kDouble));
    ONNXTOOL_ASSIGN(const ConstView y, converted(ctx, b, DataType::kDouble));
    ONNXTOOL_ASSIGN(const Dims dims, broadcast_dims({x.dims, y.dims}));
    ONNXTOOL_ASSIGN(const MutableView out, ctx.output(0, a.dtype, dims));
    ONNXTOOL_ASSIGN(void* buffer, ctx.scratch(static_cast<size_t>(out.count) * sizeof(double)));
    MutableView wide = out;
    wide.dtype = DataType::kDouble;
    wide.data = buffer;
    binary_into(ctx, x, y, wide, true, &zip_run<double, double, PowOp>, &op);
    convert_elements(DataType::kDouble, buffer, a.dtype, out.data, 0, out.count);
    return {};
  }
  ONNXTOOL_ASSIGN(b, converted(ctx, b, a.dtype));
  if (wide_type(a.dtype) == DataType::kFloat)
    return run_binary(ctx, a, b, a.dtype, false, pow_run_f32, &op);
  return zip_types<PowOp>(ctx, b, TypeList<double, int32_t, int64_t, uint64_t>{});
}

struct ShiftLeftOp {
  template <class T>
  ONNXTOOL_HD T operator()(T a, T b) const {
    using U = std::make_unsigned_t<T>;
    return static_cast<U>(b) >= 8 * sizeof(T) ? T{0} : static_cast<T>(static_cast<U>(a) << b);
  }
};
// Signed numbers keep their sign. Shifts by a negative or too large number leave only sign bits.
struct ShiftRightOp {
  template <class T>
  ONNXTOOL_HD T operator()(T a, T b) const {
    using U = std::make_unsigned_t<T>;
    if (static_cast<U>(b) < 8 * sizeof(T)) return static_cast<T>(a >> b);
    return a < T{0} ? static_cast<T>(~T{0}) : T{0};
  }
};

Status bit_shift(KernelContext& ctx) {
  const std::string_view direction = ctx.node().attr_string("direction", "");
  if (direction == "LEFT") return zip_types<ShiftLeftOp>(ctx, ctx.input(1), WideInts{});
  if (direction == "RIGHT") return zip_types<ShiftRightOp>(ctx, ctx.input(1), WideInts{});
  return bad_model("direction is '" + std::string(direction) + "', expected LEFT or RIGHT");
}

struct BitAndOp {
  template <class T>
  ONNXTOOL_HD T operator()(T a, T b) const {
    return a & b;
  }
};
struct BitOrOp {
  template <class T>
  ONNXTOOL_HD T operator()(T a, T b) const {
    return a | b;
  }
};
struct BitXorOp {
  template <class T>
  ONNXTOOL_HD T operator()(T a, T b) const {
    return a ^ b;
  }
};
template <class Op>
Status bitwise(KernelContext& ctx) {
  return zip_types<Op>(ctx, ctx.input(1), WideInts{});
}

// The first operand, divided.
template <class T>
struct DivideOp {
  T divisor;
  ONNXTOOL_HD T operator()(T a, T) const { return static_cast<T>(a / divisor); }
};

// All inputs by Op, pair by pair in order. `mean` divides by their number.
template <class Op>
Status fold_inputs(KernelContext& ctx, bool mean = false) {
  const int n = ctx.node().num_inputs();
  const ConstView& first = ctx.input(0);
  if (n == 1) return ctx.output_view(0, 0, first.dims);
  if (is_packed(first.dtype)) return unsupported_type(first.dtype, "input 0");
  Dims dims = to_dims(first.dims);
  for (int i = 1; i < n; ++i) {
    if (ctx.input(i).dtype != first.dtype)
      return bad_model("inputs have element types " + std::string(name(first.dtype)) + " and " +
                       std::string(name(ctx.input(i).dtype)) + ", expected equal ones");
    ONNXTOOL_ASSIGN(dims, broadcast_dims({dims, ctx.input(i).dims}));
  }
  ONNXTOOL_ASSIGN(const MutableView out, ctx.output(0, first.dtype, dims));
  return dispatch(wide_type(first.dtype), WideTypes{}, "input 0", [&]<class T>() -> Status {
    const Op op;
    const ConstView sum{out.dtype, out.dims, out.data, out.count};
    binary_into(ctx, first, ctx.input(1), out, false, &zip_run<T, T, Op>, &op);
    for (int i = 2; i < n; ++i)
      binary_into(ctx, sum, ctx.input(i), out, false, &zip_run<T, T, Op>, &op);
    if (!mean) return {};
    const DivideOp<T> divide{static_cast<T>(n)};
    binary_into(ctx, sum, sum, out, false, &zip_run<T, T, DivideOp<T>>, &divide);
    return {};
  });
}

Status sum(KernelContext& ctx) { return fold_inputs<AddOp>(ctx); }
Status mean(KernelContext& ctx) { return fold_inputs<AddOp>(ctx, true); }
Status min(KernelContext& ctx) { return fold_inputs<MinOp>(ctx); }
Status max(KernelContext& ctx) { return fold_inputs<MaxOp>(ctx); }

// What a check before the loop refuses cannot be looked at on a device, nor what changes types.
bool divides(const NodeView& node) { return !kDeviceKernels || is_float(node.input_dtype(0)); }
bool raises(const NodeView& node) {
  return !kDeviceKernels || node.input_dtype(0) == node.input_dtype(1);
}

}  // namespace

constinit const KernelInfo kAdd{.op = "Add",
                                .prepare = needs_inputs<2>,
                                .run = arithmetic<AddOp>,
                                .takes_layout = takes_any_layout};
constinit const KernelInfo kSub{.op = "Sub",
                                .prepare = needs_inputs<2>,
                                .run = arithmetic<SubOp>,
                                .takes_layout = takes_any_layout};
constinit const KernelInfo kMul{.op = "Mul",
                                .prepare = needs_inputs<2>,
                                .run = arithmetic<MulOp>,
                                .takes_layout = takes_any_layout};
constinit const KernelInfo kDiv{.op = "Div",
                                .prepare = needs_inputs<2>,
                                .run = div,
                                .accepts = divides,
                                .takes_layout = takes_any_layout};
constinit const KernelInfo kMod{
    .op = "Mod", .prepare = needs_inputs<2>, .run = mod, .accepts = divides};
constinit const KernelInfo kPow{
    .op = "Pow", .prepare = needs_inputs<2>, .run = pow, .accepts = raises};
constinit const KernelInfo kBitShift{
    .op = "BitShift", .prepare = needs_inputs<2>, .run = bit_shift};
constinit const KernelInfo kBitwiseAnd{
    .op = "BitwiseAnd", .prepare = needs_inputs<2>, .run = bitwise<BitAndOp>};
constinit const KernelInfo kBitwiseOr{
    .op = "BitwiseOr", .prepare = needs_inputs<2>, .run = bitwise<BitOrOp>};
constinit const KernelInfo kBitwiseXor{
    .op = "BitwiseXor", .prepare = needs_inputs<2>, .run = bitwise<BitXorOp>};
constinit const KernelInfo kSum{.op = "Sum", .prepare = needs_every_input, .run = sum};
constinit const KernelInfo kMean{.op = "Mean", .prepare = needs_every_input, .run = mean};
constinit const KernelInfo kMin{.op = "Min", .prepare = needs_every_input, .run = min};
constinit const KernelInfo kMax{.op = "Max", .prepare = needs_every_input, .run = max};

}  // namespace onnxtool
