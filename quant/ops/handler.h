// What quantization knows of each operator: one entry per op, listed in handlers.def.
#pragma once

#include <optional>
#include <ranges>
#include <string_view>

#include "libopt/ir/graph.h"

namespace onnxtool {

/// Why an operator is quantized at all.
enum class Role : uint8_t {
  kCore,         // does the arithmetic that integers speed up: always worth Q and DQ around it
  kArithmetic,   // runs on integers between others that do, with a range of its own
  kPassThrough,  // moves elements: output shares the input's scale and zero point
};

struct OpHandler {
  std::string_view op;  // of ai.onnx
  Role role = Role::kArithmetic;
  /// Data inputs: `first_data` only, or all from there on. What stands before is no number.
  bool all_inputs = false;
  int first_data = 0;
  /// Constant input quantized per channel; -1: none.
  int weight_input = -1;
  int bias_input = -1;  // int32 with scale activation x weight
  /// Of the weight's codes, whatever is asked for; undefined: what is asked for.
  DataType weight_type = DataType::kUndefined;
  /// Axis of the weight along which its scales run; nullopt: per-tensor only.
  std::optional<int64_t> (*channel_axis)(const Node&) = nullptr;
  /// nullptr, or a reason why this node cannot be quantized whatever the target does.
  const char* (*obstacle)(const Node&) = nullptr;
  /// The output lies in [0, 1] whatever the data.
  bool unit_output = false;
  /// There is no integer operator for it anywhere: it is for targets that read Q and DQ around it.
  bool qdq_only = false;
};

/// nullptr when no handler serves the operator.
const OpHandler* find_handler(const Node& node);

/// Whether the results are elements of the first input, so that codes and scale pass through
/// wherever there are integers.
bool moves_elements(const Node& node);

/// Indices of the node's data inputs, a weight among them.
inline std::ranges::iota_view<int, int> data_inputs(const OpHandler& handler, const Node& node) {
  return {handler.first_data, handler.all_inputs ? node.num_inputs() : handler.first_data + 1};
}

#define HANDLER(id) extern const OpHandler id;
#include "quant/ops/handlers.def"
#undef HANDLER

}  // namespace onnxtool
