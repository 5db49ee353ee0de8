// Makes a reduction keep, or drop, its axes instead of a node behind it.
//
//   y = Unsqueeze<axes>(Reduce<axes, keepdims = 0>(x))   =>   y = Reduce<axes, keepdims = 1>(x)
//   y = Squeeze<axes>(Reduce<axes, keepdims = 1>(x))     =>   y = Reduce<axes, keepdims = 0>(x)
//
// Reduce is any of ReduceL1 to ReduceSumSquare, ArgMax or ArgMin. Does not fire: axes that are not
// constant, or not the same; rank of x not known; the reduced value is used elsewhere.
// Source: ONNX ReduceMean-1, -18, ArgMax-1.

#include <algorithm>

#include "libopt/rewrite/pattern.h"
#include "passes/pass.h"
#include "passes/shapes.h"

namespace onnxtool {
namespace {

struct Match {
  const Node& shaping;
  const Node& reduction;
};

// ReduceSum took its axes as an input five versions before the others.
int first_with_input(const Node& reduction) { return reduction.is("ReduceSum") ? 13 : 18; }

std::optional<std::vector<int64_t>> reduced_axes(const Node& n) {
  if (n.is("ArgMax") || n.is("ArgMin")) return std::vector{n.attr<int64_t>("axis", 0)};
  return ints_of(n, "axes", 1, first_with_input(n));
}

// Counted from the start, in order; nullopt: not known, or none are given.
std::optional<std::vector<int64_t>> counted(std::optional<std::vector<int64_t>> axes,
                                            int64_t rank) {
  if (!axes || axes->empty()) return std::nullopt;
  for (int64_t& a : *axes) a += a < 0 ? rank : 0;
  std::ranges::sort(*axes);
  return axes;
}

MatchOr<Match> match(const Node& shaping) {
  if (!shaping.has_input(0) || !shaping.has_output(0)) return no_match();
  const Node* reduction = shaping.input(0).producer();
  const bool reduces = reduction && reduction->domain().empty() && reduction->has_input(0) &&
                       (reduction->op_type().starts_with("Reduce") || reduction->is("ArgMax") ||
                        reduction->is("ArgMin"));
  if (!reduces) return no_match();
  const bool keeps = reduction->attr<int64_t>("keepdims", 1) != 0;
  if (keeps != shaping.is("Squeeze")) return no_match();
  const auto rank = reduction->input(0).type().rank();
  if (!rank) return no_match("rank is not known");
  const auto axes = counted(reduced_axes(*reduction), *rank);
  if (!axes || axes != counted(ints_of(shaping, "axes", 1, 13), *rank))
    return no_match("axes are not known to be the same");
  if (only_reader(shaping.input(0)) != &shaping) return no_match("reduced value has another use");
  return Match{shaping, *reduction};
}

void rewrite(const Match& m, Rewriter& rw) {
  rw.set_attribute(m.reduction,
                   Attribute::of("keepdims", int64_t{m.shaping.is("Unsqueeze") ? 1 : 0}));
  const Value& reduced = m.reduction.output(0);
  const_cast<Value&>(reduced).set_type(m.shaping.output(0).type());
  rw.replace_uses(m.shaping.output(0), reduced);
  rw.remove(m.shaping);
}

}  // namespace

constinit const PassInfo kFuseReduceAxes{
    .name = "fuse-reduce-axes",
    .summary =
        "make a reduction keep or drop its axes instead of an Unsqueeze or Squeeze behind it",
    .roots = {"Unsqueeze", "Squeeze"},
    .level = Level::kBasic,
    .exactness = Exactness::kExact,
    .run = run_rule<match, rewrite>};
}  // namespace onnxtool
