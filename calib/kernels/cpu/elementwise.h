// Engines for elementwise operators: layouts, broadcasting, conversion of narrow types and the
// split into tasks happen here; an operator brings the loop over plain pointers.
#pragma once

#include "calib/kernels/cpu/convert.h"

namespace onnxtool {

#if defined(ONNXTOOL_DEVICE_KERNELS)
// A device's run is given whole tensors as they lie there (calib/kernels/cuda/elementwise.h).
struct UnaryWork;
struct BinaryWork;
using UnaryRun = void (*)(const void* closure, const UnaryWork&);
using BinaryRun = void (*)(const void* closure, const BinaryWork&);
#else
/// y[i] = f(x[i]) for n elements. x and y may be the same.
using UnaryRun = void (*)(const void* closure, const void* x, void* y, int64_t n);
/// As UnaryRun for two inputs that step by 0 or 1 elements.
using BinaryRun = void (*)(const void* closure, const void* a, int64_t a_step, const void* b,
                           int64_t b_step, void* out, int64_t n);
#endif

/// Output 0 from `x` in any layout. `run` sees elements of wide_type(x.dtype), or of x.dtype itself
/// when `raw`; it writes the same type, or bool bytes when `result` is kBool.
Status run_unary(KernelContext& ctx, int input, DataType result, bool raw, UnaryRun run,
                 const void* closure);

/// Output 0 from inputs a and b, which broadcast; the b view may have been given other dims than
/// the node's input. `run` as in run_unary. A result of a's (or b's) shape may replace it in
/// memory.
Status run_binary(KernelContext& ctx, const ConstView& a, const ConstView& b, DataType result,
                  bool raw, BinaryRun run, const void* closure);

/// dst = run(a, b) for `dst` of the broadcast shape; dst may be a or b when that has its shape.
void binary_into(KernelContext& ctx, const ConstView& a, const ConstView& b, const MutableView& dst,
                 bool raw, BinaryRun run, const void* closure);

/// Input `i`, with the dims that the broadcast rule of the node's opset gives it against input 0:
/// before opset 7, attributes `broadcast` and `axis`. `storage` holds the dims.
Result<ConstView> broadcast_operand(const KernelContext& ctx, int i, Dims& storage);

/// Elementwise kernels take every layout.
inline bool takes_any_layout(int, Layout) { return true; }

/// A copy in plain order, in scratch; the view itself when it is plain. For inputs that came in
/// layouts which do not fit each other: the plan avoids them.
Result<ConstView> in_plain_order(KernelContext& ctx, const ConstView& view);

/// Blocked layouts promise zeros in the padding of the last block; f(0) need not be 0.
void clear_padding(const MutableView& view);

/// Elements in memory, block padding included.
int64_t physical_count(std::span<const int64_t> dims, Layout layout, int64_t count);

}  // namespace onnxtool

#if defined(ONNXTOOL_DEVICE_KERNELS)
#include "calib/kernels/cuda/elementwise.h"
#else
namespace onnxtool {

// Loops. Pointers may be equal but never overlap otherwise, which ivdep tells the vectoriser.

template <class T, class R, class Op>
void map_loop(const Op& op, const T* x, R* y, int64_t n) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) y[i] = op(x[i]);
}

template <class T, class R, class Op>
void zip_loop(const Op& op, const T* a, int64_t a_step, const T* b, int64_t b_step, R* out,
              int64_t n) {
  if (a_step != 0 && b_step != 0) {
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) out[i] = op(a[i], b[i]);
  } else if (a_step != 0) {
    const T s = *b;
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) out[i] = op(a[i], s);
  } else if (b_step != 0) {
    const T s = *a;
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) out[i] = op(s, b[i]);
  } else {
    std::fill_n(out, n, static_cast<R>(op(*a, *b)));
  }
}

/// A run over elements of type T whose closure is an Op.
template <class T, class R, class Op>
void map_run(const void* op, const void* x, void* y, int64_t n) {
  map_loop(*static_cast<const Op*>(op), static_cast<const T*>(x), static_cast<R*>(y), n);
}
template <class T, class R, class Op>
void zip_run(const void* op, const void* a, int64_t a_step, const void* b, int64_t b_step,
             void* out, int64_t n) {
  zip_loop(*static_cast<const Op*>(op), static_cast<const T*>(a), a_step, static_cast<const T*>(b),
           b_step, static_cast<R*>(out), n);
}

}  // namespace onnxtool
#endif

namespace onnxtool {

/// y = op(x) for inputs whose wide type is one of `types`.
template <class... Ts, class Op>
Status map_unary(KernelContext& ctx, TypeList<Ts...> types, const Op& op) {
  const DataType type = ctx.input(0).dtype;
  if (is_packed(type)) return unsupported_type(type, "input 0");
  return dispatch(wide_type(type), types, "input 0", [&]<class T>() {
    return run_unary(ctx, 0, type, false, &map_run<T, T, Op>, &op);
  });
}
/// As map_unary with a bool result.
template <class... Ts, class Op>
Status test_unary(KernelContext& ctx, TypeList<Ts...> types, const Op& op) {
  return dispatch(wide_type(ctx.input(0).dtype), types, "input 0", [&]<class T>() {
    return run_unary(ctx, 0, DataType::kBool, false, &map_run<T, uint8_t, Op>, &op);
  });
}

using WideFloats = TypeList<float, double>;
using WideInts = TypeList<int32_t, int64_t, uint64_t>;

}  // namespace onnxtool
