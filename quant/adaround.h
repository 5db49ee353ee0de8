// AdaRound: whether each weight is rounded up or down is chosen by what it does to the output.
//
// With w / s = f + r, f whole and r in [0, 1), a row of weights gets the codes f + h for h in
// {0, 1} that leave the least e^T M e, e = w - s (f + h), M the sum of x x^T over what the layer
// reads. h is first sought in [0, 1], as a stretched sigmoid of unbounded variables that Adam moves
// along the gradient, while a penalty drives it to the ends; then single weights are flipped as
// long as that helps. A row that ends up worse than rounded to nearest stays that.
//
// Source: Nagel et al., "Up or Down? Adaptive Rounding for Post-Training Quantization" (2020),
// sections 3.3 and 4, with its layer-wise loss taken from second moments.
#pragma once

#include <cstdint>
#include <vector>

namespace onnxtool {

/// Rows of one matrix that see the same inputs.
struct Rounding {
  int64_t rows = 0, depth = 0;
  std::vector<float> weights;    // [rows, depth]
  std::vector<float> scales;     // of each row
  std::vector<int> zero_points;  // likewise
  int lowest = 0, highest = 0;   // codes that the type has
  std::vector<int> codes;        // [rows, depth]: nearest at first
  /// [depth], or empty: the other weight of the pair that a kernel adds in 16 bits, -1 for none
  /// (quant/pair_limit.h). No pair of the chosen codes saturates, as long as the given ones do not.
  std::vector<int64_t> partners;
  /// Of the search; each takes rows x depth^2 multiplications. With few of them it finds nothing: 0
  /// leaves it out, and only moves single codes that lower the error by themselves.
  int64_t steps = 600;
};

/// Sums of squares of the outputs, and of their errors.
struct RoundingNoise {
  double signal = 0, nearest = 0, chosen = 0;
};

/// Chooses r.codes; moments: [depth, depth]. The result does not depend on threads.
RoundingNoise round_adaptively(Rounding& r, const std::vector<float>& moments);

}  // namespace onnxtool
