// Which values of two graphs stand for each other, although one of them was quantized, converted,
// optimized or renamed.
#pragma once

#include <cstdint>
#include <vector>

#include "libopt/ir/graph.h"

namespace onnxtool {

struct AlignedValues {
  enum class By : uint8_t { kName, kStructure, kProvenance };
  const Value* reference;
  const Value* test;
  By by = By::kName;
};

/// Results of nodes of the main graphs, each at most once, in the reference's order. First by what
/// nodes of the test graph say that they were made of (analysis/provenance.h): the last of these.
/// Then by name, with the endings that quantizers put behind it (X_DequantizeLinear_Output, X_quantized), unless
/// known shapes contradict; then by structure: the same operator (Conv for QLinearConv) on inputs
/// that are aligned, looking through QuantizeLinear, DequantizeLinear, Cast and Identity. Where
/// several nodes of a kind read the same inputs, attributes and shapes of constants tell them
/// apart, then their order if there are as many on both sides. Linear, but for such groups.
std::vector<AlignedValues> align_values(const Graph& reference, const Graph& test);

/// `Conv` for QLinearConv, ConvInteger and FusedConv; other operators are themselves.
std::string base_operator(const Node& node);

/// Scale and zero point of an 8-bit value, where they are constants of one element: from the node
/// that makes it, through nodes that leave codes as they are. scale 0: not known.
struct CodeParams {
  double scale = 0, zero_point = 0;
};
CodeParams code_params(const Value& value);

}  // namespace onnxtool
