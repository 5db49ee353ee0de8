// What onnxruntime makes of a QuantizeLinear/DequantizeLinear graph when it loads it.
#pragma once

#include <map>
#include <string>
#include <unordered_map>

#include "libopt/ir/model.h"
#include "libopt/target/target.h"

namespace onnxtool {

/// The graph that a runtime is predicted to run, as far as integers go.
struct IntegerGraph {
  std::map<std::string, int>
      integer_operators;  // integer operators that compute, by name: QLinearConv 12
  int quantize = 0;
  int dequantize = 0;
  /// Integer operator of each fused node, by the name of the node's first output in the model
  /// given; empty text: it moves integers and keeps its operator.
  std::unordered_map<std::string, std::string> fused;
};

/// Follows onnxruntime's rewrites at optimization level extended, CPU provider: every reader gets a
/// DequantizeLinear of its own; Q moves up and DQ moves down through operators that only move
/// elements; float weights and biases between DQ and Q are quantized; then each operator whose
/// inputs all come from DQ and whose results all go to Q becomes `target`'s integer operator.
/// Counts operators of subgraphs too. A target that is not onnxruntime: counts what is written.
/// Source: onnxruntime 1.31, core/optimizer/qdq_transformer, compared with the graphs that it
/// saves.
IntegerGraph fuse_qdq(const Model& model, const Target& target);

}  // namespace onnxtool
