// Single codes, scales and zero points of a matrix in blocks, wherever its layout puts them.
#pragma once

#include "quant/weight_blocks.h"

namespace onnxtool {

class BlockAccess {
 public:
  /// block 0: one scale a row. All must outlive this.
  BlockAccess(const WeightMatrix& w, int64_t block, const BlockFormat& format, BlockLayout layout,
              WeightBlocks& q)
      : w_(w), block_(block ? block : w.depth), format_(format), layout_(layout), q_(q) {}

  uint8_t code(int64_t row, int64_t k) const { return get(q_.codes, code_at(row, k)); }
  /// Not from two threads at a time: neighbours may share a byte.
  void set_code(int64_t row, int64_t k, uint8_t code) {
    const int64_t at = code_at(row, k);
    if (format_.bits == 8) {
      q_.codes[static_cast<size_t>(at)] = static_cast<std::byte>(code);
      return;
    }
    std::byte& b = q_.codes[static_cast<size_t>(at / 2)];
    const int shift = at % 2 ? 4 : 0;
    b = (b & static_cast<std::byte>(0xF0 >> shift)) | static_cast<std::byte>(code << shift);
  }
  float scale(int64_t row, int64_t k) const {
    return q_.scales[static_cast<size_t>(scale_at(row, k / block_))];
  }
  int zero_point(int64_t row, int64_t k) const {
    if (format_.symmetric) return format_.middle();
    const int64_t b = k / block_;
    if (layout_ == BlockLayout::kStored) return get(q_.zero_points, scale_at(row, b));
    // Rows start at a byte.
    const int64_t in_row = (q_.blocks * format_.bits + 7) / 8 * 8 / format_.bits;
    return get(q_.zero_points, row * in_row + b);
  }

 private:
  int64_t code_at(int64_t row, int64_t k) const {
    if (layout_ == BlockLayout::kRows) return row * q_.blocks * block_ + k;
    return w_.across ? k * w_.rows + row : row * w_.depth + k;
  }
  int64_t scale_at(int64_t row, int64_t b) const {
    const bool by_row = layout_ == BlockLayout::kRows || !w_.across;
    return by_row ? row * q_.blocks + b : b * w_.rows + row;
  }
  uint8_t get(const std::vector<std::byte>& from, int64_t at) const {
    if (format_.bits == 8) return static_cast<uint8_t>(from[static_cast<size_t>(at)]);
    return static_cast<uint8_t>(from[static_cast<size_t>(at / 2)] >> (at % 2 ? 4 : 0)) & 15;
  }

  const WeightMatrix& w_;
  int64_t block_;
  BlockFormat format_;
  BlockLayout layout_;
  WeightBlocks& q_;
};

}  // namespace onnxtool
