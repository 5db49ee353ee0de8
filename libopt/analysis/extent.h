// Algebra of extents that are not numbers: what exporters compute from Shape, in a form in which
// equal extents look alike.
//
// An extent is a polynomial with whole coefficients over atoms: names of the model's dimensions,
// and floor(a/b), min(a,b) and max(a,b) of extents that do not simplify. It travels between nodes
// as the name of a dimension (libopt/ir/symbols.h), which extent_text() makes and extent_of()
// reads.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libopt/ir/types.h"

namespace onnxtool {

/// What a dimension may be; the bounds are in it.
struct ExtentRange {
  int64_t low = 0;
  std::optional<int64_t> high;  // absent: anything
};

/// By names of dimensions. Those without an entry are extents: 0 or more.
using ExtentRanges = std::map<std::string, ExtentRange, std::less<>>;

class Extent {
 public:
  static Extent number(int64_t value);
  static Extent named(std::string_view name);
  /// Of a number or a name; nullopt: neither, or a name that is too complicated.
  static std::optional<Extent> of(const Dim& dim);

  /// nullopt: beyond int64, too many terms, or (difference) nothing is known to keep it from being
  /// negative, which would mean something else in a shape.
  static std::optional<Extent> sum(const Extent& a, const Extent& b);
  static std::optional<Extent> difference(const Extent& a, const Extent& b,
                                          const ExtentRanges& ranges);
  static std::optional<Extent> product(const Extent& a, const Extent& b);
  /// floor(a / b) where a is not negative; a b that turns out 0 is the model's own error.
  static std::optional<Extent> quotient(const Extent& a, const Extent& b,
                                        const ExtentRanges& ranges);
  static std::optional<Extent> smaller(const Extent& a, const Extent& b,
                                       const ExtentRanges& ranges);
  static std::optional<Extent> larger(const Extent& a, const Extent& b, const ExtentRanges& ranges);

  /// The number, or the name of it; nullopt: the name would be too long.
  std::optional<Dim> dim() const;
  /// Bounds of its value; an absent one is not known.
  std::optional<int64_t> low(const ExtentRanges& ranges) const;
  std::optional<int64_t> high(const ExtentRanges& ranges) const;
  /// The number n where this is the smaller of n and `whole`.
  std::optional<int64_t> limit_on(const Extent& whole) const;
  bool operator==(const Extent&) const = default;

 private:
  using Atoms = std::vector<std::string>;  // sorted; a power is an atom several times
  static std::optional<Extent> combined(const Extent& a, const Extent& b, int64_t sign);
  static std::optional<Extent> opaque(std::string_view op, const Extent& a, const Extent& b);
  struct Operation;  // floor, min or max of two extents
  static std::optional<Operation> read_operation(std::string_view& text, int depth);
  static std::optional<ExtentRange> range_of_atom(std::string_view atom, const ExtentRanges& r);
  struct Bounds {
    std::optional<int64_t> low, high;
  };
  Bounds bounds(const ExtentRanges& ranges) const;
  std::optional<Extent> divided_by(const Extent& monomial) const;
  std::string text() const;
  static std::optional<Extent> parse(std::string_view& text, int depth);
  std::optional<int64_t> as_number() const;

  std::map<Atoms, int64_t> terms_;  // coefficients, none of them 0
};

}  // namespace onnxtool
