#include "passes/mask_bound.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "libopt/rewrite/match.h"

namespace onnxtool {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
// Masks are made in few steps; a value that several steps share is looked at for each.
constexpr int kMostSteps = 12;

struct Bounds {
  double low, high;
};

// What no float overflows for.
std::optional<Bounds> checked(double low, double high) {
  constexpr double kMost = std::numeric_limits<float>::max();
  // Written so that NaN is too much.
  if (!(low >= -kMost && high <= kMost)) return std::nullopt;
  return Bounds{low, high};
}

std::optional<Bounds> bounds_of_type(DataType type) {
  switch (type) {
    case DataType::kBool: return Bounds{0, 1};
    case DataType::kInt8: return Bounds{-0x1p7, 0x1p7};
    case DataType::kUint8: return Bounds{0, 0x1p8};
    case DataType::kInt32: return Bounds{-0x1p31, 0x1p31};
    case DataType::kInt64: return Bounds{-0x1p63, 0x1p63};
    default: return std::nullopt;
  }
}

std::optional<Bounds> bounds_of(const Tensor& t) {
  const auto values = t.to_doubles();
  if (values.empty() || std::ranges::any_of(values, [](double v) { return std::isnan(v); }))
    return std::nullopt;
  const auto [low, high] = std::ranges::minmax(values);
  return checked(low, high);
}

std::optional<Bounds> combine(const Node& n, const Bounds& a, const Bounds& b) {
  if (n.is("Add")) return checked(a.low + b.low, a.high + b.high);
  if (n.is("Sub")) return checked(a.low - b.high, a.high - b.low);
  if (n.is("Where")) return checked(std::min(a.low, b.low), std::max(a.high, b.high));
  const auto [low, high] =
      std::minmax({a.low * b.low, a.low * b.high, a.high * b.low, a.high * b.high});
  return checked(low, high);
}

std::optional<Bounds> bounds_of(const Value& v, int steps);

// What the nodes that make it say; nullopt: nothing.
std::optional<Bounds> bounds_of_made(const Value& v, int steps) {
  const Node* n = v.producer();
  if (!n || steps == 0 || !n->domain().empty()) return std::nullopt;
  const auto of = [&](int input) {
    return n->has_input(input) ? bounds_of(n->input(input), steps - 1) : std::nullopt;
  };
  if (n->is("Cast")) {
    // Integers lose the fraction.
    const auto a = of(0);
    return a ? std::optional(Bounds{std::floor(a->low), std::ceil(a->high)}) : std::nullopt;
  }
  for (const char* same :
       {"Identity", "Reshape", "Unsqueeze", "Squeeze", "Expand", "Transpose", "Slice", "Gather"})
    if (n->is(same)) return of(0);
  const bool where = n->is("Where");
  if (!where && !n->is("Add") && !n->is("Sub") && !n->is("Mul")) return std::nullopt;
  const auto a = of(where ? 1 : 0), b = of(where ? 2 : 1);
  return a && b ? combine(*n, *a, *b) : std::nullopt;
}

// nullopt: it may be anything.
std::optional<Bounds> bounds_of(const Value& v, int steps) {
  if (const Tensor* t = v.constant()) return bounds_of(*t);
  const auto made = bounds_of_made(v, steps);
  if (v.type().dtype == DataType::kFloat) return made;
  const auto typed = bounds_of_type(v.type().dtype);
  // Integers wrap that leave the range of their type.
  const bool within = made && typed && made->low >= typed->low && made->high <= typed->high;
  return within ? made : typed;
}

bool has_hidden_row(const Tensor& t) {
  const auto values = t.to_doubles();
  const auto row = static_cast<size_t>(t.rank() > 0 ? t.dims().back() : 1);
  for (size_t first = 0; first < values.size(); first += row)
    if (std::all_of(values.begin() + static_cast<std::ptrdiff_t>(first),
                    values.begin() + static_cast<std::ptrdiff_t>(first + row),
                    [](double v) { return v == -kInfinity; }))
      return true;
  return false;
}

}  // namespace

bool may_hide_all_keys(const Value& mask) {
  if (const Tensor* t = mask.constant()) return has_hidden_row(*t);
  return !bounds_of(mask, kMostSteps);
}

}  // namespace onnxtool
