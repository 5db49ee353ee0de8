// Makes one Cast of two where the first loses nothing.
//
//   y = Cast<T2>(Cast<T1>(x))     every value of x's type is one of T1
//     =>
//   y = Cast<T2>(x)
//
// Does not fire: the first cast may round, saturate or wrap (float to int to float truncates, int64
// to float to double rounds); the second makes integers of floating-point numbers that may be out
// of their range, for which runtimes have no rule in common; numbers of 8 bits and less, whose
// casts saturate or wrap by rules of their own; strings; the first result is used elsewhere, unless
// the second returns to x's type. Source: ONNX Cast-13.

#include <algorithm>
#include <array>
#include <utility>

#include "passes/pass.h"

namespace onnxtool {
namespace {

struct Match {
  const Node& second;
  const Value& x;
};

using T = DataType;

// Significant bits of integers up to which each float type is exact.
int mantissa(T t) {
  switch (t) {
    case T::kBfloat16: return 8;
    case T::kFloat16: return 11;
    case T::kFloat: return 24;
    case T::kDouble: return 53;
    default: return 0;
  }
}

// Bits of magnitude; signed types have one more for the sign. 0: no integer, or one of 8 bits or
// less.
std::pair<int, bool> integer_bits(T t) {
  switch (t) {
    case T::kBool: return {1, false};
    case T::kUint16: return {16, false};
    case T::kInt16: return {15, true};
    case T::kUint32: return {32, false};
    case T::kInt32: return {31, true};
    case T::kUint64: return {64, false};
    case T::kInt64: return {63, true};
    default: return {0, false};
  }
}

bool is_lossless(T from, T to) {
  if (from == to) return mantissa(from) || integer_bits(from).first;
  const auto [bits, is_signed] = integer_bits(from);
  if (bits) {
    if (mantissa(to)) return bits <= mantissa(to) && (to != T::kFloat16 || bits < 16);
    const auto [room, to_signed] = integer_bits(to);
    return room >= bits && (to_signed || !is_signed);
  }
  if (to == T::kDouble) return mantissa(from) != 0;
  return to == T::kFloat && (from == T::kFloat16 || from == T::kBfloat16);
}

T target(const Node& cast) { return static_cast<T>(cast.attr<int64_t>("to", 0)); }

MatchOr<Match> match(const Node& second) {
  if (!second.has_input(0) || !second.has_output(0)) return no_match();
  const Node* first = second.input(0).producer();
  if (!first || !first->is("Cast") || !first->has_input(0)) return no_match();
  const Value& x = first->input(0);
  if (!is_lossless(x.type().dtype, target(*first)))
    return no_match("first cast may lose something");
  const bool plain = mantissa(target(second)) || integer_bits(target(second)).first;
  if (!plain) return no_match("second cast is to a type of its own rules");
  const bool to_integer = integer_bits(target(second)).first && target(second) != T::kBool;
  if (to_integer && mantissa(target(*first)) && !is_lossless(x.type().dtype, target(second)))
    return no_match("numbers may be out of the integer's range");
  const bool returns = target(second) == x.type().dtype;
  if (!returns && !second.input(0).has_one_use()) return no_match("first result has another use");
  return Match{second, x};
}

void rewrite(const Match& m, Rewriter& rw) { rw.set_input(m.second, 0, &m.x); }

}  // namespace

constinit const PassInfo kFuseCasts{.name = "fuse-casts",
                                    .summary = "make one Cast of two where the first loses nothing",
                                    .roots = {"Cast"},
                                    .level = Level::kBasic,
                                    .exactness = Exactness::kExact,
                                    .run = run_rule<match, rewrite>};
}  // namespace onnxtool
