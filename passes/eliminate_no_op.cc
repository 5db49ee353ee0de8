// Removes operators of movement that move nothing.
//
//   y = Op(x, ...)     with y equal to x in every run
//     =>
//   readers of y read x
//
//   Cast, CastLike          to the type that x has
//   Reshape, Flatten, Squeeze, Unsqueeze, Expand, Tile
//                           the same shape; Reshape also of a vector to a vector, and where only
//                           the extent for which -1 stands is not known to be the same
//   Transpose               the identity, or fewer than two axes
//   Slice                   steps of 1 and the same shape, or from 0 to beyond every extent
//   Concat, Sum, Max, Min, Mean   of one input
//   Split                   into one piece
//
// Does not fire: shapes that are not known to be the same; y is a graph output and x cannot take
// its name (see eliminate_identity.cc). Source: the operators' texts; Reshape-14 for 0 and -1.

#include <algorithm>
#include <limits>

#include "passes/forward.h"
#include "passes/pass.h"
#include "passes/shapes.h"

namespace onnxtool {
namespace {

struct Match {
  const Node& node;
};

constexpr const char* kUnproven = "shapes are not known to be the same";

bool all(const std::optional<std::vector<int64_t>>& list, auto&& holds) {
  return list && std::ranges::all_of(*list, holds);
}

// -1 takes what the others leave: where those are kept, it is kept.
bool keeps_by_remainder(const Node& reshape) {
  const auto target = constant_ints(reshape, 1);
  const auto& in = reshape.input(0).type().shape;
  const auto& out = reshape.output(0).type().shape;
  if (!target || !in || !out || target->size() != in->size() || out->size() != in->size())
    return false;
  for (size_t i = 0; i < target->size(); ++i)
    if ((*target)[i] != -1 && !same_dim((*in)[i], (*out)[i])) return false;
  return true;
}

const char* why_not_reshape(const Node& n) {
  const Value &x = n.input(0), &y = n.output(0);
  if (same_shape(x, y)) return nullptr;
  if (!n.is("Reshape")) return kUnproven;
  if (x.type().rank() == 1 && y.type().rank() == 1) return nullptr;
  return keeps_by_remainder(n) ? nullptr : kUnproven;
}

const char* why_not_transpose(const Node& n) {
  const auto perm = attribute_ints(n, "perm");
  if (!perm) return n.input(0).type().rank().value_or(2) < 2 ? nullptr : "axes change places";
  for (size_t i = 0; i < perm->size(); ++i)
    if ((*perm)[i] != static_cast<int64_t>(i)) return "axes change places";
  return nullptr;
}

const char* why_not_slice(const Node& n) {
  const bool by_inputs = n.opset() >= 10;
  const bool steps_are_one =
      !by_inputs || !n.has_input(4) || all(constant_ints(n, 4), [](int64_t s) { return s == 1; });
  if (!steps_are_one) return "steps are not 1";
  if (same_shape(n.input(0), n.output(0))) return nullptr;
  // Exporters write the largest number, of 32 or of 64 bits, for "to the end".
  const bool from_start = all(ints_of(n, "starts", 1, 10), [](int64_t s) { return s == 0; });
  const bool to_end = all(ints_of(n, "ends", 2, 10),
                          [](int64_t e) { return e >= std::numeric_limits<int32_t>::max(); });
  return from_start && to_end ? nullptr : kUnproven;
}

const char* why_not_cast(const Node& n) {
  const DataType from = n.input(0).type().dtype;
  if (from == DataType::kUndefined) return "type is not known";
  const DataType to = n.is("CastLike")
                          ? (n.has_input(1) ? n.input(1).type().dtype : DataType::kUndefined)
                          : static_cast<DataType>(n.attr<int64_t>("to", 0));
  return from == to ? nullptr : "types differ";
}

const char* why_not(const Node& n) {
  if (n.is("Cast") || n.is("CastLike")) return why_not_cast(n);
  if (n.is("Transpose")) return why_not_transpose(n);
  if (n.is("Slice")) return why_not_slice(n);
  if (n.is("Concat") || n.is("Sum") || n.is("Max") || n.is("Min") || n.is("Mean"))
    return n.num_inputs() == 1 ? nullptr : "several inputs";
  if (n.is("Split"))
    return n.num_outputs() == 1 && same_shape(n.input(0), n.output(0)) ? nullptr : "several pieces";
  return why_not_reshape(n);
}

MatchOr<Match> match(const Node& node) {
  if (!node.has_input(0) || !node.has_output(0)) return no_match();
  if (const char* reason = why_not(node)) return no_match(reason);
  if (const char* reason = cannot_forward(node.output(0), node.input(0))) return no_match(reason);
  return Match{node};
}

void rewrite(const Match& m, Rewriter& rw) {
  rw.replace_uses(m.node.output(0), m.node.input(0));
  rw.remove(m.node);
}

}  // namespace

constinit const PassInfo kEliminateNoOp{
    .name = "eliminate-no-op",
    .summary = "remove casts to the same type and operators of movement that move nothing",
    .roots = {"Cast", "CastLike", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Expand", "Tile",
              "Transpose", "Slice", "Concat", "Sum", "Max", "Min", "Mean", "Split"},
    .level = Level::kBasic,
    .exactness = Exactness::kExact,
    .run = run_rule<match, rewrite>};
}  // namespace onnxtool
