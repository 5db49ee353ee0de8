// Where a model has weights that weight-only quantization can replace.
#pragma once

#include <vector>

#include "libopt/ir/model.h"
#include "quant/placement.h"
#include "quant/weight_blocks.h"
#include "quant/weight_only.h"

namespace onnxtool {

/// One reading of a weight.
struct WeightSite {
  Node* node = nullptr;       // MatMul, Gemm or Gather
  Value* weight = nullptr;    // constant
  Node* transpose = nullptr;  // between the two, where the weight is stored the other way around
  int64_t rows = 0, depth = 0;
  bool across = false;  // stored [depth, rows]
  bool gathers() const { return node->is("Gather"); }
  WeightMatrix matrix() const { return {*weight->constant(), rows, depth, across}; }
};

struct WeightSites {
  std::vector<WeightSite> sites;        // in graph order, subgraphs where their node stands
  std::vector<NodeDecision> decisions;  // of nodes that have a weight
};

/// Weights that only sites read, so that nothing keeps their floats.
WeightSites find_weight_sites(Model& model, const WeightOnlyOptions& options);

/// The block in which a weight is quantized; 0: one scale per channel.
int64_t block_of(const WeightSite& site, const WeightOnlyOptions& options);

/// The codes that weights get, those of a table where `table`, and how they lie. Tables in QDQ form
/// are multiplied by their scales, without a zero point and with 8 bits.
BlockFormat format_of(const WeightOnlyOptions& options, bool table);
BlockLayout block_layout(const WeightOnlyOptions& options, int64_t block);

/// Bytes of its integers, scales and zero points.
int64_t quantized_bytes(const WeightSite& site, int bits, int64_t block, bool symmetric);

}  // namespace onnxtool
