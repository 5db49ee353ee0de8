// How a convolution is cut into pieces that run at a time.
#pragma once

#include <cstdint>
#include <optional>

#include "calib/kernels/dnnl/convolution.h"

namespace onnxtool {

/// Ranges of images, or of positions on one spatial axis of each image; and ranges of output
/// channels, whose weights are then read by one piece each.
struct ConvolutionTiling {
  size_t axis = 0;
  int64_t image_ranges = 1, ranges = 1, channel_ranges = 1;

  int64_t pieces() const { return image_ranges * ranges * channel_ranges; }
};

/// Channels are cut at multiples of this: primitives compute blocks of as many at most.
inline constexpr int64_t kChannelBlock = 64;

/// For implementations whose sums are the same however they are cut.
ConvolutionTiling tile_for_threads(const ConvolutionProblem& p, int threads);
/// For all others: by the problem alone, so that no bit depends on the number of threads.
ConvolutionTiling tile_alike_for_all_threads(const ConvolutionProblem& p);
/// For integer sums, which are exact: a piece's stay in cache until they are finished.
ConvolutionTiling tile_sums(const ConvolutionProblem& p, int threads);

/// The same number of pieces, made of pixels only.
ConvolutionTiling without_channel_ranges(const ConvolutionProblem& p, const ConvolutionTiling& t);

/// The outputs of one piece, and where they start.
struct ConvolutionPiece {
  ConvolutionProblem problem;
  int64_t image = 0, first_input = 0, first_output = 0, first_channel = 0;
};

/// Piece i of t.pieces(). Pieces of one range of channels follow each other. nullopt: it would see
/// nothing but padding.
std::optional<ConvolutionPiece> piece_of(const ConvolutionProblem& p, const ConvolutionTiling& t,
                                         int64_t i);

}  // namespace onnxtool
