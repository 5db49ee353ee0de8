// Facts about QuantizeLinear and DequantizeLinear that the executor and the targets' predictions
// share.
#pragma once

#include "libopt/ir/graph.h"

namespace onnxtool {

/// Of ai.onnx.
bool is_quantize(const Node& node);
bool is_dequantize(const Node& node);

/// A constant with one element and rank 0 or 1.
bool is_one_element(const Value& value);

/// Scale and zero point of a QuantizeLinear or DequantizeLinear are both present, constant, and one
/// element each; the scale is positive and finite, so that codes are in the order of their values.
bool has_one_scale(const Node& node);

/// The scales and zero points of two such nodes are equal in type and bytes.
bool same_scale(const Node& a, const Node& b);

/// Whether QuantizeLinear's saturation does what the Relu or Clip before it does, so that the codes
/// are the same without it. The QuantizeLinear has one scale.
bool saturation_covers(const Node& activation, const Node& quantize);

}  // namespace onnxtool
