// MatMul and the Add of a constant row behind it as one Gemm.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "libopt/ir/model.h"
#include "quant/scheme.h"

namespace onnxtool {

/// Gemm takes the bias into its int32 accumulators, so that nothing between has to be quantized or
/// dequantized. onnxruntime makes a Gemm of the pair at load as well, and then finds a float bias
/// beside integer weights, which it does not fuse.
///
///   y = Add(MatMul(x, W), b)        x [..., K], W [K, N] and b [N] constant
///     =>
///   y = Gemm(x, W, b)               x of rank 2; else with a Reshape before and one behind,
///                                   whose shape is computed where several extents are unknown
///
/// A Relu or Clip behind stays right behind the Gemm. Nodes are left alone where the user's
/// selection wants one of them in float, and where the MatMul's result is among `left_alone`, by
/// name.
struct FusedProduct {
  int node = 0;              // id of the Gemm
  std::string result;        // name that the MatMul's result had
  std::string fused_result;  // and that the Gemm's has
  /// Results of the Reshapes before and behind; empty: there are none.
  std::vector<std::string> reshaped;
};
std::vector<FusedProduct> fuse_matmul_bias(Model& model, const QuantizeOptions& options,
                                           const std::set<std::string>& left_alone = {});

}  // namespace onnxtool
