// Codes of weights that have one scale for every few of them: the arithmetic of weight-only
// quantization, as params.h is that of everything else.
//
//   w' = (code - zero_point) * scale        code in [0, 2^bits)
//
// Rounding is to the nearest code of the grid that comes closest: of a few grids, from the one that
// just holds the block to ones that clip a little, each with the scale that has the least squared
// error for its codes. Some 0.5 dB better than the grid that holds the block (measured on normal
// weights, 4 bits, blocks of 32).
#pragma once

#include <cstdint>

namespace onnxtool {

struct BlockFormat {
  int bits = 4;           // or 8
  bool symmetric = true;  // the zero point is 2^(bits - 1)
  /// Symmetric scales may be negative, so that the largest weight falls on the outermost code
  /// whatever its sign.
  bool signed_scale = false;

  int levels() const { return 1 << bits; }
  int middle() const { return 1 << (bits - 1); }
  /// How far symmetric codes go from the middle.
  int reach() const { return middle() - 1; }
};

struct BlockGrid {
  float scale = 1;
  int zero_point = 0;
  double noise = 0;   // sum of squared errors
  double signal = 0;  // sum of squares
  bool finite = true;
  bool lost = false;  // not zeros, but too small for a scale: their codes are those of zeros
};

/// Some steps of a float below the largest one: no scale times a code goes beyond.
inline constexpr float kLargestDecoded = 3.4028e38f;

/// Blocks side by side, each in a lane of its own: arithmetic on vectors needs no sums across them.
inline constexpr int64_t kBlockLanes = 16;

/// Of kBlockLanes blocks of `count` weights, at most 256; weights, codes: [count, kBlockLanes];
/// grids: one a lane. A block of zeros has scale 1. Codes times scales are finite. `finite` is
/// false where NaN or infinities are among a block's weights; its codes are then meaningless.
void quantize_blocks(const float (*weights)[kBlockLanes], int64_t count, const BlockFormat& format,
                     uint8_t (*codes)[kBlockLanes], BlockGrid* grids);

}  // namespace onnxtool
