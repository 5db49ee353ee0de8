// Makes one Pad of a Concat with a block of equal elements.
//
//   y = Concat<axis>(x, ConstantOfShape<c>(dims))     =>   y = Pad(x, n behind along axis, c)     n
//   = dims[axis] y = Concat<axis>(ConstantOfShape<c>(dims), x)     =>   y = Pad(x, n before along
//   axis, c)
//
// Does not fire: more than two inputs; the extents of the block are not constant; the rank of x is
// not known; types that Pad lacks (bool before opset 13, all but floats before 11); before 11, a
// double that the float attribute cannot hold. Source: ONNX Pad-2, -11, -13; ConstantOfShape-9;
// Concat-4.

#include "passes/pass.h"
#include "passes/shapes.h"

namespace onnxtool {
namespace {

struct Match {
  const Node& concat;
  const Value& x;
  const Node& block;
  std::vector<int64_t> pads;
};

Tensor element_of(const Node& block) {
  const Attribute* a = block.attribute("value");
  const auto* held = a ? a->get<NamedTensor>() : nullptr;
  return held ? held->tensor.reshaped({}) : Tensor::scalar(0.0f);
}

bool has_pad(DataType type, int opset) {
  if (is_float(type)) return type != DataType::kBfloat16 || opset >= 13;
  if (opset < 11) return false;
  return type == DataType::kInt64 || type == DataType::kInt32 ||
         (type == DataType::kBool && opset >= 13);
}

bool is_held_by_float(const Tensor& element) {
  if (element.dtype() != DataType::kDouble) return true;
  const double value = element.to_doubles()[0];
  return static_cast<double>(static_cast<float>(value)) == value;
}

MatchOr<Match> match(const Node& concat) {
  if (concat.num_inputs() != 2 || !concat.has_input(0) || !concat.has_input(1) ||
      !concat.has_output(0) || concat.opset() < 9)
    return no_match();
  for (int i = 0; i < 2; ++i) {
    const Node* block = concat.input(i).producer();
    if (!block || !block->is("ConstantOfShape") || &block->graph() != &concat.graph()) continue;
    const auto dims = constant_ints(*block, 0);
    if (!dims) return no_match("extents of the block are not constant");
    const Value& x = concat.input(1 - i);
    const auto rank = static_cast<int64_t>(dims->size());
    if (x.type().rank() != rank) return no_match("rank is not known");
    const Attribute* value = block->attribute("value");
    if (value && (!value->get<NamedTensor>() || value->get<NamedTensor>()->tensor.count() != 1))
      return no_match();
    if (!has_pad(x.type().dtype, concat.opset())) return no_match("type is not one of Pad's");
    if (concat.opset() < 11 && !is_held_by_float(element_of(*block)))
      return no_match("value is no float");
    int64_t axis = concat.attr<int64_t>("axis", 0);
    if (axis < 0) axis += rank;
    if (axis < 0 || axis >= rank || (*dims)[static_cast<size_t>(axis)] < 0) return no_match();
    std::vector<int64_t> pads(static_cast<size_t>(2 * rank), 0);
    pads[static_cast<size_t>(i == 0 ? axis : rank + axis)] = (*dims)[static_cast<size_t>(axis)];
    return Match{concat, x, *block, std::move(pads)};
  }
  return no_match();
}

void rewrite(const Match& m, Rewriter& rw) {
  const Tensor element = element_of(m.block);
  std::vector<Value*> inputs = {const_cast<Value*>(&m.x)};
  std::vector<Attribute> attributes;
  if (m.concat.opset() < 11) {
    attributes.push_back(Attribute::of("pads", m.pads));
    attributes.push_back(Attribute::of("value", static_cast<float>(element.to_doubles()[0])));
  } else {
    inputs.push_back(&rw.add_constant(Tensor::vector(m.pads), "pads"));
    inputs.push_back(&rw.add_constant(element, "fill"));
  }
  const Node& pad = rw.add_node("Pad", inputs, std::move(attributes), 1, m.concat.output(0).name());
  rw.replace_uses(m.concat.output(0), pad.output(0));
  rw.remove(m.concat);
}

}  // namespace

constinit const PassInfo kFuseConcatFill{
    .name = "fuse-concat-fill",
    .summary = "make one Pad of a Concat with a block of equal elements",
    .roots = {"Concat"},
    .level = Level::kBasic,
    .exactness = Exactness::kExact,
    .run = run_rule<match, rewrite>};
}  // namespace onnxtool
