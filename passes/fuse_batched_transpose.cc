// Transposes without merging leading axes for it.
//
//   y = Reshape(Transpose<0, ...>(Reshape(x, {a * b, c, d})), {a, b, ...})     x: [a, b, c, d]
//     =>
//   y = Transpose<0, 1, ...>(x)
//
// torch.export writes this for the keys of attention. Does not fire: shapes that are not known to
// be these; intermediate results used elsewhere. Source: ONNX Reshape, Transpose.

#include "libopt/rewrite/pattern.h"
#include "passes/layout.h"
#include "passes/pass.h"
#include "passes/shapes.h"

namespace onnxtool {
namespace {

using Dims = std::vector<Dim>;

struct Match {
  const Node& last;
  const Value& x;
  Perm perm;
};

bool same_dims(const Dims& a, size_t a_begin, const Dims& b, size_t b_begin, size_t count) {
  for (size_t i = 0; i < count; ++i)
    if (!same_dim(a[a_begin + i], b[b_begin + i])) return false;
  return true;
}

// The Reshape, Transpose or what else alone feeds `reader`.
const Node* sole_producer(const Node& reader, std::string_view op) {
  const Node* n = reader.has_input(0) ? reader.input(0).producer() : nullptr;
  return n && n->is(op) && n->has_input(0) && only_reader(n->output(0)) == &reader ? n : nullptr;
}

MatchOr<Match> match(const Node& last) {
  if (!last.has_input(0) || !last.has_output(0) || !last.input(0).producer() ||
      !last.input(0).producer()->is("Transpose"))
    return no_match();
  const Node* transpose = sole_producer(last, "Transpose");
  if (!transpose) return no_match(Pattern::kOtherUse);
  const Node* first = transpose->input(0).producer();
  if (!first || !first->is("Reshape")) return no_match();
  if (!(first = sole_producer(*transpose, "Reshape"))) return no_match(Pattern::kOtherUse);
  const auto &x = first->input(0).type().shape, &merged = first->output(0).type().shape,
             &y = last.output(0).type().shape;
  const Perm perm = perm_of(*transpose);
  if (!x || !merged || !y || perm.size() != merged->size()) return no_match("shapes are not known");
  if (perm.empty() || perm[0] != 0) return no_match("the merged axes move");
  if (x->size() <= merged->size() || x->size() != y->size())
    return no_match("no axes are merged and split again");
  const size_t rest = merged->size() - 1, leading = x->size() - rest;
  if (!same_dims(*x, leading, *merged, 1, rest) || !same_dims(*x, 0, *y, 0, leading))
    return no_match("shapes are not known to be the same");
  Perm whole;
  for (size_t i = 0; i < leading; ++i) whole.push_back(static_cast<int64_t>(i));
  for (size_t i = 1; i <= rest; ++i) {
    whole.push_back(perm[i] + static_cast<int64_t>(leading) - 1);
    if (!same_dim((*y)[leading + i - 1], (*x)[static_cast<size_t>(whole.back())]))
      return no_match("shapes are not known to be the same");
  }
  return Match{last, first->input(0), std::move(whole)};
}

void rewrite(const Match& m, Rewriter& rw) {
  std::vector<Attribute> attributes;
  attributes.push_back(Attribute::of("perm", m.perm));
  const Node& transpose = rw.add_node("Transpose", {const_cast<Value*>(&m.x)},
                                      std::move(attributes), 1, m.last.output(0).name());
  rw.replace_uses(m.last.output(0), transpose.output(0));
  rw.remove(m.last);
}

}  // namespace

constinit const PassInfo kFuseBatchedTranspose{
    .name = "fuse-batched-transpose",
    .summary = "transpose without Reshapes that merge leading axes before and split them behind",
    .roots = {"Reshape"},
    .level = Level::kBasic,
    .exactness = Exactness::kExact,
    .run = run_rule<match, rewrite>};
}  // namespace onnxtool
