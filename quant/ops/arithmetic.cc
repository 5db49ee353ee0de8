// Elementwise operators, pools and Softmax: integers in, integers out, each with its own output
// range.
#include <algorithm>
#include <cmath>

#include "quant/attention_scores.h"
#include "quant/ops/handler.h"

namespace onnxtool {
namespace {

const char* binary_obstacle(const Node& node) {
  // One side must be data: two constants are folded, not quantized.
  if (node.num_inputs() < 2) return "one operand: nothing to compute";
  if (node.input(0).constant() && node.input(1).constant()) return "both operands are constant";
  return nullptr;
}

// Of many divisors in one range the small ones would become 0.
const char* div_obstacle(const Node& node) {
  const Tensor* divisor = node.has_input(1) ? node.input(1).constant() : nullptr;
  if (!divisor || divisor->count() != 1 || divisor->to_doubles()[0] == 0)
    return "its divisor is no constant number";
  return node.input(0).constant() ? "both operands are constant" : nullptr;
}

// A constant that shuts elements out would take all of the range.
const char* where_obstacle(const Node& node) {
  if (node.input(1).constant() && node.input(2).constant()) return "both sides are constant";
  for (const int i : {1, 2})
    if (const Tensor* t = node.input(i).constant())
      if (std::ranges::any_of(t->to_doubles(),
                              [](double x) { return !(std::abs(x) <= -kMaskLevel); }))
        return "one side is a mask, whose value would take all of the range";
  return nullptr;
}

const char* concat_obstacle(const Node& node) {
  if (node.num_inputs() < 2) return "one input: nothing to concatenate";
  return nullptr;
}

}  // namespace

constinit const OpHandler kAddHandler{.op = "Add", .all_inputs = true, .obstacle = binary_obstacle};
constinit const OpHandler kMulHandler{.op = "Mul", .all_inputs = true, .obstacle = binary_obstacle};
// Of two operands and more.
constexpr OpHandler among_floats(std::string_view op) {
  return {.op = op, .all_inputs = true, .obstacle = binary_obstacle, .qdq_only = true};
}
constinit const OpHandler kSubHandler = among_floats("Sub");
constinit const OpHandler kDivHandler{
    .op = "Div", .all_inputs = true, .obstacle = div_obstacle, .qdq_only = true};
constinit const OpHandler kMaxHandler = among_floats("Max");
constinit const OpHandler kMinHandler = among_floats("Min");
constinit const OpHandler kPReluHandler = among_floats("PRelu");
constinit const OpHandler kConcatHandler{
    .op = "Concat", .all_inputs = true, .obstacle = concat_obstacle};
// (condition, x, y)
constinit const OpHandler kWhereHandler{
    .op = "Where", .all_inputs = true, .first_data = 1, .obstacle = where_obstacle};
constinit const OpHandler kAveragePoolHandler{.op = "AveragePool"};
constinit const OpHandler kGlobalAveragePoolHandler{.op = "GlobalAveragePool"};
constinit const OpHandler kSigmoidHandler{.op = "Sigmoid", .unit_output = true};
constinit const OpHandler kLeakyReluHandler{.op = "LeakyRelu"};
constinit const OpHandler kTanhHandler{.op = "Tanh", .qdq_only = true};
constinit const OpHandler kEluHandler{.op = "Elu", .qdq_only = true};
constinit const OpHandler kHardSwishHandler{.op = "HardSwish", .qdq_only = true};
constinit const OpHandler kGeluHandler{.op = "Gelu", .qdq_only = true};
constinit const OpHandler kReduceMeanHandler{.op = "ReduceMean", .qdq_only = true};
constinit const OpHandler kReduceSumHandler{.op = "ReduceSum", .qdq_only = true};
constinit const OpHandler kSoftmaxHandler{.op = "Softmax", .unit_output = true};

}  // namespace onnxtool
