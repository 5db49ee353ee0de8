// The integer operators of a QDQ graph as records in a .ort file (libopt/ort/fusion_records.h): the
// graph stays as it is, for providers that read Q and DQ, and the CPU provider fuses it at load.
#pragma once

#include <vector>

#include "libopt/ir/graph.h"
#include "libopt/ort/fusion_records.h"
#include "libopt/target/target.h"

namespace onnxtool {

/// Gives the graph the form that records need, which computes the same bits: every DequantizeLinear
/// has one reader, others get a copy; activations go that the saturation of a QuantizeLinear
/// covers. Subgraphs too. Types must be inferred.
void prepare_qdq_records(Graph& graph);

/// One record for each operator between DequantizeLinear and QuantizeLinear that `target` has on
/// integers, and whose neighbours nothing else reads. Subgraphs too. Types must be inferred.
/// Source: the records that onnxruntime 1.31.1 saves, optimizer/qdq_transformer.
std::vector<OrtFusionRecord> find_qdq_records(const Graph& graph, const Target& target);

}  // namespace onnxtool
