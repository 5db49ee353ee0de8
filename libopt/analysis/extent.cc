#include "libopt/analysis/extent.h"

#include <algorithm>
#include <charconv>

#include "libopt/ir/symbols.h"
#include "libopt/support/checked.h"

namespace onnxtool {
namespace {

// Shapes of real models stay far below these; beyond them an extent helps nobody.
constexpr size_t kMaxTerms = 16, kMaxName = 400;
constexpr int kMaxDepth = 16;
// Behind the prefix of invented names: a name that this file made.
constexpr char kComputed = '=';

std::optional<int64_t> read_number(std::string_view& text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc()) return std::nullopt;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return value;
}

bool take(std::string_view& text, std::string_view what) {
  if (!text.starts_with(what)) return false;
  text.remove_prefix(what.size());
  return true;
}

// `{5:batch}`: the count keeps names with any characters apart.
std::string atom_of(std::string_view name) {
  return "{" + std::to_string(name.size()) + ":" + std::string(name) + "}";
}

std::optional<std::string_view> name_in(std::string_view atom) {
  if (!take(atom, "{")) return std::nullopt;
  const auto size = read_number(atom);
  if (!size || !take(atom, ":") || atom.size() != static_cast<size_t>(*size) + 1)
    return std::nullopt;
  return atom.substr(0, static_cast<size_t>(*size));
}

}  // namespace

struct Extent::Operation {
  std::string_view op;
  Extent a, b;
};

Extent Extent::number(int64_t value) {
  Extent e;
  if (value) e.terms_[{}] = value;
  return e;
}

Extent Extent::named(std::string_view name) {
  Extent e;
  e.terms_[{atom_of(name)}] = 1;
  return e;
}

std::optional<Extent> Extent::of(const Dim& dim) {
  if (dim.value) return number(*dim.value);
  std::string_view name = dim.symbol;
  if (name.empty()) return std::nullopt;
  const std::string prefix = std::string(kInventedDim) + kComputed;
  if (!take(name, prefix)) return named(dim.symbol);
  auto parsed = parse(name, 0);
  return parsed && name.empty() ? parsed : std::nullopt;
}

std::optional<int64_t> Extent::as_number() const {
  if (terms_.empty()) return 0;
  if (terms_.size() > 1 || !terms_.begin()->first.empty()) return std::nullopt;
  return terms_.begin()->second;
}

std::optional<Dim> Extent::dim() const {
  if (const auto value = as_number()) return Dim::of(*value);
  if (terms_.size() == 1 && terms_.begin()->second == 1 && terms_.begin()->first.size() == 1)
    if (const auto name = name_in(terms_.begin()->first.front()))
      return Dim::named(std::string(*name));
  std::string name = std::string(kInventedDim) + kComputed + text();
  if (name.size() > kMaxName) return std::nullopt;
  return Dim::named(std::move(name));
}

std::string Extent::text() const {
  if (terms_.empty()) return "0";
  std::string out;
  for (const auto& [atoms, coefficient] : terms_) {
    out += (out.empty() ? "" : "+") + std::to_string(coefficient);
    for (const std::string& a : atoms) out += "*" + a;
  }
  return out;
}

std::optional<Extent> Extent::parse(std::string_view& text, int depth) {
  if (depth > kMaxDepth) return std::nullopt;
  Extent e;
  do {
    const auto coefficient = read_number(text);
    if (!coefficient) return std::nullopt;
    Atoms atoms;
    while (take(text, "*")) {
      const std::string_view start = text;
      if (text.starts_with("{")) {
        const size_t colon = text.find(':');
        std::string_view digits = text.substr(1);
        const auto size = read_number(digits);
        if (!size || colon == text.npos || *size < 0 ||
            static_cast<size_t>(*size) + colon + 2 > text.size())
          return std::nullopt;
        text.remove_prefix(colon + static_cast<size_t>(*size) + 2);
      } else if (!read_operation(text, depth + 1)) {
        return std::nullopt;
      }
      atoms.emplace_back(start.substr(0, start.size() - text.size()));
    }
    if (*coefficient) e.terms_[std::move(atoms)] = *coefficient;
  } while (take(text, "+"));
  return e;
}

