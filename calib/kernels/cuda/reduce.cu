// The Reduce operators on a device: attributes, checks and steps are those of cpu/reduce.cc.
//
// A line of a few elements, or with neighbours side by side, is one thread's work in order; others
// are summed in lanes (reduce_lines()). Sums and products of floats are double, so results differ
// from the host's by the order of double additions alone.

#include <cmath>

#include "calib/kernels/cpu/reduction.h"
#include "calib/kernels/cuda/elements.h"

namespace onnxtool {

void device_convert(DataType from, const void* in, DataType to, void* out, int64_t count);

namespace {

template <class T>
struct FillElements {
  T* to;
  T value;
  ONNXTOOL_HD void operator()(int64_t i) const { to[i] = value; }
};
template <class T>
void fill_elements(T* to, int64_t n, T value) {
  device::for_each_index(n, FillElements<T>{to, value});
}

template <class Step, class T, class Finish>
struct ReduceLine {
  using Part = typename Step::template Acc<T>;
  const T* in;
  T* out;
  int64_t count;
  device::StridedWalk<1> kept, reduced;
  Finish done;

  ONNXTOOL_HD int64_t length() const { return count; }
  ONNXTOOL_HD Part start() const { return Step::template start<T>(); }
  ONNXTOOL_HD void add(Part& part, int64_t line, int64_t i) const {
    int64_t from[1], at[1];
    kept.offsets(line, from);
    reduced.offsets(i, at);
    part = Step::template step<T>(part, in[from[0] + at[0]]);
  }
  ONNXTOOL_HD void merge(Part& a, const Part& b) const { a = Step::merge(a, b); }
  ONNXTOOL_HD void finish(int64_t line, const Part& part) const { out[line] = done(part); }
};

bool is_strided(const Reduction& r) {
  return !r.reduced.strides[0].empty() && r.reduced.strides[0].back() != 1;
}

template <class Step, class T, class Finish>
void reduce(KernelContext&, const Reduction& r, const T* in, T* out, int64_t outputs,
            const Finish& finish) {
  const auto kept = device::strided_walk<1>(r.kept), reduced = device::strided_walk<1>(r.reduced);
  if (!kept.ok() || !reduced.ok()) return device::note_error(-1, "a shape of too many axes");
  device::reduce_lines(
      outputs, ReduceLine<Step, T, Finish>{in, out, r.count, *kept, *reduced, finish},
      is_strided(r));
}

// The sum of exp(x - max) over an output's elements, then max + log of it.
struct LogSumLine {
  using Part = double;
  const double *in, *max;
  double* out;
  int64_t count;
  device::StridedWalk<1> kept, reduced;

  // Infinities decide the result by themselves.
  ONNXTOOL_HD double shift(int64_t line) const {
    const double m = max[line];
    return m - m == 0 ? m : 0.0;
  }
  ONNXTOOL_HD int64_t length() const { return count; }
  ONNXTOOL_HD Part start() const { return 0; }
  ONNXTOOL_HD void add(Part& part, int64_t line, int64_t i) const {
    int64_t from[1], at[1];
    kept.offsets(line, from);
    reduced.offsets(i, at);
    part += std::exp(in[from[0] + at[0]] - shift(line));
  }
  ONNXTOOL_HD void merge(Part& a, const Part& b) const { a += b; }
  ONNXTOOL_HD void finish(int64_t line, const Part& part) const {
    out[line] = shift(line) + std::log(part);
  }
};

struct Same {
  ONNXTOOL_HD double operator()(double x) const { return x; }
};

Status log_sum_exp(KernelContext& ctx) {
  const DataType type = ctx.input(0).dtype;
  ONNXTOOL_ASSIGN(const Reduction r, plan_reduction(ctx));
  ONNXTOOL_ASSIGN(const ConstView x, converted(ctx, ctx.input(0), DataType::kDouble));
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, type, r.dims));
  const size_t size = static_cast<size_t>(y.count) * sizeof(double);
  ONNXTOOL_ASSIGN(void* max, ctx.scratch(size));
  ONNXTOOL_ASSIGN(void* sums, ctx.scratch(size));
  const auto* in = static_cast<const double*>(x.data);
  reduce<MaxStep, double>(ctx, r, in, static_cast<double*>(max), y.count, Same());
  ONNXTOOL_ASSIGN(const auto kept, device::strided_walk<1>(r.kept));
  ONNXTOOL_ASSIGN(const auto reduced, device::strided_walk<1>(r.reduced));
  device::reduce_lines(y.count,
                       LogSumLine{in, static_cast<const double*>(max), static_cast<double*>(sums),
                                  r.count, kept, reduced},
                       is_strided(r));
  device_convert(DataType::kDouble, sums, type, y.data, y.count);
  return {};
}

}  // namespace
}  // namespace onnxtool

#include "calib/kernels/cpu/reduce.cc"
