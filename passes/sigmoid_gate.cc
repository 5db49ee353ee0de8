#include "passes/sigmoid_gate.h"

#include "passes/shapes.h"

namespace onnxtool {

MatchOr<SigmoidGate> find_sigmoid_gate(Pattern& p, const Node& product) {
  if (product.opset() < 7) return no_match();
  const Value* x = nullptr;
  const Node* sigmoid = p.take_either(product, {"Sigmoid"}, x);
  if (!sigmoid || !sigmoid->has_input(0)) return no_match();
  double alpha = 1;
  if (&sigmoid->input(0) != x) {
    const Node* scaled = p.take(sigmoid->input(0), {"Mul"});
    const Value* inner = nullptr;
    const auto factor = scaled ? scalar_operand(*scaled, inner) : std::nullopt;
    if (!factor || inner != x) return no_match("sigmoid is of another value");
    alpha = *factor;
  }
  if (!same_rank(*x, product.output(0))) return no_match(kMayEnlarge);
  if (!p.closed()) return no_match(Pattern::kOtherUse);
  return SigmoidGate{x, alpha};
}

}  // namespace onnxtool
