#include "quant/accuracy_target.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

namespace onnxtool {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
// What some samples must promise beyond the target, and up to so many times as much where they are
// fewer than these.
constexpr double kSafeDb = 1, kSafeKl = 1.25, kMostCare = 2;
constexpr double kCarefulSamples = 8;

}  // namespace

std::string_view AccuracyTarget::name() const {
  return kind == Kind::kSqnr ? "sqnr" : kind == Kind::kKl ? "kl" : "drop";
}

std::string_view AccuracyTarget::unit() const {
  return kind == Kind::kSqnr ? "dB" : kind == Kind::kKl ? "" : "points";
}

Result<AccuracyTarget> parse_accuracy_target(const std::string& text) {
  AccuracyTarget t;
  const size_t equals = text.rfind('=');
  const std::string name = text.substr(0, equals);
  const char* const begin = text.data() + (equals == std::string::npos ? 0 : equals + 1);
  const char* const end = text.data() + text.size();
  const auto parsed = std::from_chars(begin, end, t.limit);
  const bool known = name == "sqnr" || name == "kl" || name == "drop";
  if (equals == std::string::npos || !known || parsed.ec != std::errc() || parsed.ptr != end ||
      !std::isfinite(t.limit) || (t.limit < 0 && name != "sqnr"))
    return Error{ErrorCode::kUsage, "--accuracy-target: '" + text + "' is no target",
                 "expected sqnr=DB, kl=NATS or drop=POINTS, as in sqnr=35"};
  t.kind = name == "sqnr" ? AccuracyTarget::Kind::kSqnr
           : name == "kl" ? AccuracyTarget::Kind::kKl
                          : AccuracyTarget::Kind::kDrop;
  return t;
}

double accuracy_of(const ModelComparison& compared, const AccuracyTarget& target) {
  if (target.kind == AccuracyTarget::Kind::kDrop) return compared.accuracy.drop().value_or(kNaN);
  const bool sqnr = target.kind == AccuracyTarget::Kind::kSqnr;
  const double worst = sqnr ? -INFINITY : INFINITY;
  double value = kNaN;
  for (const auto& [name, metrics] : compared.outputs) {
    // Where sizes depend on the data and differ there is nothing to compare; nor is there of
    // integer outputs.
    if (!metrics.failures().empty() && metrics.samples() == 0) continue;
    const auto v = metrics.value(sqnr ? Metric::kSqnr : Metric::kKl);
    if (!v) continue;
    if (std::isnan(*v)) return worst;
    value = std::isnan(value) ? *v : sqnr ? std::min(value, *v) : std::max(value, *v);
  }
  return value;
}

double worst_sqnr(const ModelComparison& compared) {
  const double worst = accuracy_of(compared, {AccuracyTarget::Kind::kSqnr, 0});
  return std::isnan(worst) ? -INFINITY : worst;
}

double carried_over(double few, const FewAndAll& other, const AccuracyTarget& target) {
  double carried = kNaN;
  if (target.kind == AccuracyTarget::Kind::kSqnr) carried = few + (other.all - other.few);
  if (target.kind == AccuracyTarget::Kind::kKl) carried = few * (other.all / other.few);
  return std::isfinite(carried) ? carried : few;
}

double with_care(double value, int64_t samples, const AccuracyTarget& target) {
  const double care = std::clamp(kCarefulSamples / static_cast<double>(samples), 1.0, kMostCare);
  switch (target.kind) {
    case AccuracyTarget::Kind::kSqnr: return value - kSafeDb * care;
    case AccuracyTarget::Kind::kKl: return value * std::pow(kSafeKl, care);
    case AccuracyTarget::Kind::kDrop: break;
  }
  return value;
}

}  // namespace onnxtool