std::optional<Extent::Operation> Extent::read_operation(std::string_view& text, int depth) {
  for (const std::string_view op : {"floor", "min", "max"}) {
    if (!take(text, op)) continue;
    if (!take(text, "(")) return std::nullopt;
    auto a = parse(text, depth);
    if (!a || !take(text, ",")) return std::nullopt;
    auto b = parse(text, depth);
    if (!b || !take(text, ")")) return std::nullopt;
    return Operation{op, *std::move(a), *std::move(b)};
  }
  return std::nullopt;
}

std::optional<Extent> Extent::combined(const Extent& a, const Extent& b, int64_t sign) {
  Extent out = a;
  for (const auto& [atoms, coefficient] : b.terms_) {
    const auto signed_one = checked_mul(coefficient, sign);
    const auto it = out.terms_.try_emplace(atoms, 0).first;
    const auto total = signed_one ? checked_add(it->second, *signed_one) : std::nullopt;
    if (!total) return std::nullopt;
    it->second = *total;
    if (*total == 0) out.terms_.erase(it);
  }
  return out.terms_.size() <= kMaxTerms ? std::optional(std::move(out)) : std::nullopt;
}

std::optional<Extent> Extent::sum(const Extent& a, const Extent& b) { return combined(a, b, 1); }

std::optional<Extent> Extent::difference(const Extent& a, const Extent& b,
                                         const ExtentRanges& ranges) {
  auto out = combined(a, b, -1);
  return out && (out->as_number() || out->low(ranges).value_or(-1) >= 0) ? out : std::nullopt;
}

std::optional<Extent> Extent::product(const Extent& a, const Extent& b) {
  Extent out;
  for (const auto& [x, c] : a.terms_)
    for (const auto& [y, d] : b.terms_) {
      const auto coefficient = checked_mul(c, d);
      if (!coefficient) return std::nullopt;
      Extent term;
      Atoms atoms;
      std::ranges::merge(x, y, std::back_inserter(atoms));
      term.terms_[std::move(atoms)] = *coefficient;
      auto total = combined(out, term, 1);
      if (!total) return std::nullopt;
      out = *std::move(total);
    }
  return out;
}

std::optional<Extent> Extent::divided_by(const Extent& monomial) const {
  const auto& [divisor, by] = *monomial.terms_.begin();
  Extent out;
  for (const auto& [atoms, coefficient] : terms_) {
    if (coefficient % by || !std::ranges::includes(atoms, divisor)) return std::nullopt;
    Atoms rest;
    std::ranges::set_difference(atoms, divisor, std::back_inserter(rest));
    out.terms_[std::move(rest)] = coefficient / by;
  }
  return out;
}

std::optional<Extent> Extent::opaque(std::string_view op, const Extent& a, const Extent& b) {
  Extent out;
  std::string atom = std::string(op) + "(" + a.text() + "," + b.text() + ")";
  if (atom.size() > kMaxName) return std::nullopt;
  out.terms_[{std::move(atom)}] = 1;
  return out;
}

std::optional<Extent> Extent::quotient(const Extent& a, const Extent& b,
                                       const ExtentRanges& ranges) {
  if (b.terms_.empty() || a.low(ranges).value_or(-1) < 0 || b.low(ranges).value_or(-1) < 0)
    return std::nullopt;
  if (b.terms_.size() == 1)
    if (auto exact = a.divided_by(b)) return exact;
  const auto by = b.as_number();
  if (!by) return opaque("floor", a, b);
  // What the number divides comes out: floor((b q + r) / b) = q + floor(r / b).
  Extent whole, rest;
  for (const auto& [atoms, coefficient] : a.terms_)
    (coefficient % *by ? rest : whole).terms_[atoms] = coefficient;
  const Extent out = *whole.divided_by(b);
  const auto low = rest.low(ranges), high = rest.high(ranges);
  if (low && high && *low >= 0 && *high < *by) return out;
  if (!low || *low < 0) return opaque("floor", a, b);
  const auto left = opaque("floor", rest, b);
  return left ? sum(out, *left) : std::nullopt;
}

