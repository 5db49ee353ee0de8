// One sample is read in blocks of kBlock pairs, widened to double. Each block is summed in kLanes
// lanes and the blocks pairwise, so the order of additions depends on the number of elements alone.

#include "calib/compare/metric_sums.h"
#include "calib/compare/floating.h"
#include "calib/kernels/cpu/convert.h"
#include "libopt/ir/tensor.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <type_traits>
#include <utility>

#include "libopt/support/half.h"

namespace onnxtool {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr size_t kBlock = 1024;
constexpr size_t kLanes = 8;
/// Errors of values below this share of the sample's largest are relative to that share.
constexpr double kRelativeFloor = 1e-6;

/// Position among the floats of its type; neighbours differ by 1, both zeros are 0.
int64_t position(float v) {
  const auto bits = std::bit_cast<int32_t>(v);
  return bits < 0 ? -int64_t{bits & 0x7fffffff} : bits;
}
int64_t position(double v) {
  const auto bits = std::bit_cast<int64_t>(v);
  return bits < 0 ? -(bits & 0x7fffffffffffffff) : bits;
}
int64_t position(Half v) { return v.bits & 0x8000 ? -int64_t{v.bits & 0x7fff} : int64_t{v.bits}; }
int64_t position(Bfloat16 v) {
  return v.bits & 0x8000 ? -int64_t{v.bits & 0x7fff} : int64_t{v.bits};
}

template <class T>
uint64_t steps_between(T a, T b) {
  const int64_t x = position(a), y = position(b);
  return x > y ? static_cast<uint64_t>(x) - static_cast<uint64_t>(y)
               : static_cast<uint64_t>(y) - static_cast<uint64_t>(x);
}

/// The narrower of two floating types; of two of equal width (float16, bfloat16) the second.
template <class R, class T>
using Narrower = std::conditional_t<(sizeof(T) <= sizeof(R)), T, R>;

template <class N, class From>
N narrow(From v) {
  if constexpr (std::is_same_v<N, From>)
    return v;
  else
    return N(widen(v));
}

/// Finite pairs of one block, and where they stood.
struct Block {
  std::array<double, kBlock> r, t;
  std::array<int64_t, kBlock> index;
  size_t size = 0;
};

struct Sums {
  PairwiseSum<Scaled> r2, t2, rt, e2, abs_e;
};

/// The sums of a block whose squares are no doubles, number by number.
void add_extremes(Sums& sums, const Block& b) {
  Scaled r2, t2, rt, e2, abs_e;
  for (size_t i = 0; i < b.size; ++i) {
    const Scaled r = Scaled::of(b.r[i]), t = Scaled::of(b.t[i]),
                 e = Scaled::difference(b.t[i], b.r[i]);
    r2 += r * r;
    t2 += t * t;
    rt += r * t;
    e2 += e * e;
    abs_e += {std::fabs(e.value), e.exponent};
  }
  sums.r2.add(r2);
  sums.t2.add(t2);
  sums.rt.add(rt);
  sums.e2.add(e2);
  sums.abs_e.add(abs_e);
}

/// Whether a block's sum of squares is good: nothing under- or overflowed.
bool is_good(double sum, const double* values, size_t size) {
  return is_safe_sum(sum) ||
         (sum == 0 && std::all_of(values, values + size, [](double v) { return v == 0; }));
}

void take_block(SampleMetrics& m, Sums& sums, Block& b, const MetricOptions& options,
                double floor) {
  // Pad with equal pairs, so that every block is summed in whole lanes.
  const size_t padded = (b.size + kLanes - 1) / kLanes * kLanes;
  for (size_t i = b.size; i < padded; ++i) b.r[i] = b.t[i] = 0;
  double r2[kLanes] = {}, t2[kLanes] = {}, rt[kLanes] = {}, e2[kLanes] = {}, abs_e[kLanes] = {},
         max_e[kLanes] = {};
  for (size_t i = 0; i < padded; i += kLanes) {
    for (size_t k = 0; k < kLanes; ++k) {
      const double r = b.r[i + k], t = b.t[i + k], e = t - r, a = std::fabs(e);
      r2[k] += r * r;
      t2[k] += t * t;
      rt[k] += r * t;
      e2[k] += e * e;
      abs_e[k] += a;
      max_e[k] = a > max_e[k] ? a : max_e[k];
    }
  }
  const auto fold = [](const double* lanes) {
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) +
           ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
  };
  const double block_max = *std::max_element(max_e, max_e + kLanes);
  if (is_good(fold(r2), b.r.data(), b.size) && is_good(fold(t2), b.t.data(), b.size) &&
      (block_max == 0 || is_safe_sum(fold(e2)))) {
    sums.r2.add(fold(r2));
    sums.t2.add(fold(t2));
    sums.rt.add(fold(rt));
    sums.e2.add(fold(e2));
    sums.abs_e.add(fold(abs_e));
  } else {
    add_extremes(sums, b);
  }
  m.compared += b.size;
  const bool first = m.max_abs_index < 0 && b.size;
  if (first) m.max_abs_index = m.max_rel_index = b.index[0];
  std::array<float, kBlock> relative;
  if (block_max == 0) {  // equal: no error to look at
    if (options.relative && b.size) {
      std::fill_n(relative.begin(), b.size, 0.0f);
      m.relative.add(std::span<const float>(relative.data(), b.size));
    }
    return;
  }
  for (size_t i = 0; i < b.size; ++i) {
    const double r = std::fabs(b.r[i]), e = std::fabs(b.t[i] - b.r[i]);
    if (e > m.max_abs) {
      m.max_abs = e;
      m.max_abs_index = b.index[i];
    }
    const double base = std::max(r, floor);
    if (options.relative || e > m.max_rel * base) {  // the division, where its result matters
      const double rel = e == 0 ? 0 : e / base;
      if (rel > m.max_rel) {
        m.max_rel = rel;
        m.max_rel_index = b.index[i];
      }
      relative[i] = static_cast<float>(rel);
    }
    m.mismatches += e != 0;
    m.outside_band += !(e <= options.atol + options.rtol * r);
  }
  if (options.relative) m.relative.add(std::span<const float>(relative.data(), b.size));
}

