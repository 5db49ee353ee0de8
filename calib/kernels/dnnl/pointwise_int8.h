// Convolutions of 8-bit codes that look at one pixel of few channels: storing their 32-bit sums, as
// oneDNN does, takes longer than making them, so they become codes while they are in registers.
#pragma once

#include <span>
#include <vector>

#include "calib/kernels/dnnl/convolution.h"
#include "calib/kernels/dnnl/requantize.h"

namespace onnxtool {

class PointwiseInt8 {
 public:
  /// Whether this is the faster way on this machine. The problem's types must be an unsigned source
  /// and signed weights.
  static bool serves(const ConvolutionProblem& problem);

  /// codes: [outputs, inputs]. `zero_point` is the source's.
  PointwiseInt8(std::span<const int8_t> codes, int64_t inputs, int32_t zero_point,
                std::span<const int32_t> bias);

  /// x: [pixels, inputs], y: [pixels, outputs]. Of `r` the bias is not read: this has its own.
  void run(const uint8_t* x, int64_t pixels, const Requantization& r, uint8_t* y) const;

 private:
  int64_t inputs_, outputs_;
  std::vector<int8_t> codes_;  // [blocks of 16 outputs, inputs / 4, 16, 4]
  std::vector<int32_t> bias_;  // of the product of codes, without the zero point
};

}  // namespace onnxtool
