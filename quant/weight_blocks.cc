#include "quant/weight_blocks.h"

#include <tbb/parallel_for.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>

#include "libopt/io/pages.h"
#include "libopt/support/half.h"

namespace onnxtool {
namespace {

constexpr int64_t kMaxBlock = 256;
// Read at a time, before pages are let go again.
constexpr int64_t kStripBytes = int64_t{16} << 20;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

Error not_finite() { return {ErrorCode::kNotFinite, "the weight holds NaN or infinities", {}}; }

// The weights as floats.
class Reader {
 public:
  explicit Reader(const WeightMatrix& w)
      : w_(w), data_(w.tensor.bytes().data()), half_(w.tensor.dtype() == DataType::kFloat16) {}

  int64_t element_bytes() const { return half_ ? 2 : 4; }
  /// `n` neighbours from element `at` on.
  void read(int64_t at, int64_t n, float* out) const {
    const std::byte* from = data_ + at * element_bytes();
    if (!half_ && n == kBlockLanes) {  // a cache line, where a call would cost more than the copy
      std::memcpy(out, from, kBlockLanes * sizeof(float));
      return;
    }
    if (!half_) {
      std::memcpy(out, from, static_cast<size_t>(n) * sizeof(float));
      return;
    }
    for (int64_t i = 0; i < n; ++i, from += 2) {
      Half h;
      std::memcpy(&h.bits, from, 2);
      out[i] = h;
    }
  }
  /// A scale of the weights' type that is next to nothing, with room for factors.
  float least_scale() const { return half_ ? 0x1p-14f : 1e-8f; }
  void release(int64_t at, int64_t n) const {
    release_pages(w_.tensor, static_cast<size_t>(at * element_bytes()),
                  static_cast<size_t>(n * element_bytes()));
  }

 private:
  const WeightMatrix& w_;
  const std::byte* data_;
  bool half_;
};

// Codes of a strip, one a byte, put behind those of the strips before.
class Packer {
 public:
  Packer(std::vector<std::byte>& out, int bits) : out_(out), bits_(bits) {}
  /// `at`: index of the first code, even.
  void put(int64_t at, std::span<const uint8_t> codes) {
    if (bits_ == 8) {
      std::memcpy(out_.data() + at, codes.data(), codes.size());
      return;
    }
    std::byte* to = out_.data() + at / 2;
    for (size_t i = 0; i < codes.size(); i += 2) {
      const int high = i + 1 < codes.size() ? codes[i + 1] : 0;
      *to++ = static_cast<std::byte>(codes[i] | high << 4);
    }
  }

 private:
  std::vector<std::byte>& out_;
  int bits_;
};

size_t packed_size(int64_t count, int bits) {
  return static_cast<size_t>(ceil_div(count * bits, 8));
}

// Blocks of zeros, whose scale is 0 so far, get the smallest one of the others. Kernels that sum
// codes and correct for zero points in floats leave an error as large as the scale, which must not
// exceed the others', nor weights that were too small for one.
void scale_zeros(WeightBlocks& blocks, float least) {
  constexpr float kLeastOfLost = 1e-35f;
  float smallest = std::numeric_limits<float>::infinity();
  for (const float s : blocks.scales)
    if (s != 0) smallest = std::min(smallest, std::abs(s));
  if (std::isinf(smallest)) smallest = blocks.lost ? std::min(least, kLeastOfLost) : least;
  for (float& s : blocks.scales)
    if (s == 0) s = smallest;
}

// The blocks of one matrix, strip by strip.
class BlockJob {
 public:
  BlockJob(const WeightMatrix& w, int64_t block, const BlockFormat& format, BlockLayout layout)
      : w_(w), reader_(w), block_(block), format_(format), layout_(layout) {
    out_.blocks = ceil_div(w.depth, block);
    const int64_t blocks = w.rows * out_.blocks;
    out_.codes.resize(layout == BlockLayout::kRows
                          ? static_cast<size_t>(blocks * block * format.bits / 8)
                          : packed_size(w.rows * w.depth, format.bits));
    out_.scales.resize(static_cast<size_t>(blocks));
    if (!format.symmetric) zero_points_.resize(static_cast<size_t>(blocks));
    noise_.resize(static_cast<size_t>(w.across ? out_.blocks : w.rows));
    signal_.resize(noise_.size());
  }