template <class R, class T>
void compare_floats(SampleMetrics& m, const R* r, const T* t, size_t n,
                    const MetricOptions& options) {
  for (size_t i = 0; i < n; ++i) {
    const double a = std::fabs(widen(r[i]));
    if (a > m.absmax_r && a != kInf) m.absmax_r = a;
  }
  const double floor = kRelativeFloor * m.absmax_r;
  Sums sums;
  Block block;
  const auto flush = [&] {
    if (block.size) take_block(m, sums, block, options, floor);
    block.size = 0;
  };
  for (size_t i = 0; i < n; ++i) {
    const double a = widen(r[i]), b = widen(t[i]);
    if (std::isfinite(a) && std::isfinite(b)) [[likely]] {
      block.r[block.size] = a;
      block.t[block.size] = b;
      block.index[block.size] = static_cast<int64_t>(i);
      if (++block.size == kBlock) flush();
      continue;
    }
    const bool nan_r = std::isnan(a), nan_t = std::isnan(b);
    bool equal = false;
    if (nan_r && nan_t) {
      ++m.nan_both;
      equal = true;
    } else if (nan_r) {
      ++m.nan_reference_only;
    } else if (nan_t) {
      ++m.nan_test_only;
    } else if (a == b) {
      ++m.infinity_equal;
      equal = true;
    } else {
      ++m.infinity_mismatches;
    }
    if (!equal) ++m.non_finite_mismatches;
  }
  flush();
  m.outside_band += m.non_finite_mismatches;
  m.mismatches += m.non_finite_mismatches;
  m.sum_r2 = sums.r2.total();
  m.sum_t2 = sums.t2.total();
  m.sum_rt = sums.rt.total();
  m.sum_e2 = sums.e2.total();
  m.sum_abs_e = sums.abs_e.total();
  if (m.mismatches) {
    using N = Narrower<R, T>;
    for (size_t i = 0; i < n; ++i)
      if (std::isfinite(widen(r[i])) && std::isfinite(widen(t[i])))
        m.max_ulp = std::max(m.max_ulp, steps_between(narrow<N>(r[i]), narrow<N>(t[i])));
  }
}

