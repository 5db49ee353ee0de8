// Source: onnxruntime/python/tools/quantization, registry.py and operators/.
#include "quant/ops/ort_compat.h"

#include <algorithm>

#include "quant/ops/movement.h"
#include "quant/ops/normalization.h"

namespace onnxtool {
namespace {

constinit const OpHandler kMoves{.op = "", .role = Role::kPassThrough};
constinit const OpHandler kMovesAndFills{
    .op = "Pad", .role = Role::kPassThrough, .all_inputs = true};
constinit const OpHandler kRounds{.op = ""};
constinit const OpHandler kRoundsAll{.op = "", .all_inputs = true};
constinit const OpHandler kPicks{.op = "Where", .all_inputs = true, .first_data = 1};
constinit const OpHandler kNormalizes{
    .op = "", .weight_input = 1, .bias_input = 2, .obstacle = normalization_obstacle};

bool is_one_of(const Node& node, std::initializer_list<const char*> ops) {
  return std::ranges::any_of(ops, [&](const char* op) { return node.is(op); });
}

}  // namespace

const OpHandler* ort_compat_handler(const Node& node, Form form) {
  if (is_one_of(node, {"Expand", "Tile", "DepthToSpace", "ReduceMax", "ReduceMin"})) return nullptr;
  if (form == Form::kQdq) {
    if (is_one_of(node, {"AveragePool", "TopK"})) return &kMoves;
    if (node.is("Pad")) return pad_obstacle(node) ? &kRoundsAll : &kMovesAndFills;
    if (is_one_of(node, {"Relu", "Clip", "CumSum", "ArgMax"})) return &kRounds;
    if (node.is("Where")) return &kPicks;
    if (is_one_of(node, {"InstanceNormalization", "LayerNormalization", "BatchNormalization"}))
      return &kNormalizes;
  } else if (is_one_of(node, {"ConvTranspose", "Slice", "GatherElements", "Where"}) ||
             (node.is("Gather") && node.has_input(0) && !node.input(0).constant())) {
    return nullptr;
  }
  const OpHandler* handler = find_handler(node);
  return handler && handler->qdq_only ? nullptr : handler;
}

OrtWhen ort_compat_when(const Node& node, const OpHandler& handler, Form form) {
  if (node.is("GlobalAveragePool") && form == Form::kQOperator) return OrtWhen::kInputIsQuantized;
  if (node.is("Split") || node.is("Pad")) return OrtWhen::kAlways;
  if (node.is("Where")) return OrtWhen::kInputsAreQuantized;
  if (node.is("Relu") || node.is("Clip")) return OrtWhen::kInputIsQuantized;
  return handler.role == Role::kPassThrough ? OrtWhen::kInputIsQuantized : OrtWhen::kAlways;
}

}  // namespace onnxtool
