// Makes one Slice of two that cut different axes.
//
//   y = Slice<axes a2>(Slice<axes a1>(x))     no axis in both
//     =>
//   y = Slice<axes a1 + a2>(x)
//
// Does not fire: starts, ends, axes or steps are not constant; both cut one axis; something else
// than such a Slice reads the first result, which would then be made twice; opset below 10, where
// they were attributes; the rank is not known and axes count from the end. Source: ONNX Slice-10,
// -13.

#include <algorithm>

#include "libopt/io/encode.h"
#include "passes/growth.h"
#include "passes/pass.h"
#include "passes/shapes.h"

namespace onnxtool {
namespace {

using Ints = std::vector<int64_t>;

struct Cut {
  Ints starts, ends, axes, steps;
};

struct Match {
  const Node& second;
  const Value& x;
  Cut cut;
};

std::optional<Cut> cut_of(const Node& slice) {
  if (!slice.is("Slice") || slice.opset() < 10 || !slice.has_input(0)) return std::nullopt;
  const auto starts = constant_ints(slice, 1), ends = constant_ints(slice, 2);
  if (!starts || !ends || starts->size() != ends->size()) return std::nullopt;
  Cut cut{*starts, *ends, {}, Ints(starts->size(), 1)};
  for (size_t i = 0; i < starts->size(); ++i) cut.axes.push_back(static_cast<int64_t>(i));
  if (slice.has_input(3)) {
    const auto axes = constant_ints(slice, 3);
    if (!axes || axes->size() != starts->size()) return std::nullopt;
    cut.axes = *axes;
  }
  if (slice.has_input(4)) {
    const auto steps = constant_ints(slice, 4);
    if (!steps || steps->size() != starts->size()) return std::nullopt;
    cut.steps = *steps;
  }
  const auto rank = slice.input(0).type().rank();
  for (int64_t& axis : cut.axes) {
    if (axis < 0 && !rank) return std::nullopt;
    if (axis < 0) axis += *rank;
  }
  return cut;
}

bool disjoint(const Ints& a, const Ints& b) {
  return std::ranges::none_of(a,
                              [&](int64_t axis) { return std::ranges::find(b, axis) != b.end(); });
}

MatchOr<Match> match(const Node& second, const PassContext& context) {
  if (!second.has_input(0) || !second.has_output(0)) return no_match();
  const Value& between = second.input(0);
  const Node* first = between.producer();
  if (!first || !first->is("Slice") || &first->graph() != &second.graph()) return no_match();
  const auto a = cut_of(*first), b = cut_of(second);
  if (!a || !b) return no_match("bounds are not constant");
  if (!disjoint(a->axes, b->axes)) return no_match("both cut one axis");
  if (between.is_graph_output()) return no_match("first result is used elsewhere");
  for (const Use& use : between.uses()) {
    const auto other = cut_of(*use.user);
    if (use.index != 0 || &use.user->graph() != &second.graph() || !other ||
        !disjoint(a->axes, other->axes))
      return no_match("first result is used elsewhere");
  }
  Cut cut = *a;
  for (const auto& [to, from] : {std::pair(&cut.starts, &b->starts),
                                 {&cut.ends, &b->ends},
                                 {&cut.axes, &b->axes},
                                 {&cut.steps, &b->steps}})
    to->insert(to->end(), from->begin(), from->end());
  const int64_t added =
      4 * static_cast<int64_t>(encode_tensor("slice_bounds", Tensor::vector(cut.starts)).size());
  if (!may_grow(context, added, bytes_freed_with(second) + bytes_freed_with(*first)))
    return no_match("the bounds would make the file grow");
  return Match{second, first->input(0), std::move(cut)};
}

void rewrite(const Match& m, Rewriter& rw) {
  const std::string name = m.second.output(0).name();
  // 32-bit bounds may stand in the file; all four want one type.
  rw.set_input(m.second, 1, &rw.add_constant(Tensor::vector(m.cut.starts), name + "_starts"));
  rw.set_input(m.second, 2, &rw.add_constant(Tensor::vector(m.cut.ends), name + "_ends"));
  rw.set_input(m.second, 3, &rw.add_constant(Tensor::vector(m.cut.axes), name + "_axes"));
  rw.set_input(m.second, 4, &rw.add_constant(Tensor::vector(m.cut.steps), name + "_steps"));
  rw.set_input(m.second, 0, &m.x);
}

}  // namespace

constinit const PassInfo kFuseSlices{.name = "fuse-slices",
                                     .summary = "make one Slice of two that cut different axes",
                                     .roots = {"Slice"},
                                     .level = Level::kBasic,
                                     .exactness = Exactness::kExact,
                                     .run = run_rule<match, rewrite>};
}  // namespace onnxtool
