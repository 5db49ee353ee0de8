// GPTQ: codes chosen one input at a time, each making up for the errors of those before it.
//
// With M the sum of x x^T over what the layer reads, a row of weights w with the codes' values q
// errs by (w - q)^T M (w - q) in all. Let M = R R^T, R upper triangular, inputs in the order in
// which they are quantized. Then that is the sum over i of
//
//   ( R_ii (w_i - q_i) + sum over j < i of R_ji (w_j - q_j) )^2
//
// so q_i is rounded from w_i + sum over j < i of (R_ji / R_ii) (w_j - q_j): what is left of the
// term is half a step at most. Inputs with the largest M_ii come first, when most others can still
// make up for them; scales and zero points are those that the weights had before.
//
// Source: Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
// Transformers" (2022), with its order by activation size; a factor of M in place of one of its
// inverse gives the same codes.
#pragma once

#include <optional>

#include "quant/input_moments.h"
#include "quant/weight_blocks.h"

namespace onnxtool {

/// Sums of squares over a layer's outputs.
struct OutputNoise {
  double signal = 0;
  double nearest = 0;  // of the error when every weight is rounded to its nearest code
  double chosen = 0;   // of the error with the codes that were chosen
};

/// The factor of one M, with inputs in reversed order: position 0 is quantized last.
struct GptqFactor {
  std::vector<int64_t> input;  // by position
  std::vector<float> upper;    // [depth, depth], M = upper^T upper
};

/// nullopt where the inputs were all zero.
std::optional<GptqFactor> factor_moments(const InputMoments& moments);

/// Chooses the codes of q again, row by row where that lowers the error. block 0: one scale a row,
/// as quantize_by_row() makes it. The result does not depend on threads.
OutputNoise choose_codes(const WeightMatrix& weights, const GptqFactor& factor, int64_t block,
                         const BlockFormat& format, BlockLayout layout, WeightBlocks& q);

}  // namespace onnxtool
