// Weight matrices in blocks: read from where they lie, quantized in parallel, a strip at a time.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "libopt/ir/tensor.h"
#include "libopt/support/status.h"
#include "quant/block_codes.h"

namespace onnxtool {

/// A constant matrix with `rows` outputs, each a sum over `depth` weights. Stored [rows, depth], or
/// [depth, rows] where `across`: as MatMul has it.
struct WeightMatrix {
  Tensor tensor;  // float or float16
  int64_t rows = 0, depth = 0;
  bool across = false;
};

/// How blocks are laid out.
enum class BlockLayout : uint8_t {
  /// Of MatMulNBits: codes [rows, blocks, block * bits / 8], the last block filled up; zero points
  /// packed like codes, [rows, ceil(blocks * bits / 8)]; scales [rows, blocks].
  kRows,
  /// Of DequantizeLinear: codes as the weights are stored, scales likewise with `blocks` instead of
  /// `depth`, zero points packed like codes.
  kStored,
};

struct WeightBlocks {
  std::vector<std::byte> codes;
  std::vector<float> scales;
  std::vector<std::byte> zero_points;  // empty where symmetric
  int64_t blocks = 0;                  // of a row
  double noise = 0, signal = 0;        // sums of squares over all weights
  bool lost = false;                   // some are too small for a scale, and zeros now
};

/// block: a power of two from 16 to 256. Memory beyond the result does not depend on the matrix.
/// Pages of a mapped file are let go once they are read. The result does not depend on threads.
/// Errors: NaN or infinities among the weights.
Result<WeightBlocks> quantize_in_blocks(const WeightMatrix& weights, int64_t block,
                                        const BlockFormat& format, BlockLayout layout);

/// One scale a row, codes as stored; 8 bits only.
Result<WeightBlocks> quantize_by_row(const WeightMatrix& weights, const BlockFormat& format);

/// The one or the other: block 0 stands for one scale a row.
Result<WeightBlocks> quantize_matrix(const WeightMatrix& weights, int64_t block,
                                     const BlockFormat& format, BlockLayout layout);

}  // namespace onnxtool
