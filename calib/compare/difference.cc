#include "calib/compare/difference.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "calib/data/arrays.h"
#include "libopt/ir/code_type.h"

namespace onnxtool {
namespace {

// verifier.h states these.
constexpr double kUnits = 4;
// Of errors that are draws from one distribution, 16 x never happens by chance. The units are for
// models whose weights are few bits wide: the original may round nothing at all, while a folded
// weight must.
constexpr double kErrorRatio = 16;
constexpr double kJudgedUnits = 64;
constexpr double kDiscreteShare = 0.01;
constexpr double kStepEnergy = 0.01;

// Without an oracle: errors of half a unit in every layer add up to this many units at most.
constexpr double kLooseUnits = 0x1p13;
constexpr double kLooseShare = 0x1p-6;

std::string format_index(int64_t flat, const std::vector<int64_t>& dims) {
  std::vector<int64_t> index(dims.size());
  for (size_t i = dims.size(); i-- > 0;) {
    index[i] = flat % dims[i];
    flat /= dims[i];
  }
  return format_dims(index);
}

std::string differ_at(int64_t i, const Tensor& t, double before, double after) {
  return fmt::format("{} where it was {}, at {} of {}", after, before, format_index(i, t.dims()),
                     format_dims(t.dims()));
}

bool same(double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); }

// Strings, and numbers that are no floats, at the same place in both.
bool element_equal(const Tensor& a, const Tensor& b, int64_t i) {
  if (a.dtype() == DataType::kString)
    return a.strings()[static_cast<size_t>(i)] == b.strings()[static_cast<size_t>(i)];
  const auto size = static_cast<size_t>(bits_of(a.dtype()) / 8), at = static_cast<size_t>(i) * size;
  return std::ranges::equal(a.bytes().subspan(at, size), b.bytes().subspan(at, size));
}

int64_t mismatches(const Tensor& a, const Tensor& b) {
  if (a.dtype() != b.dtype() || a.dims() != b.dims()) return a.count();
  if (bits_of(a.dtype()) < 8 && a.dtype() != DataType::kString)
    return a.same_content(b) ? 0 : a.count();
  int64_t n = 0;
  for (int64_t i = 0; i < a.count(); ++i) n += !element_equal(a, b, i);
  return n;
}

std::string discrete_difference(const Tensor& before, const Tensor& after,
                                const Rounding& rounding) {
  const int64_t wrong = mismatches(before, after);
  if (wrong == 0) return {};
  auto allowed = rounding.tight ? 0.0 : kDiscreteShare * static_cast<double>(before.count());
  if (!rounding.tight && rounding.oracle)
    allowed = std::max(allowed, 2 * static_cast<double>(mismatches(before, *rounding.oracle)));
  if (static_cast<double>(wrong) <= allowed) return {};
  return fmt::format("{} of {} elements differ", wrong, before.count());
}

}  // namespace

std::string difference_in_bits(const Tensor& before, const Tensor& after) {
  if (before.same_content(after)) return {};
  if (!is_float(before.dtype())) return discrete_difference(before, after, {0, nullptr, true});
  const std::vector<double> b = before.to_doubles(), a = after.to_doubles();
  for (size_t i = 0; i < b.size(); ++i)
    if (!same(b[i], a[i]) || std::signbit(b[i]) != std::signbit(a[i]))
      if (!(std::isnan(b[i]) && std::isnan(a[i])))
        return differ_at(static_cast<int64_t>(i), before, b[i], a[i]);
  return {};
}

double relative_unit(DataType dtype) {
  switch (dtype) {
    case DataType::kDouble: return 0x1p-52;
    case DataType::kFloat: return 0x1p-23;
    case DataType::kFloat16: return 0x1p-10;
    case DataType::kBfloat16: return 0x1p-7;
    case kQuantized: return 0x1p-8;
    default: return 0;
  }
}

std::string difference_beyond_rounding(const Tensor& before, const Tensor& after,
                                       const Rounding& rounding) {
  if (!is_float(before.dtype())) return discrete_difference(before, after, rounding);
  const std::vector<double> b = before.to_doubles(), a = after.to_doubles();
  double largest = 0;
  for (const double x : b)
    if (std::isfinite(x)) largest = std::max(largest, std::abs(x));
  double bound = kUnits * rounding.unit * largest;
  const Tensor* oracle = rounding.tight ? nullptr : rounding.oracle;
  const std::vector<double> truth = oracle ? oracle->to_doubles() : std::vector<double>();
  // The oracle's exponent range is wider: what overflowed is no error of it.
  const auto judged = [&](size_t i) {
    return oracle && std::isfinite(b[i]) && std::isfinite(truth[i]);
  };
  if (oracle) {
    double error = 0;
    for (size_t i = 0; i < b.size(); ++i)
      if (judged(i)) error = std::max(error, std::abs(b[i] - truth[i]));
    bound = kErrorRatio * error + kJudgedUnits * rounding.unit * largest;
  } else if (!rounding.tight) {
    bound = std::max(bound, std::min(kLooseUnits * rounding.unit, kLooseShare) * largest);
  }
  for (size_t i = 0; i < b.size(); ++i) {
    if (same(a[i], b[i])) continue;
    if (!(std::abs(a[i] - (judged(i) ? truth[i] : b[i])) <= bound))
      return differ_at(static_cast<int64_t>(i), before, b[i], a[i]);
  }
  return {};
}

std::string difference_beyond_steps(const Tensor& before, const Tensor& after) {
  const bool codes = is_8bit(before.dtype());
  if (!is_float(before.dtype()) && !codes)
    return discrete_difference(before, after, {0, nullptr, false});
  const std::vector<double> b = before.to_doubles(), a = after.to_doubles();
  double signal = 0, error = 0;
  int64_t far = 0;
  size_t worst = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    if (same(a[i], b[i])) continue;
    const double e = std::abs(a[i] - b[i]);
    if (!std::isfinite(e)) return differ_at(static_cast<int64_t>(i), before, b[i], a[i]);
    if (e > std::abs(a[worst] - b[worst])) worst = i;
    far += e > 1;
    error += e * e;
  }
  for (const double x : b) signal += std::isfinite(x) ? x * x : 0;
  const bool fits = codes
                        ? static_cast<double>(far) <= kDiscreteShare * static_cast<double>(b.size())
                        : error <= kStepEnergy * signal;
  return fits ? std::string() : differ_at(static_cast<int64_t>(worst), before, b[worst], a[worst]);
}

std::vector<Tensor> widened(const std::vector<Tensor>& inputs) {
  std::vector<Tensor> out;
  for (const Tensor& t : inputs)
    out.push_back(is_float(t.dtype()) ? *convert_tensor(t, DataType::kDouble) : t);
  return out;
}

}  // namespace onnxtool