  Result<WeightBlocks> run() {
    if (w_.across)
      strips(out_.blocks, block_ * w_.rows,
             [&](int64_t first, int64_t last) { across(first, last); });
    else
      strips(w_.rows, w_.depth, [&](int64_t first, int64_t last) { along(first, last); });
    if (!finite_) return not_finite();
    out_.lost = lost_;
    scale_zeros(out_, reader_.least_scale());
    // In the order of the matrix, whoever computed them.
    for (size_t i = 0; i < noise_.size(); ++i) {
      out_.noise += noise_[i];
      out_.signal += signal_[i];
    }
    pack_zero_points();
    return std::move(out_);
  }

 private:
  // Of `units` of so many weights each.
  template <class Body>
  void strips(int64_t units, int64_t unit, const Body& body) {
    const int64_t most = std::max<int64_t>(kStripBytes / (unit * reader_.element_bytes()), 1);
    const int64_t step = most > 1 ? most / 2 * 2 : most + 1;  // even: no byte is shared by strips
    for (int64_t first = 0; first < units; first += step) {
      const int64_t last = std::min(units, first + step);
      base_ = first * unit;
      const int64_t end = std::min(last * unit, w_.rows * w_.depth);
      if (layout_ == BlockLayout::kStored) strip_.resize(static_cast<size_t>(end - base_));
      body(first, last);
      if (layout_ == BlockLayout::kStored) Packer(out_.codes, format_.bits).put(base_, strip_);
      reader_.release(base_, end - base_);
    }
  }

  // Blocks that are quantized together: `count` of them in the first lanes, zeros in the others.
  struct Tile {
    float x[kMaxBlock][kBlockLanes] = {};
    uint8_t codes[kMaxBlock][kBlockLanes];
    BlockGrid grids[kBlockLanes];
    int64_t count = 0;
  };

  // Stored [rows, depth]: neighbours of a row share a tile.
  void along(int64_t first, int64_t last) {
    tbb::parallel_for(first, last, [&](int64_t row) {
      Tile tile;
      float line[kMaxBlock];
      for (int64_t b = 0; b < out_.blocks; b += kBlockLanes) {
        tile.count = std::min(kBlockLanes, out_.blocks - b);
        for (int64_t j = 0; j < tile.count; ++j) {
          const int64_t n = weights_in(b + j);
          reader_.read(row * w_.depth + (b + j) * block_, n, line);
          for (int64_t k = 0; k < block_; ++k) tile.x[k][j] = k < n ? line[k] : 0;
        }
        quantize(tile);
        for (int64_t j = 0; j < tile.count; ++j) finish(tile, j, row, b + j, row);
      }
    });
  }

  // Stored [depth, rows]: the same block of neighbouring rows.
  void across(int64_t first, int64_t last) {
    // A block of every row is one task, so that its sums have one owner.
    tbb::parallel_for(first, last, [&](int64_t b) {
      Tile tile;
      const int64_t n = weights_in(b);
      for (int64_t row = 0; row < w_.rows; row += kBlockLanes) {
        tile.count = std::min(kBlockLanes, w_.rows - row);
        for (int64_t k = 0; k < n; ++k)
          reader_.read((b * block_ + k) * w_.rows + row, tile.count, tile.x[k]);
        quantize(tile);
        for (int64_t j = 0; j < tile.count; ++j) finish(tile, j, row + j, b, b);
      }
    });
  }

  int64_t weights_in(int64_t b) const { return std::min(block_, w_.depth - b * block_); }

  void quantize(Tile& tile) const {
    quantize_blocks(tile.x, block_, format_, tile.codes, tile.grids);
  }

