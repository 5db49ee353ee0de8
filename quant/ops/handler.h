// What quantization knows of each operator: one entry per op, listed in handlers.def.
#pragma once

#include <optional>
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
  /// Data inputs: input 0 only, or all of them.
  bool all_inputs = false;
  /// Constant input quantized per channel; -1: none.
  int weight_input = -1;
  int bias_input = -1;  // int32 with scale activation x weight
  /// Axis of the weight along which its scales run; nullopt: per-tensor only.
  std::optional<int64_t> (*channel_axis)(const Node&) = nullptr;
  /// nullptr, or a reason why this node cannot be quantized whatever the target does.
  const char* (*obstacle)(const Node&) = nullptr;
  /// The output lies in [0, 1] whatever the data.
  bool unit_output = false;
};

/// nullptr when no handler serves the operator.
const OpHandler* find_handler(const Node& node);

#define HANDLER(id) extern const OpHandler id;
#include "quant/ops/handlers.def"
#undef HANDLER

}  // namespace onnxtool
