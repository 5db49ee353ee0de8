// What attention is made of, in the forms that exporters write.
#pragma once

#include <array>
#include <optional>

#include "libopt/rewrite/match.h"
#include "libopt/rewrite/pattern.h"
#include "libopt/rewrite/rewriter.h"
#include "passes/layout.h"

namespace onnxtool {

/// From [batch, rows, heads, size] to [batch, heads, rows, size], and back.
inline const Perm kHeadsFirst = {0, 2, 1, 3};
/// From [batch, rows, heads, size] to [batch, heads, size, rows].
inline const Perm kKeysLast = {0, 2, 3, 1};

/// What the Transpose that makes the value reads, if its order is that.
const Value* untransposed(Pattern& p, const Value& value, const Perm& perm);

/// What makes the queries, keys or values of all heads: Reshape(x * weight + bias).
struct Projection {
  const Value* heads;
  const Value* x = nullptr;
  const Value* weight = nullptr;
  const Value* bias = nullptr;  // absent: none
  int part = -1;                // of a product of all three; -1: all of it
  bool heads_first = false;     // heads is [batch, heads, rows, size]
};
/// `heads` may be nullptr, which is a near miss too. Weight and bias are constant.
MatchOr<Projection> find_projection(Pattern& p, const Value* heads);
/// The same of heads that are one of three rows, [batch, heads, rows, size], of
/// Transpose<2, 0, 3, 1, 4>(Reshape(x * weight + bias, {batch, rows, 3, heads, size})), as vision
/// models have it.
MatchOr<Projection> find_third(Pattern& p, const Value* row);

/// The bias, or as many zeros: onnxruntime's kernel for Attention reads one even where the operator
/// declares it absent, and crashes.
Value* bias_or_zeros(const Value* bias, int64_t count, Rewriter& rw);

/// Whether the Softmax is over the last of four axes.
bool is_over_keys(const Node& softmax);

/// result = Softmax(scored) * values, over the last of four axes.
struct Weighted {
  const Value *scored, *values;
};
/// nullopt: something else makes the result.
std::optional<Weighted> find_weighted(Pattern& p, const Value& result);

/// scores = scale * query * key, or key^T where `transposes_key`.
struct Scores {
  const Value *query, *key;
  bool transposes_key;
  double scale;
};
MatchOr<Scores> find_scores(Pattern& p, const Value& value);

/// joined = Transpose(Softmax(scale * query * key + mask) * value), the Transpose back from heads.
struct Attended {
  std::array<const Value*, 3> heads;  // query, key, value; nullptr: of another order than heads
  /// The same before those Transposes, [batch, heads, rows, size]; nullptr: keys have another
  /// order.
  std::array<const Value*, 3> heads_first;
  const Value* mask;  // nullptr: none
  double scale;
};
MatchOr<Attended> find_attended(Pattern& p, const Value& joined);

/// How a mask goes with scores [batch, heads, rows, keys]: kFits has four axes, of which the first
/// two may be 1; kExpands fits once it has all four axes and all rows.
enum class MaskFit : uint8_t { kNone, kFits, kExpands };
MaskFit fit_of(const Value& mask, const Dim& batch, const Dim& heads, const Dim& rows,
               const Dim& keys);

/// The mask expanded to four axes and as many rows as it has keys.
Value* expanded_mask(const Value& mask, Rewriter& rw);

}  // namespace onnxtool
