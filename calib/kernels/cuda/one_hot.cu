// OneHot on a device; attributes and checks are cpu/one_hot.cc's.

#include <string>

#include "calib/kernels/cuda/elements.h"

namespace onnxtool {
namespace {

template <class E>
struct HotElements {
  const int64_t* indices;
  const E* off_on;
  E* y;
  device::Divider inner, depth;
  ONNXTOOL_HD void operator()(int64_t i) const {
    int64_t o = i;
    const int64_t column = inner.split(o), at = depth.split(o);
    const int64_t index = indices[o * inner.by() + column];
    y[i] = off_on[(index < 0 ? index + depth.by() : index) == at ? 1 : 0];
  }
};

template <class E>
void put_hot(KernelContext&, const int64_t* indices, const LineShape& shape, const E* off_on,
             E* out) {
  if constexpr (std::is_trivially_copyable_v<E>)  // strings stay on the host
    device::for_each_index(shape.outer * shape.n * shape.inner,
                           HotElements<E>{indices, off_on, out, device::Divider(shape.inner),
                                          device::Divider(shape.n)});
}

}  // namespace
}  // namespace onnxtool

#include "calib/kernels/cpu/one_hot.cc"
