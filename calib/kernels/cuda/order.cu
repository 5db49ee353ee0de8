// ArgMax, ArgMin, TopK, CumSum and CumProd on a device; attributes and checks are cpu/order.cc's.
// What is equal on the host is equal here: extremes do not depend on the order of comparisons, and
// a running sum is one thread's work.

#include "calib/kernels/cpu/convert.h"
#include "calib/kernels/cuda/lines.h"

namespace onnxtool {
namespace {

// The greatest (or least) of a line. NaN beats all but an earlier NaN; where the last of equals is
// wanted, one at the line's begin only.
template <bool max, class T>
struct ExtremeLine {
  struct Part {
    T value;
    int64_t at;  // -1: none yet
  };
  device::Lines lines;
  const T* x;
  int64_t* out;
  bool last;
  ONNXTOOL_HD int64_t length() const { return lines.n; }
  ONNXTOOL_HD Part start() const { return {T{0}, -1}; }
  ONNXTOOL_HD void add(Part& part, int64_t line, int64_t i) const {
    const T v = x[lines.start(line) + i * lines.inner];
    if (!(last && v != v && i > 0)) merge(part, {v, i});
  }
  ONNXTOOL_HD void merge(Part& a, const Part& b) const {
    if (b.at < 0) return;
    if (a.at < 0 || ahead(b, a)) a = b;
  }
  ONNXTOOL_HD bool ahead(const Part& b, const Part& a) const {
    const bool a_nan = a.value != a.value, b_nan = b.value != b.value;
    if (a_nan || b_nan) return b_nan && (!a_nan || b.at < a.at);
    if (b.value != a.value) return (b.value > a.value) == max;
    return last ? b.at > a.at : b.at < a.at;
  }
  ONNXTOOL_HD void finish(int64_t line, const Part& part) const { out[line] = part.at; }
};

template <bool max, class T>
void find_extremes(KernelContext&, const T* in, const LineShape& shape, bool last, int64_t* out) {
  const device::Lines lines(shape.n, shape.inner);
  device::reduce_lines(shape.outer * shape.inner, ExtremeLine<max, T>{lines, in, out, last},
                       shape.inner > 1);
}

// The first element behind the one that was taken `before`, in the order of TopK.
template <class T>
struct NextLine {
  struct Part {
    T value;
    int64_t at;  // -1: none yet
  };
  device::Lines lines, taken;  // of the input, and of the outputs
  const T* x;
  int64_t* indices;
  void* values;
  DataType type;
  int64_t step;
  bool largest;
  ONNXTOOL_HD int64_t length() const { return lines.n; }
  ONNXTOOL_HD Part start() const { return {T{0}, -1}; }
  ONNXTOOL_HD T value(int64_t line, int64_t i) const {
    return x[lines.start(line) + i * lines.inner];
  }
  ONNXTOOL_HD void add(Part& part, int64_t line, int64_t i) const {
    const Part here{value(line, i), i};
    if (step > 0) {
      const int64_t before = indices[taken.start(line) + (step - 1) * taken.inner];
      if (!ahead({value(line, before), before}, here)) return;
    }
    merge(part, here);
  }
  ONNXTOOL_HD void merge(Part& a, const Part& b) const {
    if (b.at < 0) return;
    if (a.at < 0 || ahead(b, a)) a = b;
  }
  // NaN is the greatest value; equal ones keep the order of their indices.
  ONNXTOOL_HD bool ahead(const Part& p, const Part& q) const {
    const bool p_nan = p.value != p.value, q_nan = q.value != q.value;
    const bool greater = p_nan ? !q_nan : !q_nan && p.value > q.value;
    const bool less = q_nan ? !p_nan : !p_nan && p.value < q.value;
    if (greater || less) return greater == largest;
    return p.at < q.at;
  }
  ONNXTOOL_HD void finish(int64_t line, const Part& part) const {
    const int64_t to = taken.start(line) + step * taken.inner;
    indices[to] = part.at;
    device::store<T>(type, values, to, part.value);
  }
};

template <class T>
void find_first(KernelContext&, const T* in, const LineShape& shape, int64_t k, bool largest,
                DataType type, void* values, int64_t* indices) {
  const device::Lines lines(shape.n, shape.inner), taken(k, shape.inner);
  for (int64_t step = 0; step < k; ++step)
    device::reduce_lines(shape.outer * shape.inner,
                         NextLine<T>{lines, taken, in, indices, values, type, step, largest},
                         shape.inner > 1);
}

template <class Op, class T>
struct CumulateLine {
  device::Lines lines;
  const T* x;
  T* y;
  bool exclusive, reverse;
  ONNXTOOL_HD void operator()(int64_t line) const {
    const int64_t first = lines.start(line);
    T sum{Op::kStart};
    for (int64_t step = 0; step < lines.n; ++step) {
      const int64_t at = first + (reverse ? lines.n - 1 - step : step) * lines.inner;
      const T value = x[at];
      if (exclusive) y[at] = sum;
      // The first value is taken as it is, since 0 + -0 is another; but not where 0 goes before it.
      sum = step == 0 && !exclusive ? value : Op()(sum, value);
      if (!exclusive) y[at] = sum;
    }
  }
};

template <class Op, class T>
void cumulate_lines(KernelContext&, const T* in, const LineShape& shape, bool exclusive,
                    bool reverse, T* out) {
  device::for_each_index(
      shape.outer * shape.inner,
      CumulateLine<Op, T>{device::Lines(shape.n, shape.inner), in, out, exclusive, reverse});
}

}  // namespace
}  // namespace onnxtool

#include "calib/kernels/cpu/order.cc"
