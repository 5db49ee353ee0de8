// The two models of the GPU's table, with random weights: a machine with a GPU need not have them.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "libopt/ir/model.h"

namespace onnxtool::bench {

/// A model whose first dimension of every input may vary, and what one sample is.
struct BenchModel {
  const char* name;
  std::unique_ptr<Model> model;
  /// Of each input; int64 inputs are ids below `ids`.
  std::vector<std::vector<int64_t>> dims;
  int64_t ids = 0;
};

/// ResNet-50 after folding its normalizations: x [N, 3, side, side], widths of `width` * 1, 2,
/// 4, 8.
BenchModel resnet50(int64_t side = 224, int64_t width = 64);
/// BERT's embedding and encoder, operators in parts: ids [N, tokens], `layers` of `hidden` in heads
/// of 64.
BenchModel bert(int64_t layers = 12, int64_t hidden = 768, int64_t tokens = 128,
                int64_t words = 30522);

}  // namespace onnxtool::bench
