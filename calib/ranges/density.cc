// Integrals of a log-linear histogram.

#include "calib/ranges/density.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "calib/ranges/float8.h"

namespace onnxtool {
namespace {

double cube(double x) { return x * x * x; }

/// Nearest integer, ties to even, for |x| < 2^51; compiles to two additions in any vector width.
double nearest(double x) {
  constexpr double kShift = 0x1.8p52;
  return (x + kShift) - kShift;
}

/// Integral from 0 to y of (t - nearest integer)^2 dt: each unit cell gives 1/12.
double rounding_integral(double y) {
  const double n = nearest(y), f = y - n;
  return n * (1.0 / 12) + f * f * f * (1.0 / 3);
}

}  // namespace

void Density::Side::append(double low, double high, double n) {
  lower.push_back(low);
  upper.push_back(high);
  count.push_back(n);
  spread.push_back(high > low ? n / (high - low) : 0);
}

void Density::Side::finish() {
  const size_t n = size();
  const auto energy_of = [&](size_t i) {
    return count[i] * (lower[i] * lower[i] + lower[i] * upper[i] + upper[i] * upper[i]) / 3;
  };
  for (auto* v : {&mass, &energy, &tail_mass, &tail_sum, &tail_energy}) v->assign(n + 1, 0);
  for (size_t i = 0; i < n; ++i) {
    mass[i + 1] = mass[i] + count[i];
    energy[i + 1] = energy[i] + energy_of(i);
  }
  for (size_t i = n; i-- > 0;) {
    tail_mass[i] = tail_mass[i + 1] + count[i];
    tail_sum[i] = tail_sum[i + 1] + count[i] * 0.5 * (lower[i] + upper[i]);
    tail_energy[i] = tail_energy[i + 1] + energy_of(i);
  }
}

double Density::Side::mass_to(double x) const {
  const auto i =
      static_cast<size_t>(std::upper_bound(lower.begin(), lower.end(), x) - lower.begin());
  if (i == 0) return 0;
  const size_t last = i - 1;  // the last bucket that begins at or below x
  return mass[last] + (x >= upper[last] ? count[last] : spread[last] * (x - lower[last]));
}

double Density::Side::energy_to(double x) const {
  const auto i =
      static_cast<size_t>(std::upper_bound(lower.begin(), lower.end(), x) - lower.begin());
  if (i == 0) return 0;
  const size_t last = i - 1;
  return x >= upper[last] ? energy[i]
                          : energy[last] + spread[last] * (cube(x) - cube(lower[last])) / 3;
}

double Density::Side::clipped(double limit) const {
  // The first bucket that ends above the limit may begin below it.
  const auto i =
      static_cast<size_t>(std::upper_bound(upper.begin(), upper.end(), limit) - upper.begin());
  if (i == size()) return 0;
  double sum = 0;
  size_t whole = i;
  if (lower[i] < limit) {
    sum += spread[i] * cube(upper[i] - limit) / 3;
    ++whole;
  }
  const double tail = tail_energy[whole] - limit * (2 * tail_sum[whole] - limit * tail_mass[whole]);
  return sum + std::max(tail, 0.0);
}

double Density::Side::rounded(double step, double limit) const {
  // Up to half a step values round to zero: their error is their energy.
  const double half = std::min(0.5 * step, limit);
  double error = energy_to(half);
  if (limit <= half) return error;
  auto first =
      static_cast<size_t>(std::upper_bound(upper.begin(), upper.end(), half) - upper.begin());
  const auto end =
      static_cast<size_t>(std::upper_bound(upper.begin(), upper.end(), limit) - upper.begin());
  const double inverse = 1 / step;
  const auto cells = [&](size_t i, double from, double to) {
    return spread[i] * (rounding_integral(to * inverse) - rounding_integral(from * inverse));
  };
  double in_cells = 0, in_points = 0;  // in step^3 of a density, in step^2 of a count
  if (first <= end && first < size() && lower[first] < half) {
    in_cells += cells(first, half, std::min(upper[first], limit));
    ++first;
  }
  double c0 = 0, c1 = 0;  // two chains of additions
  size_t i = first;
  for (; i + 2 <= end; i += 2) {
    c0 += cells(i, lower[i], upper[i]);
    c1 += cells(i + 1, lower[i + 1], upper[i + 1]);
  }
  if (i < end) c0 += cells(i, lower[i], upper[i]);
  in_cells += c0 + c1;
  if (first <= end && end < size() && lower[end] < limit) in_cells += cells(end, lower[end], limit);
  // Only the outermost bucket, cut at the exact extremum, can be a point (6 after a Relu6).
  if (end == size() && first < end && spread.back() == 0) {
    const double y = upper.back() * inverse, f = y - nearest(y);
    in_points = count.back() * f * f;
  }
  return error + step * step * (in_cells * step + in_points);
}

// The same with 8-bit floats.
double Density::Side::rounded_to_floats(double scale, double limit,
                                        const QuantScheme& scheme) const {
  const double inverse = 1 / scale;
  double error = 0;
  for (size_t i = 0; i < size() && lower[i] < limit; ++i) {
    const double top = std::min(upper[i], limit), width = upper[i] - lower[i];
    const double inside = width > 0 ? count[i] * (top - lower[i]) / width : count[i];
    const double middle = 0.5 * (lower[i] + top);
    const auto rounded =
        static_cast<double>(nearest_float8(static_cast<float>(middle * inverse), scheme));
    const double e = middle - std::min(rounded * scale, limit);
    error += inside * (e * e + (top - lower[i]) * (top - lower[i]) / 12);
  }
  return error;
}

Density::Density(const Summary& summary)
    : total_(static_cast<double>(summary.finite())),
      zeros_(static_cast<double>(summary.zeros())),
      min_(summary.min()),
      max_(summary.max()) {
  const std::vector<Summary::Bucket> buckets = summary.buckets();
  const auto split =
      std::find_if(buckets.begin(), buckets.end(), [](const auto& b) { return b.upper > 0; });
  for (auto it = split; it != buckets.begin();) {
    --it;
    negative_.append(-it->upper, -it->lower, static_cast<double>(it->count));
  }
  for (auto it = split; it != buckets.end(); ++it)
    positive_.append(it->lower, it->upper, static_cast<double>(it->count));
  negative_.finish();
  positive_.finish();
  negatives_ = negative_.mass.back();
}

Density::Spike Density::spike_of(const Side& side) const {
  // The outermost bucket spans at most 1/256 of its values; a few may have come there by chance.
  constexpr double kShare = 0.01, kFewest = 64;
  if (side.size() == 0 || side.count.back() < std::max(kFewest, kShare * (total_ - zeros_)))
    return {};
  return {side.upper.back(), side.count.back()};
}

double Density::energy() const { return positive_.energy.back() + negative_.energy.back(); }

double Density::below(double x) const {
  if (x >= 0) return negatives_ + zeros_ + positive_.mass_to(x);
  // Values of magnitude >= |x|; a point mass at |x| belongs to them.
  return negatives_ - negative_.mass_to(std::nextafter(-x, 0.0));
}

namespace {

/// Smallest x in [low, high] with mass(x) >= target, by halving; mass is monotone.
template <class Mass>
double invert(double low, double high, double target, const Mass& mass) {
  if (mass(low) >= target) return low;
  while (true) {
    const double middle = low + 0.5 * (high - low);
    if (middle <= low || middle >= high) return high;
    (mass(middle) >= target ? high : low) = middle;
  }
}

}  // namespace

double Density::quantile(double mass) const {
  if (mass >= total_) return max_;
  return invert(min_, max_, mass, [this](double x) { return below(x); });
}

double Density::magnitude_quantile(double mass) const {
  const double extreme = std::max({max_, -min_, 0.0});
  if (mass >= total_) return extreme;
  return invert(0, extreme, mass,
                [this](double x) { return zeros_ + positive_.mass_to(x) + negative_.mass_to(x); });
}

double Density::squared_error(const Grid& grid, const QuantScheme& scheme) const {
  const double high = (static_cast<double>(scheme.clip_max) - grid.zero_point) * grid.scale;
  const double low = (static_cast<double>(grid.zero_point) - scheme.clip_min) * grid.scale;
  double error = 0;
  if (scheme.is_float8()) {
    for (const Side* s : {&positive_, &negative_})
      if (s->size()) error += s->rounded_to_floats(grid.scale, high, scheme) + s->clipped(high);
    return error;
  }
  if (positive_.size()) error += positive_.rounded(grid.scale, high) + positive_.clipped(high);
  if (negative_.size()) error += negative_.rounded(grid.scale, low) + negative_.clipped(low);
  return error;
}

double Density::approximate_error(double low, double high, double step) const {
  const auto side = [step](const Side& s, double limit) {
    if (s.size() == 0) return 0.0;
    const double half = std::min(0.5 * step, limit);
    return s.energy_to(half) + (s.mass_to(limit) - s.mass_to(half)) * step * step / 12 +
           s.clipped(limit);
  };
  return side(positive_, high) + side(negative_, -low);
}

}  // namespace onnxtool