template <class R, class T>
void rank(SampleMetrics& m, const R* r, const T* t, int64_t rows, int64_t classes,
          const MetricOptions& options) {
  const auto n = static_cast<size_t>(classes);
  // Lists of all classes would agree whatever is in them.
  const size_t k = std::min(n - 1, static_cast<size_t>(options.top_k));
  std::vector<double> a(n), b(n);
  std::vector<int64_t> top_a, top_b;
  PairwiseSum<double> kl;
  for (int64_t row = 0; row < rows; ++row) {
    for (size_t i = 0; i < n; ++i) {
      a[i] = widen(*r++);
      b[i] = widen(*t++);
    }
    ++m.rows;
    const int64_t best_a = argmax_of(a), best_b = argmax_of(b);
    if (best_a == best_b) {
      ++m.argmax_equal;
    } else {
      const auto x = static_cast<size_t>(best_a), y = static_cast<size_t>(best_b);
      const bool tie = best_a >= 0 && best_b >= 0 && (a[x] == a[y] || b[x] == b[y]);
      ++(tie ? m.argmax_ties : m.argmax_flips);
    }
    top_of(a, k, top_a);
    top_of(b, k, top_b);
    if (top_a == top_b) {
      ++m.topk_order_equal;
      ++m.topk_set_equal;
    } else {
      std::sort(top_a.begin(), top_a.end());
      std::sort(top_b.begin(), top_b.end());
      m.topk_set_equal += top_a == top_b;
    }
    if (options.kl) {
      if (const auto d = divergence(a, b)) {
        ++m.kl_rows;
        kl.add(*d);
        m.kl_max = std::max(m.kl_max, *d);
      }
    }
  }
  m.kl_sum = kl.total();
}

template <class Visit>
bool visit_integer(DataType type, Visit&& visit) {
  switch (type) {
    case DataType::kInt8: visit(int8_t{}); return true;
    case DataType::kInt16: visit(int16_t{}); return true;
    case DataType::kInt32: visit(int32_t{}); return true;
    case DataType::kInt64: visit(int64_t{}); return true;
    case DataType::kUint8: visit(uint8_t{}); return true;
    case DataType::kUint16: visit(uint16_t{}); return true;
    case DataType::kUint32: visit(uint32_t{}); return true;
    case DataType::kUint64: visit(uint64_t{}); return true;
    case DataType::kBool: visit(uint8_t{}); return true;
    default: return false;
  }
}

template <class T>
void compare_integers(SampleMetrics& m, const T* r, const T* t, size_t n) {
  uint64_t largest = 0;
  for (size_t i = 0; i < n; ++i) {
    if (r[i] == t[i]) continue;
    ++m.mismatches;
    const uint64_t steps = r[i] > t[i] ? static_cast<uint64_t>(r[i]) - static_cast<uint64_t>(t[i])
                                       : static_cast<uint64_t>(t[i]) - static_cast<uint64_t>(r[i]);
    if (steps > largest) {
      largest = steps;
      m.max_abs_index = static_cast<int64_t>(i);
    }
  }
  m.max_abs = static_cast<double>(largest);
}

