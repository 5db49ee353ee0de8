// Layers of constant weights, and folding a per-channel affine step that follows into them.
#pragma once

#include <optional>
#include <vector>

#include "libopt/rewrite/rule.h"

namespace onnxtool {

/// Conv, ConvTranspose, Gemm or MatMul whose weight, and bias where there is one, are constant.
struct Layer {
  enum class Kind : uint8_t { kConv, kConvTranspose, kGemm, kMatMul };
  Kind kind;
  const Node* node;
  const Tensor* weight;      // input 1
  int64_t channels;          // of the output: axis 1, for MatMul the last
  std::vector<double> bias;  // [channels], Gemm's beta applied; empty: none
};

/// y = (x - mean) * scale + shift for each channel. Vectors of [channels]; `mean` and `shift` may
/// be empty (0), `scale` too (1).
struct Affine {
  std::vector<double> mean, scale, shift;
};

/// What the layer needs to become to do the affine step as well. No weight: it stays; no bias:
/// none.
struct FoldedLayer {
  Layer layer;
  std::optional<Tensor> weight, bias;
  /// Bytes that the new tensors add to the file, over those of the old ones.
  int64_t added_bytes = 0;
};

/// The layer that makes `value` for `reader` alone. Reasons begin with what is wrong of it.
MatchOr<Layer> find_layer(const Value& value, const Node& reader);

/// Arithmetic in double, rounded once to the weight's type. Fails where a finite weight or bias
/// would become infinite (float16 overflows early) or the step itself is not finite.
MatchOr<FoldedLayer> fold_affine(Layer layer, const Affine& step);

/// Puts the tensors in place. A MatMul has no bias: the caller adds `bias` behind it.
void apply_fold(const FoldedLayer& folded, Rewriter& rw);

/// One value per channel from a constant that is added to or multiplied with a Conv result of the
/// given rank: a single element, or extents 1 but for axis 1. Empty: it is no such constant.
std::vector<double> per_channel(const Tensor& constant, int64_t rank, int64_t channels);

/// The smallest normal number of a float type: below it numbers have fewer bits.
double smallest_normal(DataType dtype);
/// The values as a tensor of a float type, each rounded once, to nearest even.
Tensor round_to(DataType dtype, std::vector<int64_t> dims, const std::vector<double>& values);

}  // namespace onnxtool
