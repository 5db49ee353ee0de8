// The loops of elementwise operators on a device; cpu/elementwise.h takes them in place of its own
// where it is compiled for one.
#pragma once

#include "calib/kernels/cuda/elements.h"

namespace onnxtool {

/// y[i] = op(x[i]); x and y may be the same memory.
struct UnaryWork {
  DataType type;
  const void* x;
  DataType result;
  void* y;
  int64_t count;
};

/// out[i] = op(a, b) at the walk's offsets; out may be an operand of the same shape.
struct BinaryWork {
  DataType type;
  const void *a, *b;
  DataType result;
  void* out;
  int64_t count;
  device::StridedWalk<2> walk;
};

namespace device {

// bool and 8-bit results of tests are bytes.
template <class R>
ONNXTOOL_HD void put(DataType type, void* data, int64_t i, R value) {
  if constexpr (std::is_same_v<R, uint8_t>)
    static_cast<uint8_t*>(data)[i] = value;
  else
    store<R>(type, data, i, value);
}

template <class T, class R, class Op>
struct MapElements {
  Op op;
  UnaryWork w;
  ONNXTOOL_HD void operator()(int64_t i) const {
    put<R>(w.result, w.y, i, op(load<T>(w.type, w.x, i)));
  }
};

template <class T, class R, class Op>
struct ZipElements {
  Op op;
  BinaryWork w;
  ONNXTOOL_HD void operator()(int64_t i) const {
    int64_t at[2];
    w.walk.offsets(i, at);
    put<R>(w.result, w.out, i, op(load<T>(w.type, w.a, at[0]), load<T>(w.type, w.b, at[1])));
  }
};

}  // namespace device

template <class T, class R, class Op>
void map_run(const void* op, const UnaryWork& work) {
  device::for_each_index(work.count,
                         device::MapElements<T, R, Op>{*static_cast<const Op*>(op), work});
}
template <class T, class R, class Op>
void zip_run(const void* op, const BinaryWork& work) {
  device::for_each_index(work.count,
                         device::ZipElements<T, R, Op>{*static_cast<const Op*>(op), work});
}

/// out[i] = condition ? x : y at the walk's offsets (condition, x, y); elements move by size.
void select_into(KernelContext& ctx, DataType type, const Walk<3>& walk, int64_t count,
                 const void* condition, const void* x, const void* y, void* out);

}  // namespace onnxtool
