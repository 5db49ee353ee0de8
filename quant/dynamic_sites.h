// Which nodes dynamic quantization is worth it for.
#pragma once

#include <vector>

#include "quant/dynamic.h"

namespace onnxtool {

struct DynamicSites {
  std::vector<Node*> nodes;             // MatMul, Gemm, LSTM, Conv, in graph order
  std::vector<NodeDecision> decisions;  // of these operators
};

/// Weighs integers and what it takes to get them against floats: one DynamicQuantizeLinear serves
/// all that read its tensor.
DynamicSites find_dynamic_sites(const Model& model, const DynamicOptions& options);

}  // namespace onnxtool
