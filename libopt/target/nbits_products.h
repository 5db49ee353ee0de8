// Products by dequantized weights that onnxruntime makes MatMulNBits when it loads a model.
//
//   y = MatMul(x, DequantizeLinear(codes, scales, zero points))
//     =>   y = MatMulNBits(x, codes, scales, zero points)   accuracy level 4: x rounded to 8 bits
#pragma once

#include <optional>

#include "libopt/ir/graph.h"

namespace onnxtool {

/// A product whose weights become those of a MatMulNBits. What is said of them is checked: there
/// are as many scales and zero points as it takes, and block counts and sizes do not overflow.
struct PackedProduct {
  const Node* dequantize;   // reads codes, scales and zero points, all of them constant
  bool transposed = false;  // codes are [columns, depth], with a Transpose behind the dequantize
  int64_t depth = 0, columns = 0;  // the product sums up `depth` values; at least 1
  int bits = 0;                    // 2, 4 or 8
  int64_t block = 0;               // 16 to 256, a power of two
  // Where the scale and the zero point of a block stand: column * by_column + block * by_block.
  int64_t by_column = 0, by_block = 0;

  int64_t blocks() const { return (depth + block - 1) / block; }
};

/// Whether this node, a MatMul or Gemm of a graph as it stands in the file or as fuse_qdq() has it,
/// becomes a MatMulNBits, alone or with the sum behind it. Any node may be asked about.
/// Source: compared with the graphs that onnxruntime 1.31 saves at level extended
/// (tests/python/test_nbits_products.py has each condition).
std::optional<PackedProduct> packed_product(const Node& n);

}  // namespace onnxtool
