// Work that is written once for the host and for a device: functors over cells of rows and columns,
// parameters that they read, whole buffers.
#pragma once

#include <cstring>

#include "calib/kernels/cpu/convert.h"

#if defined(ONNXTOOL_DEVICE_KERNELS)
#include "calib/kernels/cuda/device.h"
#include "calib/kernels/cuda/divider.h"
#endif

namespace onnxtool {

#if defined(ONNXTOOL_DEVICE_KERNELS)

void device_convert(DataType from, const void* in, DataType to, void* out, int64_t count);

namespace device {
template <class F>
struct Cells {
  F f;
  Divider columns;
  ONNXTOOL_HD void operator()(int64_t i) const {
    int64_t row = i;
    const int64_t column = columns.split(row);
    f.row(row)(column);
  }
};
}  // namespace device

template <class F>
void for_each_cell(KernelContext&, int64_t rows, int64_t columns, const F& f) {
  device::for_each_index(rows * columns, device::Cells<F>{f, device::Divider(columns)});
}

template <class T>
Result<const T*> shared_values(KernelContext& ctx, const std::vector<T>& values) {
  const size_t size = values.size() * sizeof(T);
  ONNXTOOL_ASSIGN(void* to, ctx.scratch(size));
  if (size) device::upload(to, values.data(), size);
  return static_cast<const T*>(to);
}

inline void convert_into(KernelContext&, DataType from, const void* in, const MutableView& out) {
  device_convert(from, in, out.dtype, out.data, out.count);
}
inline void clear_memory(void* to, size_t size) {
  if (size) device::fill_bytes(to, 0, size);
}
inline void copy_memory(void* to, const void* from, size_t size) {
  if (size) device::copy_bytes(to, from, size);
}

template <class F>
void for_each_row(KernelContext&, int64_t rows, int64_t, const F& f) {
  device::for_each_index(rows, f);
}

#else

/// f.row(r)(c) for every cell, in any order; rows * columns is the count of an existing tensor's
/// elements. row() and the call of what it returns carry ONNXTOOL_HD.
template <class F>
void for_each_cell(KernelContext& ctx, int64_t rows, int64_t columns, const F& f) {
  ctx.parallel(columns == 0 ? 0 : rows, grain_of(columns), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const auto row = f.row(r);
      for (int64_t c = 0; c < columns; ++c) row(c);
    }
  });
}

/// Host memory as functors see it, valid until run() returns: `values` themselves, which must live
/// as long, or a copy on the device.
template <class T>
Result<const T*> shared_values(KernelContext&, const std::vector<T>& values) {
  return values.data();
}

/// All elements of `out` from as many of type `from`, as Cast converts them.
inline void convert_into(KernelContext& ctx, DataType from, const void* in,
                         const MutableView& out) {
  ctx.parallel(out.count, kGrain, [&](int64_t begin, int64_t end) {
    convert_elements(from, in, out.dtype, out.data, begin, end - begin);
  });
}
inline void clear_memory(void* to, size_t size) {
  if (size) std::memset(to, 0, size);
}
inline void copy_memory(void* to, const void* from, size_t size) {
  if (size) std::memcpy(to, from, size);
}

/// f(r) for every row, in any order; each is work on `length` elements.
template <class F>
void for_each_row(KernelContext& ctx, int64_t rows, int64_t length, const F& f) {
  ctx.parallel(rows, grain_of(length), [&](int64_t begin, int64_t end) {
    const F own = f;  // whose members no store of an element can be taken to change
    for (int64_t r = begin; r < end; ++r) own(r);
  });
}

#endif

}  // namespace onnxtool
