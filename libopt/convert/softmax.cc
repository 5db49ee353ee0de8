// Before version 13, Softmax, LogSoftmax and Hardmax saw a matrix: all axes from `axis` on were
// one. Since then `axis` is that single axis.

#include <optional>

#include "libopt/convert/adapter.h"

namespace onnxtool::convert {
namespace {

// The one axis from `axis` on whose extent may differ from 1: along it both versions compute the
// same.
std::optional<int64_t> single_axis(const ValueType& type, int64_t axis) {
  if (!type.shape) return std::nullopt;
  const auto rank = static_cast<int64_t>(type.shape->size());
  if (axis < 0) axis += rank;
  if (axis < 0 || axis >= rank) return std::nullopt;
  std::optional<int64_t> found;
  for (int64_t i = axis; i < rank; ++i) {
    if ((*type.shape)[static_cast<size_t>(i)].value == 1) continue;
    if (found) return std::nullopt;
    found = i;
  }
  if (!found || *found == rank - 1) return -1;
  return found;
}

}  // namespace

void softmax_axis(const Node& node, Rewriter& rewriter, int) {
  Value& x = node.input(0);
  const int64_t axis = node.attr<int64_t>("axis", 1);
  if (const auto single = single_axis(x.type(), axis)) {
    rewriter.set_attribute(node, Attribute::of("axis", *single));
    return;
  }
  // y = Reshape(Softmax(Flatten(x)), Shape(x)). An empty x of unknown shape is beyond Reshape,
  // which takes an extent of 0 for one to copy.
  const auto dims = x.type().static_dims();
  Value& shape = dims ? add_ints(node, rewriter, *dims, "shape")
                      : add_typed(node, rewriter, "Shape", {&x}, {}, "shape");
  std::vector<Attribute> flatten, last;
  flatten.push_back(Attribute::of("axis", axis));
  last.push_back(Attribute::of("axis", int64_t{-1}));
  Value& matrix = add_typed(node, rewriter, "Flatten", {&x}, std::move(flatten), "matrix");
  Value& rows = add_typed(node, rewriter, node.op_type(), {&matrix}, std::move(last), "rows");
  rewriter.set_op(node, "Reshape");
  rewriter.remove_attribute(node, "axis");
  rewriter.set_input(node, 0, &rows);
  rewriter.set_input(node, 1, &shape);
}

}  // namespace onnxtool::convert