  // Block b of a row, which lies in a lane of the tile.
  void finish(const Tile& tile, int64_t lane, int64_t row, int64_t b, int64_t owner) {
    const BlockGrid& g = tile.grids[lane];
    if (!g.finite) finite_ = false;
    if (g.lost) lost_ = true;
    noise_[static_cast<size_t>(owner)] += g.noise;
    signal_[static_cast<size_t>(owner)] += g.signal;
    const bool by_row = layout_ == BlockLayout::kRows || !w_.across;
    const auto at = static_cast<size_t>(by_row ? row * out_.blocks + b : b * w_.rows + row);
    out_.scales[at] = g.signal > 0 ? g.scale : 0;
    if (!format_.symmetric) zero_points_[at] = static_cast<uint8_t>(g.zero_point);
    if (layout_ == BlockLayout::kRows) {
      uint8_t codes[kMaxBlock];
      for (int64_t k = 0; k < block_; ++k) codes[k] = tile.codes[k][lane];
      Packer(out_.codes, format_.bits)
          .put((row * out_.blocks + b) * block_, std::span(codes, static_cast<size_t>(block_)));
      return;
    }
    const int64_t n = weights_in(b), step = w_.across ? w_.rows : 1,
                  start = w_.across ? b * block_ * w_.rows + row : row * w_.depth + b * block_;
    for (int64_t k = 0; k < n; ++k)
      strip_[static_cast<size_t>(start + k * step - base_)] = tile.codes[k][lane];
  }

  void pack_zero_points() {
    if (format_.symmetric) return;
    if (layout_ == BlockLayout::kStored) {
      out_.zero_points.resize(packed_size(w_.rows * out_.blocks, format_.bits));
      Packer(out_.zero_points, format_.bits).put(0, zero_points_);
      return;
    }
    // Rows start at a byte.
    const int64_t bytes = static_cast<int64_t>(packed_size(out_.blocks, format_.bits));
    out_.zero_points.resize(static_cast<size_t>(w_.rows * bytes));
    for (int64_t row = 0; row < w_.rows; ++row)
      Packer(out_.zero_points, format_.bits)
          .put(row * bytes * 8 / format_.bits, std::span(zero_points_)
                                                   .subspan(static_cast<size_t>(row * out_.blocks),
                                                            static_cast<size_t>(out_.blocks)));
  }

  const WeightMatrix& w_;
  Reader reader_;
  int64_t block_;
  BlockFormat format_;
  BlockLayout layout_;
  WeightBlocks out_;
  std::vector<uint8_t> zero_points_, strip_;
  int64_t base_ = 0;  // first weight of the strip
  std::vector<double> noise_, signal_;
  std::atomic<bool> finite_{true}, lost_{false};
};

// One scale a row: extremes in one reading, codes in a second.
class RowJob {
 public:
  RowJob(const WeightMatrix& w, const BlockFormat& format)
      : w_(w),
        reader_(w),
        format_(format),
        low_(static_cast<size_t>(w.rows)),
        high_(low_),
        lines_(w.across ? w.depth : w.rows),
        width_(w.across ? w.rows : w.depth) {
    out_.blocks = 1;
    out_.codes.resize(static_cast<size_t>(w.rows * w.depth));
    out_.scales.resize(low_.size());
    if (!format.symmetric) out_.zero_points.resize(low_.size());
  }

  Result<WeightBlocks> run() {
    strips([&](int64_t line, const float* x) { extend(line, x); });
    if (!finite_) return not_finite();
    settle();
    noise_.resize(static_cast<size_t>(lines_));
    signal_.resize(noise_.size());
    strips([&](int64_t line, const float* x) { encode(line, x); });
    for (size_t i = 0; i < noise_.size(); ++i) {
      out_.noise += noise_[i];
      out_.signal += signal_[i];
    }
    return std::move(out_);
  }

 private:
  // Lines as they are stored. Where several lines meet in one row they come one after the other.
  template <class Body>
  void strips(const Body& body) {
    const int64_t step = std::max<int64_t>(kStripBytes / (width_ * reader_.element_bytes()), 1);
    for (int64_t first = 0; first < lines_; first += step) {
      const int64_t last = std::min(lines_, first + step);
      const auto one = [&](int64_t line) {
        std::vector<float> x(static_cast<size_t>(width_));
        reader_.read(line * width_, width_, x.data());
        body(line, x.data());
      };
      if (w_.across && noise_.empty())
        for (int64_t line = first; line < last; ++line) one(line);
      else
        tbb::parallel_for(first, last, one);
      reader_.release(first * width_, (last - first) * width_);
    }
  }

