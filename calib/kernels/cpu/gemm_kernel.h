// The innermost loops of matrix products and convolutions, compiled once per ISA level.
//
// Every product of this kernel set goes through these micro-kernels. Each element of the result is
// one fixed chain of operations: within a block of kDepthBlock the products are added in the order
// of k, the blocks are added in order. Nothing else (tiles, threads, edges) touches that chain, so
// the bits depend on the multiply-add alone: fused on the AVX levels, two roundings on the
// baseline.
//
// Included by files built for one ISA level: nothing here may define a function that others share.
#pragma once

#include <cstdint>

namespace onnxtool {

/// k is cut into blocks of this length; each is summed from zero, then added to the result.
inline constexpr int64_t kDepthBlock = 256;

/// c[rows, cols] = or += a * b for one tile and one block of k.
/// a: [k][mr] packed or, of floats, rows that lie lda apart; b: rows of at least nr elements, ldb
/// apart (packed: ldb is nr).
template <class T>
struct Tile {
  int64_t k;
  const T* a;
  const T* b;
  int64_t ldb;
  T* c;
  int64_t ldc;
  int rows;         // 1..mr
  int cols;         // 1..nr
  bool accumulate;  // false: c is overwritten
  int64_t lda = 0;  // 0: packed
};

/// As Tile for exact integer products. Operands are 16 bit with their zero points subtracted, in
/// pairs along k: a is [k/2][mr][2], b is [k/2][nr][2]; an odd k ends in a pair with a zero.
/// Sums wrap like int32.
struct IntTile {
  int64_t pairs;
  const int16_t* a;
  const int16_t* b;
  int32_t* c;
  int64_t ldc;
  int rows;
  int cols;
  bool accumulate;
};

/// One row of a depthwise convolution: y[i] = bias + sum over taps of w[t] * x[t][i], for i < n.
struct DepthwiseRow {
  const float* const* x;  // unit stride, may be read up to kRowSlack elements past n
  const float* w;
  int taps;
  float bias;
  float* y;
  int64_t n;
};
/// One row of a pooling window: y[i] = max over taps of x[t][i]; NaN wins.
struct MaxRow {
  const float* const* x;  // as in DepthwiseRow
  int taps;
  float* y;
  int64_t n;
};
inline constexpr int64_t kRowSlack = 16;

/// y[i] = (x[i] - mean) * scale + bias, three roundings on every level; y may be x.
struct NormalizeRow {
  const float* x;
  float mean, scale, bias;
  float* y;
  int64_t n;
};

/// Integer sums to 8 bits: out[i] = clip(round_half_even((sums[i] + bias) * multiplier[i * step]) +
/// zero_point, low, high); sums + bias wraps, the product is a float one. NaN gives low.
struct RequantizeRow {
  const int32_t* sums;
  int32_t bias;
  const float* multiplier;
  int step;  // 0 or 1
  int32_t zero_point, low, high;
  uint8_t* out;  // for signed outputs the same bits
  int64_t n;
};

/// The micro-kernels of one ISA level, with the tile extents that packing has to honour.
struct GemmIsa {
  const char* name;
  int mr, nr;  // float
  void (*tile)(const Tile<float>&);
  int mr64, nr64;  // double
  void (*tile64)(const Tile<double>&);
  int mr_int, nr_int;
  void (*tile_int)(const IntTile&);
  void (*depthwise_row)(const DepthwiseRow&);
  void (*max_row)(const MaxRow&);
  void (*requantize_row)(const RequantizeRow&);
  void (*normalize_row)(const NormalizeRow&);
};

/// Largest tile extents of any level, for buffers on the stack.
inline constexpr int kMaxTileRows = 16;
inline constexpr int kMaxTileCols = 64;

extern const GemmIsa kGemmBaseline;
#if defined(__x86_64__)
extern const GemmIsa kGemmAvx2;
extern const GemmIsa kGemmAvx512;
#endif

/// The best level that this machine runs.
const GemmIsa& gemm_isa();
/// Always the baseline: the same bits on every machine.
const GemmIsa& gemm_isa_portable();

}  // namespace onnxtool