// The steps between two floats of an 8- or 4-bit type.
uint64_t small_steps(DataType type, float a, float b) {
  const auto position = [&](float v) -> int {
    if (type == DataType::kFloat8E8M0) return encode_e8m0(v, true, "nearest");
    const int code = encode_small_float(type, v, true), sign = 1 << (bits_of(type) - 1);
    return code & sign ? -(code & (sign - 1)) : code & (sign - 1);
  };
  return static_cast<uint64_t>(std::abs(position(a) - position(b)));
}

// Types whose elements no C++ type holds are compared as the floats or integers that they stand
// for.
bool is_coded(DataType type) { return is_packed(type) || (is_any_float(type) && !is_float(type)); }

template <class W>
ConstView decoded(const ConstView& view, DataType type, std::vector<W>& values) {
  values.resize(static_cast<size_t>(view.count));
  load_wide(view.dtype, view.data, 0, view.count, values.data());
  return {type, view.dims, values.data(), view.count};
}

int64_t classes_of(std::span<const int64_t> dims) {
  const bool behind_are_one =
      dims.size() > 2 &&
      std::all_of(dims.begin() + 2, dims.end(), [](int64_t extent) { return extent == 1; });
  return dims.empty() ? 0 : behind_are_one ? dims[1] : dims.back();
}

Result<SampleMetrics> compare_coded(const ConstView& reference, const ConstView& test,
                                    const MetricOptions& options) {
  if (!is_any_float(reference.dtype)) {
    std::vector<int32_t> r, t;
    return compare_sample(decoded(reference, DataType::kInt32, r),
                          decoded(test, DataType::kInt32, t), options);
  }
  std::vector<float> r, t;
  std::optional<ConstView> plain_r, plain_t;
  if (is_coded(reference.dtype)) plain_r = decoded(reference, DataType::kFloat, r);
  if (is_coded(test.dtype)) plain_t = decoded(test, DataType::kFloat, t);
  ONNXTOOL_ASSIGN(SampleMetrics m,
                  compare_sample(plain_r.value_or(reference), plain_t.value_or(test), options));
  // Steps are those of the narrower type.
  const DataType narrower =
      bits_of(test.dtype) <= bits_of(reference.dtype) ? test.dtype : reference.dtype;
  m.max_ulp = 0;
  const auto floats = [](const ConstView& v, std::vector<float>& out) {
    if (out.empty() && v.dtype != DataType::kDouble)
      decoded(v, DataType::kFloat, out);
    else if (out.empty())
      out.assign(v.as<double>().begin(), v.as<double>().end());
  };
  floats(reference, r);
  floats(test, t);
  for (size_t i = 0; i < r.size(); ++i)
    if (std::isfinite(r[i]) && std::isfinite(t[i]))
      m.max_ulp = std::max(m.max_ulp, small_steps(narrower, r[i], t[i]));
  return m;
}

}  // namespace

void join_counts(SampleMetrics& a, const SampleMetrics& b) {
  a.elements += b.elements;
  a.compared += b.compared;
  a.identical &= b.identical;
  a.absmax_r = std::max(a.absmax_r, b.absmax_r);
  a.max_ulp = std::max(a.max_ulp, b.max_ulp);
  a.kl_max = std::max(a.kl_max, b.kl_max);
  for (uint64_t SampleMetrics::*count :
       {&SampleMetrics::outside_band, &SampleMetrics::mismatches,
        &SampleMetrics::nan_reference_only, &SampleMetrics::nan_test_only, &SampleMetrics::nan_both,
        &SampleMetrics::infinity_mismatches, &SampleMetrics::infinity_equal, &SampleMetrics::rows,
        &SampleMetrics::argmax_equal, &SampleMetrics::argmax_flips, &SampleMetrics::argmax_ties,
        &SampleMetrics::topk_set_equal, &SampleMetrics::topk_order_equal, &SampleMetrics::kl_rows,
        &SampleMetrics::non_finite_mismatches})
    a.*count += b.*count;
}

