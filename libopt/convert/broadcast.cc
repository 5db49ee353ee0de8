// Before version 7 a smaller operand was aligned with the larger one by attributes, or by the
// operator's own rule. Numpy's rule aligns last axes, so axes of extent 1 are put behind the
// smaller operand's where it was aligned further to the front.

#include "libopt/convert/adapter.h"

namespace onnxtool::convert {
namespace {

// Puts `count` axes behind those of input 1.
void append_axes(const Node& node, Rewriter& rewriter, int64_t count) {
  if (count <= 0) return;
  Value& operand = node.input(1);
  if (const Tensor* constant = operand.constant()) {
    std::vector<int64_t> dims = constant->dims();
    dims.insert(dims.end(), static_cast<size_t>(count), 1);
    rewriter.set_input(node, 1,
                       &rewriter.add_constant(constant->reshaped(std::move(dims)), operand.name()));
    return;
  }
  std::vector<int64_t> axes;
  for (int64_t i = 0; i < count; ++i) axes.push_back(*operand.type().rank() + i);
  std::vector<Attribute> attributes;
  attributes.push_back(Attribute::of("axes", std::move(axes)));
  rewriter.set_input(
      node, 1,
      &add_typed(node, rewriter, "Unsqueeze", {&operand}, std::move(attributes), "aligned"));
}

// Whether `axis` places B inside A's axes: without it (or with -1, as Caffe2 wrote) their last axes
// meet.
bool is_placed(const Node& node) {
  return node.attr<int64_t>("broadcast", 0) != 0 && node.attr<int64_t>("axis", -1) >= 0 &&
         node.has_input(1) && known_count(node.input(1)) != 1;
}

}  // namespace

const char* cannot_align_operands(const Node& node) {
  if (!is_placed(node)) return nullptr;
  const auto a = node.input(0).type().rank(), b = node.input(1).type().rank();
  if (!a || !b) return "axis aligns operands of unknown rank";
  if (node.attr<int64_t>("axis", -1) + *b > *a)
    return "axis places the second operand beyond the first one's axes";
  return nullptr;
}

void align_operands(const Node& node, Rewriter& rewriter, int) {
  if (is_placed(node))
    append_axes(node, rewriter,
                *node.input(0).type().rank() - node.attr<int64_t>("axis", -1) -
                    *node.input(1).type().rank());
  rewriter.remove_attribute(node, "axis");
  rewriter.remove_attribute(node, "broadcast");
}

// PRelu's slope had one element for all, or one per channel: axis 1 of [N, C, ...].
const char* cannot_align_slope(const Node& node) {
  if (!node.has_input(1) || known_count(node.input(1)) == 1) return nullptr;
  return node.input(0).type().rank() && node.input(1).type().rank()
             ? nullptr
             : "it aligns operands of unknown rank";
}

void align_slope(const Node& node, Rewriter& rewriter, int) {
  if (!node.has_input(1) || known_count(node.input(1)) == 1 || *node.input(1).type().rank() != 1)
    return;
  append_axes(node, rewriter, *node.input(0).type().rank() - 2);
}

}  // namespace onnxtool::convert
