// One sample is read in blocks of kBlock pairs, widened to double. Each block is summed in kLanes
// lanes and the blocks pairwise, so the order of additions depends on the number of elements alone.

#include "calib/compare/metrics.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <numeric>
#include <type_traits>
#include <utility>

#include "calib/ranges/density.h"
#include "libopt/support/half.h"

namespace onnxtool {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr size_t kBlock = 1024;
constexpr size_t kLanes = 8;
constexpr double kSmallestProbability = 1e-12;

/// Pairwise sum of a stream: partial sums of 1, 2, 4, ... terms, joined as equals meet.
class PairwiseSum {
 public:
  void add(double x) {
    uint64_t n = ++count_;
    for (; !(n & 1); n >>= 1) {
      x += partial_.back();
      partial_.pop_back();
    }
    partial_.push_back(x);
  }
  double total() const {
    double sum = 0;
    for (size_t i = partial_.size(); i-- > 0;) sum += partial_[i];
    return sum;
  }

 private:
  uint64_t count_ = 0;
  std::vector<double> partial_;
};

std::string dims_text(std::span<const int64_t> dims) {
  std::string text = "[";
  for (size_t i = 0; i < dims.size(); ++i) text += (i ? ", " : "") + std::to_string(dims[i]);
  return text + "]";
}

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

template <class T>
double widen(T v) {
  if constexpr (std::is_same_v<T, Half> || std::is_same_v<T, Bfloat16>)
    return static_cast<double>(static_cast<float>(v));
  else
    return static_cast<double>(v);
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
  PairwiseSum r2, t2, rt, e2, abs_e;
};

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
  sums.r2.add(fold(r2));
  sums.t2.add(fold(t2));
  sums.rt.add(fold(rt));
  m.compared += b.size;
  const double block_max = *std::max_element(max_e, max_e + kLanes);
  const bool first = m.max_abs_index < 0 && b.size;
  if (first) m.max_abs_index = m.max_rel_index = b.index[0];
  std::array<float, kBlock> relative;
  if (block_max == 0) {  // equal: no error to look at
    if (options.relative && b.size) {
      std::fill_n(relative.begin(), b.size, 0.0f);
      m.relative.add(std::span<const float>(relative.data(), b.size));
    }
    sums.e2.add(0);
    sums.abs_e.add(0);
    return;
  }
  sums.e2.add(fold(e2));
  sums.abs_e.add(fold(abs_e));
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
    const bool outside = options.either_or ? e > options.atol && e > options.rtol * r
                                           : !(e <= options.atol + options.rtol * r);
    m.outside_band += outside;
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
  const double floor = options.rel_floor * m.absmax_r;
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
      equal = options.nan_equal;
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

/// Rows along one axis of both outputs, as doubles.
struct Rows {
  int64_t outer, n, inner;
};

template <class T>
void gather(const T* data, Rows rows, int64_t row, std::vector<double>& to) {
  const T* from = data + row / rows.inner * rows.n * rows.inner + row % rows.inner;
  for (int64_t i = 0; i < rows.n; ++i) to[static_cast<size_t>(i)] = widen(from[i * rows.inner]);
}

/// -1: all NaN.
int64_t argmax_of(std::span<const double> v) {
  int64_t best = -1;
  for (size_t i = 0; i < v.size(); ++i)
    if (!std::isnan(v[i]) && (best < 0 || v[i] > v[static_cast<size_t>(best)]))
      best = static_cast<int64_t>(i);
  return best;
}

void top_of(std::span<const double> v, size_t k, std::vector<int64_t>& order) {
  order.resize(v.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  std::partial_sort(order.begin(), order.begin() + static_cast<int64_t>(k), order.end(),
                    [&](int64_t a, int64_t b) {
                      const double x = v[static_cast<size_t>(a)], y = v[static_cast<size_t>(b)];
                      if (std::isnan(x) || std::isnan(y))
                        return std::isnan(x) == std::isnan(y) ? a < b : std::isnan(y);
                      return x != y ? x > y : a < b;
                    });
  order.resize(k);
}

/// KL(softmax(r) || softmax(t)); nullopt where NaN or +inf leaves no distribution.
std::optional<double> divergence(std::span<const double> r, std::span<const double> t) {
  double max_r = -kInf, max_t = -kInf;
  for (size_t i = 0; i < r.size(); ++i) {
    if (std::isnan(r[i]) || std::isnan(t[i]) || r[i] == kInf || t[i] == kInf) return std::nullopt;
    max_r = std::max(max_r, r[i]);
    max_t = std::max(max_t, t[i]);
  }
  if (max_r == -kInf || max_t == -kInf) return std::nullopt;
  double sum_r = 0, sum_t = 0;
  for (size_t i = 0; i < r.size(); ++i) {
    sum_r += std::exp(r[i] - max_r);
    sum_t += std::exp(t[i] - max_t);
  }
  const double log_floor = std::log(kSmallestProbability), log_r = std::log(sum_r),
               log_t = std::log(sum_t);
  double kl = 0;
  for (size_t i = 0; i < r.size(); ++i) {
    const double log_p = r[i] - max_r - log_r;
    const double p = std::exp(log_p);
    if (p > 0) kl += p * (log_p - std::max(t[i] - max_t - log_t, log_floor));
  }
  return std::max(kl, 0.0);  // rounding can leave a small negative
}

template <class R, class T>
void rank(SampleMetrics& m, const R* r, const T* t, Rows rows, const MetricOptions& options) {
  const auto n = static_cast<size_t>(rows.n);
  const size_t k = std::min(n, static_cast<size_t>(options.top_k));
  std::vector<double> a(n), b(n);
  std::vector<int64_t> top_a, top_b;
  PairwiseSum kl;
  for (int64_t row = 0; row < rows.outer * rows.inner; ++row) {
    gather(r, rows, row, a);
    gather(t, rows, row, b);
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
bool visit_floating(DataType type, Visit&& visit) {
  switch (type) {
    case DataType::kFloat: visit(float{}); return true;
    case DataType::kDouble: visit(double{}); return true;
    case DataType::kFloat16: visit(Half{}); return true;
    case DataType::kBfloat16: visit(Bfloat16{}); return true;
    default: return false;
  }
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

/// Joins b, which comes after a in sample order. Sums are not joined here: see total().
void join(SampleMetrics& a, const SampleMetrics& b) {
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

constexpr MetricInfo kInfos[] = {
    {"max-abs", "", false, "largest |e|; integers: largest difference in steps"},
    {"mean-abs", "", false, "mean |e|"},
    {"rmse", "", false, "square root of the mean e^2"},
    {"max-rel", "", false, "largest |e| / max(|r|, floor)"},
    {"rel-p50", "", false, "median of |e| / max(|r|, floor)"},
    {"rel-p99", "", false, "99th percentile of |e| / max(|r|, floor)"},
    {"sqnr", "dB", true, "10 log10(sum r^2 / sum e^2) over all samples"},
    {"sqnr-min", "dB", true, "sqnr of the worst sample"},
    {"psnr", "dB", true, "20 log10(largest |r| / rmse)"},
    {"cosine", "", true, "r.t / (norm r x norm t)"},
    {"gain", "", false, "norm t / norm r; its distance from 1 is judged"},
    {"ulp", "steps", false, "most floats of the output's type between r and t"},
    {"kl", "nat", false, "mean over rows of KL(softmax r || softmax t)"},
    {"kl-max", "nat", false, "largest over rows of KL(softmax r || softmax t)"},
    {"argmax", "share", true, "rows with the same argmax"},
    {"flips", "share", false, "rows whose argmax changed although neither side has a tie"},
    {"top-k", "share", true, "rows with the same set of k best"},
    {"mismatch", "share", false, "elements that are not equal"},
    {"outside", "share", false, "elements outside atol + rtol |r|"},
};
constexpr Metric kMetrics[] = {
    Metric::kMaxAbs, Metric::kMeanAbs, Metric::kRmse,       Metric::kMaxRel, Metric::kRelP50,
    Metric::kRelP99, Metric::kSqnr,    Metric::kSqnrMin,    Metric::kPsnr,   Metric::kCosine,
    Metric::kGain,   Metric::kUlp,     Metric::kKl,         Metric::kKlMax,  Metric::kArgmax,
    Metric::kFlips,  Metric::kTopK,    Metric::kMismatches, Metric::kOutside};
static_assert(std::size(kInfos) == std::size(kMetrics) &&
              static_cast<size_t>(Metric::kOutside) + 1 == std::size(kInfos));

/// q in [0, 1] of an ascending list, as numpy.percentile interpolates.
double percentile_of(const std::vector<double>& sorted, double q) {
  const double rank = q * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(rank);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (rank - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

double sqnr_of(double sum_r2, double sum_e2) {
  if (sum_e2 == 0) return kInf;
  return sum_r2 == 0 ? -kInf : 10 * std::log10(sum_r2 / sum_e2);
}

}  // namespace

Verdict combine(Verdict a, Verdict b) {
  if (a == Verdict::kFail || b == Verdict::kFail) return Verdict::kFail;
  if (a == Verdict::kNone || b == Verdict::kNone) return Verdict::kNone;
  return Verdict::kPass;
}

double SampleMetrics::sqnr() const {
  if (!floating || compared == 0 || non_finite_mismatches) return kNan;
  return sqnr_of(sum_r2, sum_e2);
}

Result<SampleMetrics> compare_sample(const ConstView& reference, const ConstView& test,
                                     const MetricOptions& options) {
  for (const ConstView* v : {&reference, &test})
    if (v->space != MemorySpace::kHost || v->layout != Layout::kPlain)
      return Error{ErrorCode::kUnsupported, "a tensor is not plain host memory", {}};
  const bool both_floating = is_float(reference.dtype) && is_float(test.dtype);
  if (reference.dtype != test.dtype && !(both_floating && options.allow_dtype_change))
    return Error{ErrorCode::kMismatch,
                 "type is " + std::string(name(test.dtype)) + ", but " +
                     std::string(name(reference.dtype)) + " in the reference",
                 {}};
  if (!std::equal(reference.dims.begin(), reference.dims.end(), test.dims.begin(), test.dims.end()))
    return Error{ErrorCode::kMismatch,
                 "shape is " + dims_text(test.dims) + ", but " + dims_text(reference.dims) +
                     " in the reference",
                 {}};

  SampleMetrics m;
  m.elements = static_cast<uint64_t>(reference.count);
  const auto n = static_cast<size_t>(reference.count);
  m.floating = both_floating;
  if (both_floating) {
    const int64_t rank_of = reference.rank();
    const int64_t axis = options.axis < 0 ? options.axis + rank_of : options.axis;
    Rows rows{1, 0, 1};
    if (options.top_k > 0 && axis >= 0 && axis < rank_of && reference.count > 0) {
      rows.n = reference.dims[static_cast<size_t>(axis)];
      for (int64_t d = 0; d < rank_of; ++d)
        if (d != axis)
          (d < axis ? rows.outer : rows.inner) *= reference.dims[static_cast<size_t>(d)];
    }
    visit_floating(reference.dtype, [&]<class R>(R) {
      visit_floating(test.dtype, [&]<class T>(T) {
        const auto* r = static_cast<const R*>(reference.data);
        const auto* t = static_cast<const T*>(test.data);
        compare_floats(m, r, t, n, options);
        if (rows.n >= 2) rank(m, r, t, rows, options);
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

const MetricInfo& info(Metric metric) { return kInfos[static_cast<size_t>(metric)]; }
std::span<const Metric> all_metrics() { return kMetrics; }
std::optional<Metric> find_metric(std::string_view name) {
  for (Metric m : kMetrics)
    if (info(m).name == name) return m;
  return std::nullopt;
}

void OutputMetrics::add(int64_t sample, SampleMetrics metrics) {
  // The distribution is exact in any order, so that one is enough, and memory stays small.
  relative_.merge(metrics.relative);
  metrics.relative = Summary();
  const bool fresh = samples_.emplace(sample, std::move(metrics)).second;
  ONNXTOOL_CHECK(fresh && !failures_.contains(sample));
}

void OutputMetrics::add_failure(int64_t sample, std::string why) {
  failures_.emplace(sample, std::move(why));
}

OutputMetrics::Total OutputMetrics::total() const {
  Total total;
  SampleMetrics& all = total.all;
  PairwiseSum r2, t2, rt, e2, abs_e, kl, sqnr_sum;
  std::vector<double> sqnrs;
  bool first = true;
  double worst = kInf;
  for (const auto& [id, m] : samples_) {
    if (first) all.floating = m.floating;
    join(all, m);
    r2.add(m.sum_r2);
    t2.add(m.sum_t2);
    rt.add(m.sum_rt);
    e2.add(m.sum_e2);
    abs_e.add(m.sum_abs_e);
    kl.add(m.kl_sum);
    // Written so that NaN, the difference of strings, is taken as none.
    if (m.max_abs_index >= 0 && (total.max_abs_sample < 0 || m.max_abs > all.max_abs)) {
      all.max_abs = m.max_abs;
      all.max_abs_index = m.max_abs_index;
      total.max_abs_sample = id;
    }
    if (m.max_rel_index >= 0 && (total.max_rel_sample < 0 || m.max_rel > all.max_rel)) {
      all.max_rel = m.max_rel;
      all.max_rel_index = m.max_rel_index;
      total.max_rel_sample = id;
    }
    first = false;
    if (!m.floating || !m.any()) continue;
    const double db = m.sqnr();
    if (m.identical) {
      ++total.per_sample.identical;
    } else if (!(db > -kInf)) {
      ++total.per_sample.undefined;
      if (worst > -kInf) total.per_sample.worst = id;
      worst = -kInf;
    } else {
      if (db < worst) {
        worst = db;
        total.per_sample.worst = id;
      }
      sqnrs.push_back(db);
      sqnr_sum.add(db);
    }
  }
  all.sum_r2 = r2.total();
  all.sum_t2 = t2.total();
  all.sum_rt = rt.total();
  all.sum_e2 = e2.total();
  all.sum_abs_e = abs_e.total();
  all.kl_sum = kl.total();
  all.relative = relative_;
  if (!sqnrs.empty()) {
    std::sort(sqnrs.begin(), sqnrs.end());
    auto& p = total.per_sample;
    p.min = sqnrs.front();
    p.p1 = percentile_of(sqnrs, 0.01);
    p.p5 = percentile_of(sqnrs, 0.05);
    p.median = percentile_of(sqnrs, 0.5);
    p.mean = sqnr_sum.total() / static_cast<double>(sqnrs.size());
  }
  return total;
}

std::optional<double> OutputMetrics::value(Metric metric) const {
  const Total total = this->total();
  const SampleMetrics& m = total.all;
  if (!m.any()) return std::nullopt;
  const auto compared = static_cast<double>(m.compared), rows = static_cast<double>(m.rows);
  const auto of_floats = [&](double v) {
    return m.floating && m.compared ? std::optional(v) : std::nullopt;
  };
  const auto of_rows = [&](uint64_t n) {
    return m.rows ? std::optional(static_cast<double>(n) / rows) : std::nullopt;
  };
  const auto relative = [&](double q) -> std::optional<double> {
    if (!m.floating || m.relative.count() == 0) return std::nullopt;
    const double mass = q * static_cast<double>(m.relative.count());
    if (mass > static_cast<double>(m.relative.finite())) return kInf;
    return Density(m.relative).quantile(mass);
  };
  switch (metric) {
    case Metric::kMaxAbs:
      return m.max_abs_index < 0 || std::isnan(m.max_abs) ? std::nullopt : std::optional(m.max_abs);
    case Metric::kMeanAbs: return of_floats(m.sum_abs_e / compared);
    case Metric::kRmse: return of_floats(std::sqrt(m.sum_e2 / compared));
    case Metric::kMaxRel: return of_floats(m.max_rel);
    case Metric::kRelP50: return relative(0.5);
    case Metric::kRelP99: return relative(0.99);
    case Metric::kSqnr:
      return of_floats(m.non_finite_mismatches ? kNan : sqnr_of(m.sum_r2, m.sum_e2));
    case Metric::kSqnrMin:
      return of_floats(total.per_sample.undefined ? -kInf : total.per_sample.min);
    case Metric::kPsnr:
      return of_floats(m.sum_e2 == 0 ? kInf
                       : m.absmax_r == 0
                           ? -kInf
                           : 20 * std::log10(m.absmax_r / std::sqrt(m.sum_e2 / compared)));
    case Metric::kCosine: {
      const bool zero_r = m.sum_r2 == 0, zero_t = m.sum_t2 == 0;
      if (zero_r || zero_t) return of_floats(zero_r && zero_t ? 1 : 0);
      if (m.sum_rt == m.sum_r2 && m.sum_rt == m.sum_t2)
        return of_floats(1);  // equal: no rounding of the roots
      return of_floats(
          std::clamp(m.sum_rt / (std::sqrt(m.sum_r2) * std::sqrt(m.sum_t2)), -1.0, 1.0));
    }
    case Metric::kGain:
      if (m.sum_r2 == 0) return of_floats(m.sum_t2 == 0 ? 1 : kInf);
      return of_floats(std::sqrt(m.sum_t2 / m.sum_r2));
    case Metric::kUlp: return of_floats(static_cast<double>(m.max_ulp));
    case Metric::kKl:
      return m.kl_rows ? std::optional(m.kl_sum / static_cast<double>(m.kl_rows)) : std::nullopt;
    case Metric::kKlMax: return m.kl_rows ? std::optional(m.kl_max) : std::nullopt;
    case Metric::kArgmax: return of_rows(m.argmax_equal);
    case Metric::kFlips: return of_rows(m.argmax_flips);
    case Metric::kTopK: return of_rows(m.topk_set_equal);
    case Metric::kMismatches:
      return static_cast<double>(m.mismatches) / static_cast<double>(m.elements);
    case Metric::kOutside:
      return static_cast<double>(m.outside_band) / static_cast<double>(m.elements);
  }
  return std::nullopt;
}

namespace {

/// What no limit can mend, or nullopt.
std::optional<Verdict> settled(bool failed, const SampleMetrics& all) {
  if (failed || all.non_finite_mismatches) return Verdict::kFail;
  if (!all.any()) return Verdict::kNone;
  return std::nullopt;
}

}  // namespace

Verdict OutputMetrics::judge(Metric metric, double limit) const {
  if (const auto verdict = settled(!failures_.empty(), total().all)) return *verdict;
  const auto v = value(metric);
  if (!v) return Verdict::kNone;
  const bool inside = metric == Metric::kGain         ? std::fabs(*v - 1) <= limit
                      : info(metric).higher_is_better ? *v >= limit
                                                      : *v <= limit;
  return inside ? Verdict::kPass : Verdict::kFail;
}

Verdict OutputMetrics::judge_band(double max_share) const {
  const SampleMetrics all = total().all;
  if (const auto verdict = settled(!failures_.empty(), all)) return *verdict;
  return static_cast<double>(all.outside_band) <= max_share * static_cast<double>(all.elements)
             ? Verdict::kPass
             : Verdict::kFail;
}

int64_t argmax(const ConstView& scores) {
  int64_t best = -1;
  visit_floating(scores.dtype, [&]<class T>(T) {
    const auto v = scores.as<T>();
    double highest = 0;
    for (size_t i = 0; i < v.size(); ++i) {
      const double x = widen(v[i]);
      if (std::isnan(x) || (best >= 0 && !(x > highest))) continue;
      highest = x;
      best = static_cast<int64_t>(i);
    }
  });
  return best;
}

Status ClassAccuracy::add(int64_t sample, const ConstView& reference, const ConstView& test,
                          int64_t label) {
  for (const auto& [view, side] : {std::pair(&reference, "reference"), std::pair(&test, "test")}) {
    const auto wide =
        std::count_if(view->dims.begin(), view->dims.end(), [](int64_t d) { return d != 1; });
    if (!is_float(view->dtype) || wide > 1)
      return Error{ErrorCode::kMismatch,
                   std::string(side) + " scores are " + std::string(name(view->dtype)) +
                       dims_text(view->dims) + ", expected floats with one extent above 1",
                   {}};
    if (label < 0 || label >= view->count)
      return Error{ErrorCode::kMismatch,
                   "label is " + std::to_string(label) + ", but the " + side + " has " +
                       std::to_string(view->count) + " classes",
                   {}};
  }
  ONNXTOOL_CHECK(
      images_.emplace(sample, Image{argmax(reference) == label, argmax(test) == label}).second);
  return {};
}

int64_t ClassAccuracy::reference_correct() const {
  return std::count_if(images_.begin(), images_.end(),
                       [](const auto& i) { return i.second.reference; });
}
int64_t ClassAccuracy::test_correct() const {
  return std::count_if(images_.begin(), images_.end(), [](const auto& i) { return i.second.test; });
}
std::vector<int64_t> ClassAccuracy::lost() const {
  std::vector<int64_t> ids;
  for (const auto& [id, i] : images_)
    if (i.reference && !i.test) ids.push_back(id);
  return ids;
}
std::vector<int64_t> ClassAccuracy::won() const {
  std::vector<int64_t> ids;
  for (const auto& [id, i] : images_)
    if (!i.reference && i.test) ids.push_back(id);
  return ids;
}
std::optional<double> ClassAccuracy::drop() const {
  if (images_.empty()) return std::nullopt;
  return 100.0 * static_cast<double>(reference_correct() - test_correct()) /
         static_cast<double>(images_.size());
}
Verdict ClassAccuracy::judge_drop(double limit) const {
  const auto d = drop();
  if (!d) return Verdict::kNone;
  return *d <= limit ? Verdict::kPass : Verdict::kFail;
}

}  // namespace onnxtool
