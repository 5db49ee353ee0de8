// com.microsoft.SkipLayerNormalization and its simplified form on a device: the host's attributes
// and checks, rows as norm.h has them.
#include "calib/kernels/cpu/skip_norm.cc"

#include "calib/kernels/cuda/norm.h"

namespace onnxtool {
namespace {

template <class T>
struct AddSkip {
  SkipRows<T> r;
  ONNXTOOL_HD void operator()(int64_t i) const {
    const int64_t column = i % r.size;
    r.sum[i] = r.x[i] + r.skip[i / r.size % r.skip_rows * r.size + column] +
               (r.bias ? r.bias[column] : T{0});
  }
};

}  // namespace

template <class T>
Status normalize(KernelContext& ctx, const SkipRows<T>& r) {
  device::RoundStatistics rounded{{}, r.mean, r.inverse};
  if (r.size == 0) rounded.of_nothing(r.rows);
  const int64_t count = r.rows * r.size;
  if (count == 0) return {};
  device::for_each_index(count, AddSkip<T>{r});
  ONNXTOOL_ASSIGN(rounded.from,
                  device::statistics_of(ctx, r.sum, r.rows, r.size, r.epsilon, r.centred));
  device::for_each_index(count, device::NormalizeElements<T>{
                                    r.sum, r.gamma, r.beta, r.y, device::Divider(r.size),
                                    rounded.from, device::Divider(1), device::Divider(r.size)});
  if (r.mean || r.inverse) device::for_each_index(r.rows, rounded);
  return {};
}
template Status normalize(KernelContext&, const SkipRows<float>&);
template Status normalize(KernelContext&, const SkipRows<double>&);

}  // namespace onnxtool
