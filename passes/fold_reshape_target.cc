// Makes the computed target of a Reshape constant where at most one extent is left open.
//
//   y = Reshape(x, Concat(Gather(Shape(x), 0), -1, Gather(Shape(x), 2), 64))
//     =>
//   y = Reshape(x, {0, -1, 0, 64})
//
// A number stays; what is the extent of x at the same place becomes 0; what is known of the
// result's shape is used, for a -1 too where --assume says that no extent is 0; the one thing that
// is left becomes -1, which Reshape computes from the others. Where that is not enough, and all
// leading extents become one and all others another, it is a Flatten, which needs no target:
//
//   y = Reshape(x, Concat(Gather(Shape(x), 0), Mul(Gather(Shape(x), 1), Gather(Shape(x), 2))))
//     =>
//   y = Flatten<axis = 1>(x)
//
// Does not fire: two extents are open; one is open beside a 0 that may stand for an extent of 0
// (--assume says otherwise), since runtimes refuse -1 beside that (a -1 that is in the computed
// target has this limit already); allowzero, where 0 means something else; the constant would make
// the file grow. Source: ONNX Reshape-5, -14, Flatten-9.

#include <algorithm>
#include <span>

#include "libopt/analysis/assumptions.h"
#include "libopt/analysis/extent.h"
#include "libopt/analysis/seam.h"
#include "libopt/io/encode.h"
#include "passes/growth.h"
#include "passes/pass.h"
#include "passes/shapes.h"

namespace onnxtool {
namespace {

struct Match {
  const Node& reshape;
  std::vector<int64_t> target;
  std::optional<int64_t> flatten;  // axis
};

constexpr int kFirstFlattenOfAll = 9;  // types

bool is_product_of(const Dim& extent, std::span<const Dim> dims) {
  std::optional<Extent> product = Extent::number(1);
  for (const Dim& d : dims) {
    const auto factor = Extent::of(d);
    product = product && factor ? Extent::product(*product, *factor) : std::nullopt;
  }
  return product && Extent::of(extent) == product;
}

// The axis before which Flatten cuts x to make a matrix of these extents.
std::optional<int64_t> flatten_axis(const Node& reshape, const std::vector<Dim>& to) {
  const auto& in = reshape.input(0).type().shape;
  if (reshape.opset() < kFirstFlattenOfAll || !in || to.size() != 2) return std::nullopt;
  const std::span<const Dim> dims(*in);
  for (size_t axis = 0; axis <= dims.size(); ++axis)
    if (is_product_of(to[0], dims.first(axis)) && is_product_of(to[1], dims.subspan(axis)))
      return static_cast<int64_t>(axis);
  return std::nullopt;
}

MatchOr<Match> match(const Node& reshape, const PassContext& context) {
  if (reshape.opset() < 5 || !reshape.has_input(0) || !reshape.has_input(1) ||
      !reshape.has_output(0))
    return no_match();
  if (reshape.input(1).constant()) return no_match();
  if (reshape.attr<int64_t>("allowzero", 0)) return no_match("allowzero");
  const auto elements = symbolic_elements(reshape.input(1));
  if (!elements) return no_match("number of extents is not known");
  const auto& in = reshape.input(0).type().shape;
  const auto& out = reshape.output(0).type().shape;
  std::vector<int64_t> target;
  int open = 0, unknown = 0, copied = 0;
  const bool fits = out && out->size() == elements->size();
  // Then what -1 stands for may be said, so that another one is left open: where an extent is 0,
  // the one would be 0 and the other what x has there.
  const bool none_is_zero = std::ranges::all_of(*elements, [&](const Dim& e) {
    return e.value ? *e.value != 0 : is_positive(e, reshape.graph().model());
  });
  for (size_t i = 0; i < elements->size(); ++i) {
    const Dim& e = (*elements)[i];
    int64_t extent = -1;
    if (e.value == -1 && none_is_zero && fits && (*out)[i].value.value_or(0) > 0)
      extent = *(*out)[i].value;
    else if (e.value)
      extent = *e.value;
    else if (fits && (*out)[i].value.value_or(0) > 0)
      extent = *(*out)[i].value;
    else if (in && i < in->size() &&
             (same_dim((*in)[i], e) || (fits && same_dim((*in)[i], (*out)[i]))))
      extent = 0;
    open += extent == -1;
    unknown += extent == -1 && !e.value;
    copied +=
        extent == 0 && !(in && i < in->size() && is_positive((*in)[i], reshape.graph().model()));
    target.push_back(extent);
  }
  if (open > 1 || (unknown && copied))
    if (const auto axis = flatten_axis(reshape, *elements)) return Match{reshape, {}, axis};
  if (open > 1) return no_match("several extents are open");
  if (unknown && copied) return no_match("an extent is open where another may be 0");
  const Node* producer = reshape.input(1).producer();
  const int64_t freed =
      producer && reshape.input(1).has_one_use() ? bytes_freed_with(*producer) : 0;
  const int64_t added = static_cast<int64_t>(encode_tensor("shape", Tensor::vector(target)).size());
  if (!may_grow(context, added, freed)) return no_match("the constant would make the file grow");
  return Match{reshape, std::move(target), std::nullopt};
}

void rewrite(const Match& m, Rewriter& rw) {
  if (m.flatten) {
    rw.resize_inputs(m.reshape, 1);
    rw.remove_attribute(m.reshape, "allowzero");
    rw.set_op(m.reshape, "Flatten", "");
    rw.set_attribute(m.reshape, Attribute::of("axis", *m.flatten));
    return;
  }
  rw.set_input(m.reshape, 1,
               &rw.add_constant(Tensor::vector(m.target), m.reshape.output(0).name() + "_shape"));
}

}  // namespace

constinit const PassInfo kFoldReshapeTarget{
    .name = "fold-reshape-target",
    .summary = "make the computed target of a Reshape constant, with 0 and -1 for what is dynamic",
    .roots = {"Reshape"},
    .level = Level::kBasic,
    .exactness = Exactness::kExact,
    .run = run_rule<match, rewrite>};
}  // namespace onnxtool
