// Biases of quantized layers that integer kernels cannot add.
#pragma once

#include <string>

#include "libopt/ir/graph.h"

namespace onnxtool {

/// What is wrong with the bias of a Conv or Gemm all of whose inputs are dequantized: it must be
/// int32 with the zero point 0 and the product of the scales of data and weights. Empty: nothing,
/// or no such layer. ONNX Runtime then runs a Conv in float; of a Gemm it asks for int32 alone, and
/// computes with another bias. Measured with onnxruntime 1.31, whose tolerance is one percent.
std::string bias_fault(const Node& layer);

/// Whether a DequantizeLinear or QuantizeLinear has a constant zero point other than 0.
bool has_zero_point(const Node& node);

}  // namespace onnxtool
