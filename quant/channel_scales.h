// Channels between layers scaled up and down: what products read is divided by a factor for each
// channel, and their weights are multiplied by it. The model computes the same up to rounding.
//
//   y = MatMul(x, W)   =>   y = MatMul(x / s, s W)      s [depth], positive
//
// The division goes into what makes x, where that has parameters: the scale and bias of a
// LayerNormalization, a constant factor or addend, the weights of a product, past Relu. Elsewhere
// it becomes a Mul.
#pragma once

#include <functional>
#include <vector>

#include "libopt/ir/model.h"

namespace onnxtool {

/// MatMuls and Gemms of the main graph that read one value, with weights that only they read.
struct ProductGroup {
  Value* data = nullptr;
  int64_t depth = 0;
  std::vector<Node*> products;  // in graph order
  /// The weights of all of them, each once: matrices [depth, rows], or [rows, depth] where
  /// `along`, of float32.
  struct Weight {
    Value* value = nullptr;
    int64_t rows = 0;
    bool along = false;
  };
  std::vector<Weight> weights;
};

/// In graph order. `accepts` may turn products down; a weight that others read as well turns down
/// all products that read it.
std::vector<ProductGroup> product_groups(Model& model,
                                         const std::function<bool(const Node&)>& accepts);

/// Whether what makes the group's data takes the division. False also where others read it.
bool takes_division(const ProductGroup& group);

/// Divides and multiplies; a Mul is inserted where takes_division() is false.
void scale_channels(Model& model, const ProductGroup& group, const std::vector<float>& factors);

/// The weight times the factors, in its own layout.
std::vector<float> scaled_weight(const ProductGroup::Weight& weight,
                                 const std::vector<float>& factors);

}  // namespace onnxtool