  size_t row_of(int64_t line, int64_t i) const { return static_cast<size_t>(w_.across ? i : line); }

  void extend(int64_t line, const float* x) {
    float zero = 0;
    for (int64_t i = 0; i < width_; ++i) {
      float &low = low_[row_of(line, i)], &high = high_[row_of(line, i)];
      low = std::min(low, x[i]);
      high = std::max(high, x[i]);
      zero += x[i] * 0.0f;  // NaN where x is none or infinite
    }
    if (zero != 0) finite_ = false;
  }

  void settle() {
    const auto reach = static_cast<float>(format_.reach()),
               top = static_cast<float>(format_.levels() - 1);
    for (size_t r = 0; r < low_.size(); ++r) {
      const float magnitude = std::max(-low_[r], high_[r]);
      const float scale = format_.symmetric ? magnitude / reach : high_[r] / top - low_[r] / top;
      const bool usable = scale > std::numeric_limits<float>::min();
      out_.scales[r] = usable ? scale : 0;
      out_.lost = out_.lost || (!usable && magnitude > 0);
    }
    scale_zeros(out_, reader_.least_scale());
    if (format_.symmetric) return;
    for (size_t r = 0; r < low_.size(); ++r) {
      const float zero = std::clamp(std::nearbyint(-low_[r] / out_.scales[r]), 0.0f, top);
      out_.zero_points[r] = static_cast<std::byte>(static_cast<uint8_t>(zero));
      // What the outermost code stands for must be a float, too.
      out_.scales[r] = std::min(out_.scales[r], kLargestDecoded / std::max(zero, top - zero));
    }
  }

  void encode(int64_t line, const float* x) {
    const auto middle = static_cast<float>(format_.middle()),
               reach = static_cast<float>(format_.reach());
    const float low = format_.symmetric ? middle - reach : 0,
                top = format_.symmetric ? middle + reach : static_cast<float>(format_.levels() - 1);
    double noise = 0, signal = 0;
    for (int64_t i = 0; i < width_; ++i) {
      const size_t r = row_of(line, i);
      const float zero = format_.symmetric
                             ? middle
                             : static_cast<float>(static_cast<uint8_t>(out_.zero_points[r]));
      const float code = std::clamp(std::nearbyint(x[i] / out_.scales[r]) + zero, low, top);
      out_.codes[static_cast<size_t>(line * width_ + i)] =
          static_cast<std::byte>(static_cast<uint8_t>(code));
      const double error =
          static_cast<double>(x[i]) - static_cast<double>(code - zero) * out_.scales[r];
      noise += error * error;
      signal += static_cast<double>(x[i]) * x[i];
    }
    noise_[static_cast<size_t>(line)] = noise;
    signal_[static_cast<size_t>(line)] = signal;
  }

  const WeightMatrix& w_;
  Reader reader_;
  BlockFormat format_;
  std::vector<float> low_, high_;  // of each row, with 0
  int64_t lines_, width_;
  WeightBlocks out_;
  std::vector<double> noise_, signal_;
  std::atomic<bool> finite_{true};
};

}  // namespace

Result<WeightBlocks> quantize_in_blocks(const WeightMatrix& weights, int64_t block,
                                        const BlockFormat& format, BlockLayout layout) {
  return BlockJob(weights, block, format, layout).run();
}

Result<WeightBlocks> quantize_by_row(const WeightMatrix& weights, const BlockFormat& format) {
  return RowJob(weights, format).run();
}

Result<WeightBlocks> quantize_matrix(const WeightMatrix& weights, int64_t block,
                                     const BlockFormat& format, BlockLayout layout) {
  return block ? quantize_in_blocks(weights, block, format, layout)
               : quantize_by_row(weights, format);
}

}  // namespace onnxtool
