// Comparisons, logic on bools, and Where.

#include <cmath>

#include "calib/kernels/cpu/elementwise.h"
#include "calib/kernels/cpu/walk.h"

namespace onnxtool {
namespace {

struct EqualOp {
  template <class T>
  ONNXTOOL_HD uint8_t operator()(T a, T b) const {
    return a == b;
  }
};
struct LessOp {
  template <class T>
  ONNXTOOL_HD uint8_t operator()(T a, T b) const {
    return a < b;
  }
};
struct LessOrEqualOp {
  template <class T>
  ONNXTOOL_HD uint8_t operator()(T a, T b) const {
    return a <= b;
  }
};
struct GreaterOp {
  template <class T>
  ONNXTOOL_HD uint8_t operator()(T a, T b) const {
    return a > b;
  }
};
struct GreaterOrEqualOp {
  template <class T>
  ONNXTOOL_HD uint8_t operator()(T a, T b) const {
    return a >= b;
  }
};

template <class Op>
Status compare(KernelContext& ctx) {
  Dims storage;
  ONNXTOOL_ASSIGN(const ConstView b, broadcast_operand(ctx, 1, storage));
  const ConstView& a = ctx.input(0);
  const Op op;
  return dispatch(wide_type(a.dtype), WideTypes{}, "input 0", [&]<class T>() {
    return run_binary(ctx, a, b, DataType::kBool, false, &zip_run<T, uint8_t, Op>, &op);
  });
}

Status equal_strings(KernelContext& ctx, const ConstView& a, const ConstView& b) {
  if (b.dtype != DataType::kString)
    return bad_model("inputs are string and " + std::string(name(b.dtype)));
  ONNXTOOL_ASSIGN(const Dims dims, broadcast_dims({a.dims, b.dims}));
  ONNXTOOL_ASSIGN(const MutableView out, ctx.output(0, DataType::kBool, dims));
  const Walk<2> walk{dims, {broadcast_strides(a.dims, dims), broadcast_strides(b.dims, dims)}};
  const auto x = a.as<std::string>(), y = b.as<std::string>();
  const auto z = out.as<uint8_t>();
  parallel_walk<2>(ctx, walk, out.count, kGrain,
                   [&](int64_t first, int64_t n, const std::array<int64_t, 2>& offsets) {
                     for (int64_t i = 0; i < n; ++i)
                       z[static_cast<size_t>(first + i)] =
                           x[static_cast<size_t>(offsets[0] + i * walk.inner_stride(0))] ==
                           y[static_cast<size_t>(offsets[1] + i * walk.inner_stride(1))];
                   });
  return {};
}

Status equal(KernelContext& ctx) {
  Dims storage;
  if (ctx.input(0).dtype != DataType::kString) return compare<EqualOp>(ctx);
  ONNXTOOL_ASSIGN(const ConstView b, broadcast_operand(ctx, 1, storage));
  return equal_strings(ctx, ctx.input(0), b);
}

struct AndOp {
  ONNXTOOL_HD uint8_t operator()(uint8_t a, uint8_t b) const { return (a != 0) & (b != 0); }
};
struct OrOp {
  ONNXTOOL_HD uint8_t operator()(uint8_t a, uint8_t b) const { return (a | b) != 0; }
};
struct XorOp {
  ONNXTOOL_HD uint8_t operator()(uint8_t a, uint8_t b) const { return (a != 0) != (b != 0); }
};

Status check_bool(const ConstView& view) {
  if (view.dtype == DataType::kBool) return {};
  return bad_model("an input has element type " + std::string(name(view.dtype)) +
                   ", expected bool");
}

template <class Op>
Status logic(KernelContext& ctx) {
  Dims storage;
  ONNXTOOL_ASSIGN(const ConstView b, broadcast_operand(ctx, 1, storage));
  ONNXTOOL_TRY(check_bool(ctx.input(0)));
  const Op op;
  return run_binary(ctx, ctx.input(0), b, DataType::kBool, true, &zip_run<uint8_t, uint8_t, Op>,
                    &op);
}

struct NotOp {
  ONNXTOOL_HD uint8_t operator()(uint8_t x) const { return x == 0; }
};

Status logical_not(KernelContext& ctx) {
  ONNXTOOL_TRY(check_bool(ctx.input(0)));
  const NotOp op;
  return run_unary(ctx, 0, DataType::kBool, true, &map_run<uint8_t, uint8_t, NotOp>, &op);
}

struct IsNanOp {
  template <class T>
  ONNXTOOL_HD uint8_t operator()(T x) const {
    return x != x;
  }
};
struct IsInfOp {
  bool positive, negative;
  template <class T>
  ONNXTOOL_HD uint8_t operator()(T x) const {
    constexpr T kInfinity = std::numeric_limits<T>::infinity();
    return static_cast<uint8_t>((positive & (x == kInfinity)) | (negative & (x == -kInfinity)));
  }
};

Status is_nan(KernelContext& ctx) { return test_unary(ctx, WideFloats{}, IsNanOp()); }

Status is_inf(KernelContext& ctx) {
  const bool positive = ctx.node().attr_int("detect_positive", 1) != 0;
  const bool negative = ctx.node().attr_int("detect_negative", 1) != 0;
  return test_unary(ctx, WideFloats{}, IsInfOp{positive, negative});
}

#if !defined(ONNXTOOL_DEVICE_KERNELS)
template <class E>
void select(const uint8_t* condition, int64_t c_step, const E* x, int64_t x_step, const E* y,
            int64_t y_step, E* out, int64_t n) {
  if (c_step == 0) {
    const E* from = *condition != 0 ? x : y;
    const int64_t step = *condition != 0 ? x_step : y_step;
    if (step != 0)
      std::copy_n(from, n, out);
    else
      std::fill_n(out, n, *from);
  } else if (x_step != 0 && y_step != 0) {
    for (int64_t i = 0; i < n; ++i) out[i] = condition[i] != 0 ? x[i] : y[i];
  } else {
    for (int64_t i = 0; i < n; ++i) out[i] = condition[i] != 0 ? x[i * x_step] : y[i * y_step];
  }
}

void select_into(KernelContext& ctx, DataType type, const Walk<3>& walk, int64_t count,
                 const void* condition, const void* x, const void* y, void* out) {
  dispatch_movement(type, [&]<class E>() {
    parallel_walk<3>(ctx, walk, count, kGrain,
                     [&](int64_t first, int64_t n, const std::array<int64_t, 3>& offsets) {
                       select(static_cast<const uint8_t*>(condition) + offsets[0],
                              walk.inner_stride(0), static_cast<const E*>(x) + offsets[1],
                              walk.inner_stride(1), static_cast<const E*>(y) + offsets[2],
                              walk.inner_stride(2), static_cast<E*>(out) + first, n);
                     });
  });
}
#endif

Status where(KernelContext& ctx) {
  ONNXTOOL_TRY(check_bool(ctx.input(0)));
  if (ctx.input(1).dtype != ctx.input(2).dtype)
    return bad_model("inputs 1 and 2 have element types " + std::string(name(ctx.input(1).dtype)) +
                     " and " + std::string(name(ctx.input(2).dtype)) + ", expected equal ones");
  const ConstView& condition = ctx.input(0);
  ONNXTOOL_ASSIGN(const ConstView x, unpacked(ctx, ctx.input(1)));
  ONNXTOOL_ASSIGN(const ConstView y, unpacked(ctx, ctx.input(2)));
  ONNXTOOL_ASSIGN(const Dims dims, broadcast_dims({condition.dims, x.dims, y.dims}));
  ONNXTOOL_ASSIGN(const MovedOutput out, MovedOutput::make(ctx, 0, ctx.input(1).dtype, dims));
  Walk<3> walk{dims,
               {broadcast_strides(condition.dims, dims), broadcast_strides(x.dims, dims),
                broadcast_strides(y.dims, dims)}};
  walk.coalesce();
  select_into(ctx, x.dtype, walk, out.count(), condition.data, x.data, y.data, out.data());
  out.finish();
  return {};
}

}  // namespace

constinit const KernelInfo kEqual{.op = "Equal", .prepare = needs_inputs<2>, .run = equal};
constinit const KernelInfo kLess{.op = "Less", .prepare = needs_inputs<2>, .run = compare<LessOp>};
constinit const KernelInfo kLessOrEqual{
    .op = "LessOrEqual", .prepare = needs_inputs<2>, .run = compare<LessOrEqualOp>};
constinit const KernelInfo kGreater{
    .op = "Greater", .prepare = needs_inputs<2>, .run = compare<GreaterOp>};
constinit const KernelInfo kGreaterOrEqual{
    .op = "GreaterOrEqual", .prepare = needs_inputs<2>, .run = compare<GreaterOrEqualOp>};
constinit const KernelInfo kAnd{.op = "And", .prepare = needs_inputs<2>, .run = logic<AndOp>};
constinit const KernelInfo kOr{.op = "Or", .prepare = needs_inputs<2>, .run = logic<OrOp>};
constinit const KernelInfo kXor{.op = "Xor", .prepare = needs_inputs<2>, .run = logic<XorOp>};
constinit const KernelInfo kNot{.op = "Not", .prepare = needs_inputs<1>, .run = logical_not};
constinit const KernelInfo kIsNaN{.op = "IsNaN", .prepare = needs_inputs<1>, .run = is_nan};
constinit const KernelInfo kIsInf{.op = "IsInf", .prepare = needs_inputs<1>, .run = is_inf};
constinit const KernelInfo kWhere{.op = "Where", .prepare = needs_inputs<3>, .run = where};

}  // namespace onnxtool