std::optional<Extent> Extent::smaller(const Extent& a, const Extent& b,
                                      const ExtentRanges& ranges) {
  const auto gap = combined(b, a, -1);
  if (gap && gap->low(ranges).value_or(-1) >= 0) return a;
  if (gap && gap->high(ranges).value_or(1) <= 0) return b;
  return a.text() < b.text() ? opaque("min", a, b) : opaque("min", b, a);
}

std::optional<Extent> Extent::larger(const Extent& a, const Extent& b, const ExtentRanges& ranges) {
  const auto gap = combined(b, a, -1);
  if (gap && gap->low(ranges).value_or(-1) >= 0) return b;
  if (gap && gap->high(ranges).value_or(1) <= 0) return a;
  return a.text() < b.text() ? opaque("max", a, b) : opaque("max", b, a);
}

std::optional<int64_t> Extent::limit_on(const Extent& whole) const {
  if (terms_.size() != 1 || terms_.begin()->second != 1 || terms_.begin()->first.size() != 1)
    return std::nullopt;
  std::string_view atom = terms_.begin()->first.front();
  const auto of = read_operation(atom, 0);
  if (!of || of->op != "min") return std::nullopt;
  if (of->a == whole) return of->b.as_number();
  return of->b == whole ? of->a.as_number() : std::nullopt;
}

std::optional<ExtentRange> Extent::range_of_atom(std::string_view atom, const ExtentRanges& r) {
  if (const auto name = name_in(atom)) {
    const auto it = r.find(*name);
    return it == r.end() ? ExtentRange{} : it->second;
  }
  const auto of = read_operation(atom, 0);
  if (!of) return std::nullopt;
  const auto [al, ah] = of->a.bounds(r);
  const auto [bl, bh] = of->b.bounds(r);
  if (of->op == "floor") {
    ExtentRange out;
    if (ah && bl) out.high = *ah / std::max<int64_t>(*bl, 1);
    if (al && bh && *bh > 0) out.low = std::max<int64_t>(*al, 0) / *bh;
    return out;
  }
  if (!al || !bl) return std::nullopt;
  if (of->op == "max")
    return ExtentRange{std::max(*al, *bl),
                       ah && bh ? std::optional(std::max(*ah, *bh)) : std::nullopt};
  const auto high = ah && bh ? std::optional(std::min(*ah, *bh)) : ah ? ah : bh;
  return ExtentRange{std::min(*al, *bl), high};
}

// Both at once: each atom that an atom is made of is looked at once, not twice for each around it.
Extent::Bounds Extent::bounds(const ExtentRanges& ranges) const {
  const auto add = [](std::optional<int64_t>& total, std::optional<int64_t> term) {
    total = total && term ? checked_add(*total, *term) : std::nullopt;
  };
  Bounds total{0, 0};
  for (const auto& [atoms, coefficient] : terms_) {
    // Atoms are not negative, so a product is largest where each of them is.
    std::optional<int64_t> least = coefficient, most = coefficient;
    for (const std::string& a : atoms) {
      const auto range = range_of_atom(a, ranges);
      if (!range || range->low < 0) return {};
      if (least) least = checked_mul(*least, range->low);
      most = most && range->high ? checked_mul(*most, *range->high) : std::nullopt;
    }
    if (coefficient < 0) std::swap(least, most);
    add(total.low, least);
    add(total.high, most);
  }
  return total;
}

std::optional<int64_t> Extent::low(const ExtentRanges& ranges) const { return bounds(ranges).low; }
std::optional<int64_t> Extent::high(const ExtentRanges& ranges) const {
  return bounds(ranges).high;
}

}  // namespace onnxtool
