// Makes one Reshape of two operators that only give the same elements another shape.
//
//   y = Op2(Op1(x))     each of Reshape, Flatten, Squeeze, Unsqueeze, and Transpose that moves axes
//   of
//                       extent 1 only
//     =>
//   y = Reshape(x, target)     numbers, 0 where an extent of x stays in place, one -1 at most,
//                                which stands beside a 0 only where Op2 had it
//
// Does not fire: Op1's result is used elsewhere; the shapes are not known well enough for such a
// target (0 never refers to the shape between); two Unsqueeze of integers, which runtimes look for
// where they fuse attention masks; opset below 5, where Reshape had an attribute. Source: ONNX
// Reshape-5, -14 (allowzero stays 0).

#include <algorithm>

#include "libopt/io/encode.h"
#include "passes/growth.h"
#include "passes/pass.h"
#include "passes/shapes.h"

namespace onnxtool {
namespace {

struct Match {
  const Node& second;
  const Value& x;
  std::vector<int64_t> target;
};

// Whether the elements keep their order: axes of extent 1 may go anywhere.
bool keeps_order(const Node& transpose) {
  const auto perm = attribute_ints(transpose, "perm");
  const auto& shape = transpose.input(0).type().shape;
  if (!perm || !shape || perm->size() != shape->size()) return false;
  int64_t last = -1;
  for (const int64_t axis : *perm) {
    if (axis < 0 || axis >= static_cast<int64_t>(shape->size())) return false;
    if ((*shape)[static_cast<size_t>(axis)].value == 1) continue;
    if (axis < last) return false;
    last = axis;
  }
  return true;
}

bool only_reshapes(const Node& n) {
  if (n.is("Transpose")) return n.has_input(0) && keeps_order(n);
  return n.is("Reshape") || n.is("Flatten") || n.is("Squeeze") || n.is("Unsqueeze");
}

// Where Op2 itself has a -1 in its target.
std::optional<size_t> open_place(const Node& second) {
  const auto target = second.is("Reshape") ? constant_ints(second, 1) : std::nullopt;
  if (!target) return std::nullopt;
  const auto place = std::ranges::find(*target, -1);
  return place == target->end() ? std::nullopt
                                : std::optional(static_cast<size_t>(place - target->begin()));
}

MatchOr<Match> match(const Node& second, const PassContext& context) {
  if (!second.has_input(0) || !second.has_output(0) || !only_reshapes(second)) return no_match();
  const Node* first = second.input(0).producer();
  if (!first || !only_reshapes(*first) || !first->has_input(0) ||
      &first->graph() != &second.graph())
    return no_match();
  if (second.opset() < 5) return no_match("opset below 5 has no target as an input");
  if (!second.input(0).has_one_use()) return no_match("shape between has another use");
  const Value& x = first->input(0);
  if (first->is("Unsqueeze") && second.is("Unsqueeze") && !is_float(x.type().dtype))
    return no_match("two Unsqueeze of integers make a mask");
  auto target = reshape_target(x.type(), second.output(0).type(), open_place(second));
  if (!target) return no_match("shapes are not known well enough");
  const Tensor tensor = Tensor::vector(*target);
  if (!may_grow(context, static_cast<int64_t>(encode_tensor("shape", tensor).size()),
                bytes_freed_with(*first) + bytes_freed_with(second)))
    return no_match("the target would make the file grow");
  return Match{second, x, *std::move(target)};
}

void rewrite(const Match& m, Rewriter& rw) {
  Value& target = rw.add_constant(Tensor::vector(m.target), m.second.output(0).name() + "_shape");
  rw.resize_inputs(m.second, 1);
  rw.set_op(m.second, "Reshape");
  for (const char* name : {"axis", "axes", "allowzero", "perm"})
    rw.remove_attribute(m.second, name);
  rw.set_input(m.second, 0, &m.x);
  rw.set_input(m.second, 1, &target);
}

}  // namespace

constinit const PassInfo kFuseReshapes{
    .name = "fuse-reshapes",
    .summary =
        "make one Reshape of two of Reshape, Flatten, Squeeze, Unsqueeze and Transpose of unit "
        "axes",
    .roots = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"},
    .level = Level::kBasic,
    .exactness = Exactness::kExact,
    .run = run_rule<match, rewrite>};
}  // namespace onnxtool
