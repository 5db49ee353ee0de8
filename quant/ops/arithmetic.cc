// Elementwise operators, pools and Softmax: integers in, integers out, each with its own output
// range.
#include "quant/ops/handler.h"

namespace onnxtool {
namespace {

const char* binary_obstacle(const Node& node) {
  // One side must be data: two constants are folded, not quantized.
  if (node.input(0).constant() && node.input(1).constant()) return "both operands are constant";
  return nullptr;
}

const char* concat_obstacle(const Node& node) {
  if (node.num_inputs() < 2) return "one input: nothing to concatenate";
  return nullptr;
}

}  // namespace

constinit const OpHandler kAddHandler{.op = "Add", .all_inputs = true, .obstacle = binary_obstacle};
constinit const OpHandler kMulHandler{.op = "Mul", .all_inputs = true, .obstacle = binary_obstacle};
constinit const OpHandler kConcatHandler{
    .op = "Concat", .all_inputs = true, .obstacle = concat_obstacle};
constinit const OpHandler kAveragePoolHandler{.op = "AveragePool"};
constinit const OpHandler kGlobalAveragePoolHandler{.op = "GlobalAveragePool"};
constinit const OpHandler kSigmoidHandler{.op = "Sigmoid", .unit_output = true};
constinit const OpHandler kLeakyReluHandler{.op = "LeakyRelu"};
constinit const OpHandler kSoftmaxHandler{.op = "Softmax", .unit_output = true};

}  // namespace onnxtool
