// Writes quantized weights into the graph, in place of the float ones.
#pragma once

#include <map>
#include <tuple>

#include "quant/weight_moments.h"
#include "quant/weight_only.h"
#include "quant/weight_sites.h"

namespace onnxtool {

class WeightEmitter {
 public:
  WeightEmitter(Model& model, const WeightOnlyOptions& options, const WeightSites& sites);

  /// Quantizes the site's weight, unless that is done, and rewrites the node. The node keeps its
  /// name and its output.
  Status emit(const WeightSite& site);
  /// Codes of weights that emit() has not seen yet are chosen by what their products read.
  void choose_by(GptqFactors factors) { factors_ = std::move(factors); }
  /// Each weight once.
  const std::vector<QuantizedWeight>& weights() const { return weights_; }

 private:
  struct Stored {
    Value* codes = nullptr;
    Value* scales = nullptr;
    Value* zero_points = nullptr;  // nullptr: the default
    int bits = 4;
    int64_t block = 0;  // 0: one scale per channel
  };
  using Key = std::tuple<const Value*, bool, float>;  // weight, stored across, factor

  Result<const Stored*> stored(const WeightSite& site, float factor);
  Result<Stored> quantize(const WeightSite& site, float factor);
  Result<Value*> add(const WeightSite& site, Tensor tensor, const char* suffix);
  Result<Tensor> keep(DataType type, std::vector<int64_t> dims, std::vector<std::byte> bytes);

  Status emit_nbits(const WeightSite& site);
  Status emit_gather_block(const WeightSite& site);
  Status emit_dequantize(const WeightSite& site);
  Status emit_gather_scaled(const WeightSite& site);

  Model& model_;
  const WeightOnlyOptions& options_;
  std::map<const Value*, int64_t> gathered_;  // weights that a Gather reads, and their block
  std::map<Key, Stored> done_;
  GptqFactors factors_;
  std::vector<QuantizedWeight> weights_;
};

}  // namespace onnxtool
