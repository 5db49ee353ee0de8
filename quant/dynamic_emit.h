// Writes dynamic quantization into the graph.
#pragma once

#include <map>
#include <tuple>

#include "quant/dynamic.h"
#include "quant/pair_limit.h"
#include "quant/weight_blocks.h"

namespace onnxtool {

class DynamicEmitter {
 public:
  DynamicEmitter(Model& model, const DynamicOptions& options) : model_(model), options_(options) {}

  /// MatMul, Gemm, LSTM or Conv of find_dynamic_sites(). Its output keeps its name.
  Status emit(Node& node);
  /// Of what was emitted.
  const PairReport& pairs() const { return pairs_; }

 private:
  // q = x / scale + zero_point, made while the model runs.
  struct Activation {
    Value *codes, *scale, *zero_point;
  };
  struct Weight {
    Value *codes, *scales, *zero_points;  // zero_points is nullptr where they are 0
  };
  /// How a weight [.., rows, ..] is stored as integers.
  struct Layout {
    int64_t rows = 0, depth = 0;
    bool across = false;        // of the float weight: [depth, rows]
    bool transpose = false;     // codes become [depth, rows]
    std::vector<int64_t> dims;  // of the codes
    std::vector<int64_t> scale_dims;
    float factor = 1;                // of the scales
    bool shared_zero_point = false;  // of unsigned codes: one for all rows
    bool adds_pairs = false;         // the kernel does, of its depth
  };

  Activation quantized(Value& x, const Node& reader);
  // s8, of products whose kernel adds pairs along the depth.
  Result<WeightBlocks> pair_codes(const WeightMatrix& w, bool by_row);
  Result<Weight> quantized_weight(const Value& weight, const Layout& layout);
  Status emit_product(Node& node);
  Status emit_conv(Node& node);
  Status emit_lstm(Node& node);
  /// node becomes Cast(integers) * (scale * weight scales), plus `addend` unless that is nullptr.
  void scale_back(Node& node, Value& integers, const Activation& x, const Weight& w,
                  const Value* addend);

  Model& model_;
  const DynamicOptions& options_;
  std::map<std::pair<const Value*, const Graph*>, Activation> activations_;
  std::map<std::tuple<const Value*, bool, float>, Weight> weights_;
  PairReport pairs_;
};

}  // namespace onnxtool
