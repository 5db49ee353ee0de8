// What the Reduce operators compute, apart from the loops: steps, and how elements fall to outputs.
#pragma once

#include "calib/kernels/cpu/convert.h"
#include "calib/kernels/cpu/walk.h"

namespace onnxtool {

/// Sums and products of floats accumulate in double; integers wrap.
template <class T>
using Accumulator = std::conditional_t<std::is_floating_point_v<T>, double, uint64_t>;

struct SumStep {
  template <class T>
  using Acc = Accumulator<T>;
  template <class T>
  ONNXTOOL_HD static Acc<T> start() {
    return 0;
  }
  template <class T>
  ONNXTOOL_HD static Acc<T> step(Acc<T> acc, T x) {
    return acc + static_cast<Acc<T>>(x);
  }
  template <class A>
  ONNXTOOL_HD static A merge(A a, A b) {
    return a + b;
  }
};
struct SumSquareStep : SumStep {
  template <class T>
  ONNXTOOL_HD static Acc<T> step(Acc<T> acc, T x) {
    return acc + static_cast<Acc<T>>(x) * static_cast<Acc<T>>(x);
  }
};
struct SumAbsStep : SumStep {
  template <class T>
  ONNXTOOL_HD static Acc<T> step(Acc<T> acc, T x) {
    const auto wide = static_cast<Acc<T>>(x);
    return acc + (x < T{0} ? Acc<T>{0} - wide : wide);
  }
};
struct ProdStep {
  template <class T>
  using Acc = Accumulator<T>;
  template <class T>
  ONNXTOOL_HD static Acc<T> start() {
    return 1;
  }
  template <class T>
  ONNXTOOL_HD static Acc<T> step(Acc<T> acc, T x) {
    return acc * static_cast<Acc<T>>(x);
  }
  template <class A>
  ONNXTOOL_HD static A merge(A a, A b) {
    return a * b;
  }
};
// NaN wins.
struct MaxStep {
  template <class T>
  using Acc = T;
  template <class T>
  ONNXTOOL_HD static T start() {
    return std::is_floating_point_v<T> ? -std::numeric_limits<T>::infinity()
                                       : std::numeric_limits<T>::lowest();
  }
  template <class T>
  ONNXTOOL_HD static T step(T acc, T x) {
    return x > acc || x != x ? x : acc;
  }
  template <class T>
  ONNXTOOL_HD static T merge(T a, T b) {
    return step<T>(a, b);
  }
};
struct MinStep {
  template <class T>
  using Acc = T;
  template <class T>
  ONNXTOOL_HD static T start() {
    return std::is_floating_point_v<T> ? std::numeric_limits<T>::infinity()
                                       : std::numeric_limits<T>::max();
  }
  template <class T>
  ONNXTOOL_HD static T step(T acc, T x) {
    return x < acc || x != x ? x : acc;
  }
  template <class T>
  ONNXTOOL_HD static T merge(T a, T b) {
    return step<T>(a, b);
  }
};

/// The axes of input 0 that input 1 or attribute `axes` names, joined into groups that are reduced
/// or kept.
struct Reduction {
  Dims dims;          // of the output
  Walk<1> kept;       // offset of an output's first element
  Walk<1> reduced;    // of an output's elements; what `offsets` and `run` say in another way
  Dims offsets;       // of the runs (or rows) that an output combines
  int64_t run = 1;    // length of a run; 1 where the innermost group is kept
  int64_t count = 1;  // elements per output
};

Result<Reduction> plan_reduction(const KernelContext& ctx);

}  // namespace onnxtool
