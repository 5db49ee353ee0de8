// The padding masks of com.microsoft's attention operators.
#pragma once

#include "calib/kernels/cpu/attention_core.h"

namespace onnxtool {

/// What a mask adds to scores, 0 or `hidden`: float of [batch or 1, 1, rows or 1, keys]. The mask
/// is int32 of
///   [batch]: keys that count, from the first one on;  [2 * batch]: ends, then begins of them;
///   [batch, keys] or [batch, rows, keys]: 0 hides a key.
Result<ConstView> padding_bias(KernelContext& ctx, const ConstView& mask, const HeadShape& q,
                               int64_t keys, float hidden, std::vector<int64_t>& dims);

/// The sum of two biases, of which either may be absent.
class TwoBiases final : public ScoreBias<float> {
 public:
  TwoBiases(MaskBias<float> first, MaskBias<float> second)
      : first_(std::move(first)), second_(std::move(second)) {}
  void add(int64_t batch, int64_t head, int64_t query, float* scores, int64_t keys) const override {
    first_.add(batch, head, query, scores, keys);
    second_.add(batch, head, query, scores, keys);
  }
  int64_t visible_keys(int64_t batch, int64_t last_query, int64_t keys) const override {
    return std::min(first_.visible_keys(batch, last_query, keys),
                    second_.visible_keys(batch, last_query, keys));
  }

 private:
  MaskBias<float> first_, second_;
};

/// Inputs `padding` and `bias` (-1 or absent: none) as biases behind `window`.
Result<TwoBiases> read_biases(KernelContext& ctx, KeyWindow window, int padding, int bias,
                              const HeadShape& q, int64_t keys);

}  // namespace onnxtool