void append(SampleMetrics& m, const SampleMetrics& more) {
  const auto places = static_cast<int64_t>(m.elements);
  // Written so that NaN, the difference of strings, is taken as none.
  if (more.max_abs_index >= 0 && (m.max_abs_index < 0 || more.max_abs > m.max_abs)) {
    m.max_abs = more.max_abs;
    m.max_abs_index = places + more.max_abs_index;
    m.worst_place = more.worst_place;
  }
  if (more.max_rel_index >= 0 && (m.max_rel_index < 0 || more.max_rel > m.max_rel)) {
    m.max_rel = more.max_rel;
    m.max_rel_index = places + more.max_rel_index;
  }
  for (Scaled SampleMetrics::*sum :
       {&SampleMetrics::sum_r2, &SampleMetrics::sum_t2, &SampleMetrics::sum_rt,
        &SampleMetrics::sum_e2, &SampleMetrics::sum_abs_e})
    m.*sum += more.*sum;
  m.kl_sum += more.kl_sum;
  m.relative.merge(more.relative);
  join_counts(m, more);
}

double SampleMetrics::sqnr() const {
  if (!floating || compared == 0 || non_finite_mismatches) return kNan;
  return decibels(sum_r2, sum_e2);
}

Result<SampleMetrics> compare_sample(const ConstView& reference, const ConstView& test,
                                     const MetricOptions& options) {
  for (const ConstView* v : {&reference, &test})
    if (v->space != MemorySpace::kHost || v->layout != Layout::kPlain)
      return Error{ErrorCode::kUnsupported, "a tensor is not plain host memory", {}};
  const bool both_floating = is_any_float(reference.dtype) && is_any_float(test.dtype);
  if (reference.dtype != test.dtype && !(both_floating && options.allow_dtype_change))
    return Error{ErrorCode::kMismatch,
                 "type is " + std::string(name(test.dtype)) + ", but " +
                     std::string(name(reference.dtype)) + " in the reference",
                 {}};
  if (!std::equal(reference.dims.begin(), reference.dims.end(), test.dims.begin(), test.dims.end()))
    return Error{ErrorCode::kMismatch,
                 "shape is " + format_dims(test.dims) + ", but " + format_dims(reference.dims) +
                     " in the reference",
                 {}};
  if (is_coded(reference.dtype) || is_coded(test.dtype))
    return compare_coded(reference, test, options);

  SampleMetrics m;
  m.elements = static_cast<uint64_t>(reference.count);
  const auto n = static_cast<size_t>(reference.count);
  m.floating = both_floating;
  if (both_floating) {
    const int64_t classes = classes_of(reference.dims);
    visit_floating(reference.dtype, [&]<class R>(R) {
      visit_floating(test.dtype, [&]<class T>(T) {
        const auto* r = static_cast<const R*>(reference.data);
        const auto* t = static_cast<const T*>(test.data);
        compare_floats(m, r, t, n, options);
        if (options.top_k > 0 && classes >= 2)
          rank(m, r, t, reference.count / classes, classes, options);
      });
    });
  } else if (reference.dtype == DataType::kString) {
    const auto* r = static_cast<const std::string*>(reference.data);
    const auto* t = static_cast<const std::string*>(test.data);
    for (size_t i = 0; i < n; ++i) {
      if (r[i] == t[i]) continue;
      if (m.mismatches++ == 0) m.max_abs_index = static_cast<int64_t>(i);
    }
    m.max_abs = kNan;
    m.compared = m.elements;
  } else if (visit_integer(reference.dtype, [&]<class T>(T) {
               compare_integers(m, static_cast<const T*>(reference.data),
                                static_cast<const T*>(test.data), n);
             })) {
    m.compared = m.elements;
    if (n && m.max_abs_index < 0) m.max_abs_index = 0;
  } else {
    return Error{
        ErrorCode::kUnsupported, "no comparison of type " + std::string(name(reference.dtype)), {}};
  }
  if (!both_floating) m.outside_band = m.mismatches;
  m.identical = m.mismatches == 0;
  return m;
}

}  // namespace onnxtool
