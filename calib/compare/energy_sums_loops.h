// The loops of energy_sums.h. Included once by each file that is built for an ISA level, and made
// for that: everything is in an anonymous namespace and nothing of the library is instantiated, as
// the linker would keep one level's copy for all.

#include "calib/compare/energy_sums.h"

namespace onnxtool {
namespace {

constexpr int64_t kLanes = 8;
typedef double Doubles __attribute__((vector_size(8 * kLanes)));
typedef int64_t Bits __attribute__((vector_size(8 * kLanes)));
template <class T>
struct Loose {
  typedef T type __attribute__((vector_size(sizeof(T) * kLanes), aligned(alignof(T)), may_alias));
};

// Lanes do not wait for one another.
struct Lanes {
  Doubles signal = {}, error = {}, max_signal = {}, max_error = {};
  Doubles probe = {};  // NaN where a number is not finite

  __attribute__((always_inline)) void add(const Doubles& r, const Doubles& t) {
    const Doubles d = t - r, s = (Doubles)((Bits)r & INT64_MAX), m = (Doubles)((Bits)d & INT64_MAX);
    signal += r * r;
    error += d * d;
    max_signal = s > max_signal ? s : max_signal;
    max_error = m > max_error ? m : max_error;
    probe += (r + t) * 0.0;
  }
};

template <class T>
bool add_finite(const T* r, const T* t, int64_t count, PlainSums& sums) {
  using Vector = typename Loose<T>::type;
  Lanes lanes;
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    lanes.add(__builtin_convertvector(*(const Vector*)(r + i), Doubles),
              __builtin_convertvector(*(const Vector*)(t + i), Doubles));
  if (i < count) {
    Doubles a = {}, b = {};
    for (int64_t k = 0; i + k < count; ++k) {
      a[k] = r[i + k];
      b[k] = t[i + k];
    }
    lanes.add(a, b);
  }
  double all = 0;
  PlainSums block;
  for (int64_t k = 0; k < kLanes; ++k) {
    all += lanes.probe[k];
    block.signal += lanes.signal[k];
    block.error += lanes.error[k];
    block.max_signal =
        lanes.max_signal[k] > block.max_signal ? lanes.max_signal[k] : block.max_signal;
    block.max_error = lanes.max_error[k] > block.max_error ? lanes.max_error[k] : block.max_error;
  }
  if (!(all == 0)) return false;
  sums.signal += block.signal;
  sums.error += block.error;
  if (block.max_signal > sums.max_signal) sums.max_signal = block.max_signal;
  if (block.max_error > sums.max_error) sums.max_error = block.max_error;
  return true;
}

constexpr EnergySums kTable{add_finite<float>, add_finite<double>};

}  // namespace
}  // namespace onnxtool
