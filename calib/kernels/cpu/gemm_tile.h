// Micro-kernels as templates over the vector width; each gemm_<level>.cc instantiates them with its
// own multiply-add. All in an anonymous namespace, so that no level can be linked into another.
#pragma once

#include <cstdint>
#include <type_traits>

#include "calib/kernels/cpu/gemm_kernel.h"

namespace onnxtool {
namespace {

/// A vector of kBytes that may be loaded from any address of its element type.
template <class T, int kBytes>
struct VectorOf {
  typedef T type __attribute__((vector_size(kBytes)));
  typedef T unaligned __attribute__((vector_size(kBytes), aligned(alignof(T)), may_alias));
  static constexpr int kLanes = kBytes / static_cast<int>(sizeof(T));
  static type load(const T* p) { return *reinterpret_cast<const unaligned*>(p); }
  static void store(T* p, type v) { *reinterpret_cast<unaligned*>(p) = v; }
  static type broadcast(T x) { return x - type{}; }
};

/// Where c ends within a tile: the tile is stored to `from` ([rows, width]) and its part copied.
/// Out of line: it is rare, and would be most of the code of every tile.
template <class T>
[[gnu::noinline, gnu::noclone]] void copy_edge(const T* from, int width, T* c, int64_t ldc,
                                               int rows, int cols, bool accumulate) {
  for (int r = 0; r < rows; ++r)
    for (int i = 0; i < cols; ++i) {
      T& to = c[r * ldc + i];
      to = accumulate ? to + from[r * width + i] : from[r * width + i];
    }
}

/// Adds finished accumulators to c, or puts them there.
template <class V, class T, int kRows, int kVectors>
inline void finish(const typename V::type (&acc)[kRows][kVectors], T* c, int64_t ldc, int cols,
                   bool accumulate) {
  constexpr int kWidth = kVectors * V::kLanes;
  if (cols < kWidth) {
    T edge[kRows * kWidth];
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) V::store(edge + r * kWidth + v * V::kLanes, acc[r][v]);
    copy_edge(edge, kWidth, c, ldc, kRows, cols, accumulate);
  } else if (accumulate) {
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        T* to = c + r * ldc + v * V::kLanes;
        V::store(to, V::load(to) + acc[r][v]);
      }
  } else {
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) V::store(c + r * ldc + v * V::kLanes, acc[r][v]);
  }
}

/// Column k of a packed left side.
template <class Isa, class T>
struct PackedRows {
  const T* a;

  explicit PackedRows(const Tile<T>& t) : a(t.a) {}
  T at(int r) const { return a[r]; }
  void next() { a += Isa::template rows<T>(); }
};
/// Column k of rows that lie apart: two pointers and three distances reach twelve of them, since an
/// address may take one, two or four times a distance.
template <class T>
struct RowsApart {
  static constexpr int kHalf = 6;
  const char *low, *high;
  int64_t one, three, five;  // in bytes

  explicit RowsApart(const Tile<T>& t)
      : low(reinterpret_cast<const char*>(t.a)),
        high(low + kHalf * t.lda * static_cast<int64_t>(sizeof(T))),
        one(t.lda * static_cast<int64_t>(sizeof(T))),
        three(3 * one),
        five(5 * one) {}
  T at(int r) const {
    const int i = r % kHalf;
    const int64_t offset = i == 3 ? three : i == 5 ? five : i * one;
    T value;
    __builtin_memcpy(&value, (r < kHalf ? low : high) + offset, sizeof value);
    return value;
  }
  void next() {
    low += sizeof(T);
    high += sizeof(T);
  }
};

/// kRows x (kVectors * lanes) accumulators stay in registers for the whole block of k.
template <class Isa, class T, class Left, int kRows, int kVectors>
void tile_of(const Tile<T>& t) {
  using V = VectorOf<T, Isa::kBytes>;
  typename V::type acc[kRows][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) acc[r][v] = typename V::type{};
  Left a(t);
  const T* b = t.b;
  for (int64_t k = 0; k < t.k; ++k) {
    typename V::type bv[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) bv[v] = V::load(b + v * V::kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const typename V::type av = V::broadcast(a.at(r));
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) acc[r][v] = Isa::multiply_add(av, bv[v], acc[r][v]);
    }
    a.next();
    b += t.ldb;
  }
  finish<V, T, kRows, kVectors>(acc, t.c, t.ldc, t.cols, t.accumulate);
}

/// Picks the instance for the rows and vectors that the tile really has.
template <class Isa, class T, class Left, int kRows>
void tile_rows(const Tile<T>& t) {
  if (t.rows < kRows) {
    if constexpr (kRows > 1) tile_rows<Isa, T, Left, kRows - 1>(t);
    return;
  }
  constexpr int kVectors = Isa::template cols<T>() / VectorOf<T, Isa::kBytes>::kLanes;
  if (t.cols <= VectorOf<T, Isa::kBytes>::kLanes)
    tile_of<Isa, T, Left, kRows, 1>(t);
  else
    tile_of<Isa, T, Left, kRows, kVectors>(t);
}

template <class Isa, class T>
void tile(const Tile<T>& t) {
  constexpr int kRows = Isa::template rows<T>();
  static_assert(kRows <= 2 * RowsApart<T>::kHalf);
  if constexpr (std::is_same_v<T, float>)
    if (t.lda != 0) return tile_rows<Isa, T, RowsApart<T>, kRows>(t);
  tile_rows<Isa, T, PackedRows<Isa, T>, kRows>(t);
}

/// Integer tile: each 32-bit lane of b is a pair along k, multiplied with a broadcast
/// pair of a. Accumulators are unsigned: their sums wrap.
template <class Isa, int kRows, int kVectors>
void int_tile_of(const IntTile& t) {
  using V = VectorOf<uint32_t, Isa::kBytes>;
  using Pairs = VectorOf<int16_t, Isa::kBytes>;
  typename V::type acc[kRows][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) acc[r][v] = typename V::type{};
  const int16_t* a = t.a;
  const int16_t* b = t.b;
  for (int64_t k = 0; k < t.pairs; ++k) {
    typename V::type bv[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v)
      bv[v] = reinterpret_cast<typename V::type>(Pairs::load(b + v * Pairs::kLanes));
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      uint32_t pair;
      __builtin_memcpy(&pair, a + 2 * r, sizeof pair);
      const typename V::type av = V::broadcast(pair);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) acc[r][v] = Isa::pair_multiply_add(av, bv[v], acc[r][v]);
    }
    a += 2 * Isa::kIntRows;
    b += 2 * Isa::kIntCols;
  }
  finish<V, uint32_t, kRows, kVectors>(acc, reinterpret_cast<uint32_t*>(t.c), t.ldc, t.cols,
                                       t.accumulate);
}

template <class Isa, int kRows>
void int_tile_rows(const IntTile& t) {
  if (t.rows < kRows) {
    if constexpr (kRows > 1) int_tile_rows<Isa, kRows - 1>(t);
    return;
  }
  constexpr int kLanes = Isa::kBytes / 4;
  if (t.cols <= kLanes)
    int_tile_of<Isa, kRows, 1>(t);
  else
    int_tile_of<Isa, kRows, Isa::kIntCols / kLanes>(t);
}

template <class Isa>
void int_tile(const IntTile& t) {
  int_tile_rows<Isa, Isa::kIntRows>(t);
}

/// Four vectors at a time hide the latency of the chain of taps.
template <class Isa, int kVectors>
inline void depthwise_step(const DepthwiseRow& row, int64_t at, int64_t n) {
  using V = VectorOf<float, Isa::kBytes>;
  typename V::type acc[1][kVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) acc[0][v] = V::broadcast(row.bias);
  for (int t = 0; t < row.taps; ++t) {
    const typename V::type w = V::broadcast(row.w[t]);
    const float* x = row.x[t] + at;
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v)
      acc[0][v] = Isa::multiply_add(w, V::load(x + v * V::kLanes), acc[0][v]);
  }
  finish<V, float, 1, kVectors>(acc, row.y + at, 0, static_cast<int>(n), false);
}

template <class Isa>
void depthwise_row(const DepthwiseRow& row) {
  constexpr int kLanes = VectorOf<float, Isa::kBytes>::kLanes;
  int64_t i = 0;
  for (; i + 4 * kLanes <= row.n; i += 4 * kLanes) depthwise_step<Isa, 4>(row, i, 4 * kLanes);
  for (; i < row.n; i += kLanes) depthwise_step<Isa, 1>(row, i, row.n - i);
}

template <class Isa, int kVectors>
inline void max_step(const MaxRow& row, int64_t at, int64_t n) {
  using V = VectorOf<float, Isa::kBytes>;
  typename V::type acc[1][kVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) acc[0][v] = V::load(row.x[0] + at + v * V::kLanes);
  for (int t = 1; t < row.taps; ++t) {
    const float* x = row.x[t] + at;
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const typename V::type value = V::load(x + v * V::kLanes);
      // A NaN in either stays: x > acc is false for one in acc, x != x picks one in x.
      acc[0][v] = (value > acc[0][v]) | (value != value) ? value : acc[0][v];
    }
  }
  finish<V, float, 1, kVectors>(acc, row.y + at, 0, static_cast<int>(n), false);
}

template <class Isa>
void max_row(const MaxRow& row) {
  constexpr int kLanes = VectorOf<float, Isa::kBytes>::kLanes;
  int64_t i = 0;
  for (; i + 4 * kLanes <= row.n; i += 4 * kLanes) max_step<Isa, 4>(row, i, 4 * kLanes);
  for (; i < row.n; i += kLanes) max_step<Isa, 1>(row, i, row.n - i);
}

template <class Isa>
void requantize_row(const RequantizeRow& row) {
  using V = VectorOf<float, Isa::kBytes>;
  using Ints = VectorOf<int32_t, Isa::kBytes>;
  using Bits = VectorOf<uint32_t, Isa::kBytes>;
  using Bytes = typename VectorOf<uint8_t, V::kLanes>::type;
  // Clipped first, so that adding 1.5 * 2^23 rounds to an integer, half to even, in its last bits.
  const typename V::type low = V::broadcast(static_cast<float>(row.low - row.zero_point));
  const typename V::type high = V::broadcast(static_cast<float>(row.high - row.zero_point));
  const typename V::type magic = V::broadcast(0x1.8p23f);
  const auto convert = [&](typename Bits::type sums, typename V::type multiplier) {
    sums += static_cast<uint32_t>(row.bias);
    typename V::type x =
        __builtin_convertvector(reinterpret_cast<typename Ints::type>(sums), typename V::type) *
        multiplier;
    x = x > low ? x : low;
    x = x < high ? x : high;
    const auto rounded = reinterpret_cast<typename Bits::type>(x + magic);
    return __builtin_convertvector(rounded - 0x4b400000u + static_cast<uint32_t>(row.zero_point),
                                   Bytes);
  };
  const auto* sums = reinterpret_cast<const uint32_t*>(row.sums);
  int64_t i = 0;
  for (; i + V::kLanes <= row.n; i += V::kLanes) {
    const Bytes bytes = convert(Bits::load(sums + i), row.step ? V::load(row.multiplier + i)
                                                               : V::broadcast(*row.multiplier));
    __builtin_memcpy(row.out + i, &bytes, sizeof bytes);
  }
  if (i < row.n) {
    uint32_t last_sums[V::kLanes] = {};
    float last[V::kLanes] = {};
    for (int j = 0; j < row.n - i; ++j) {
      last_sums[j] = sums[i + j];
      last[j] = row.multiplier[row.step ? i + j : 0];
    }
    const Bytes bytes = convert(Bits::load(last_sums), V::load(last));
    for (int j = 0; j < row.n - i; ++j) row.out[i + j] = bytes[j];
  }
}

template <class Isa>
void normalize_row(const NormalizeRow& row) {
  using V = VectorOf<float, Isa::kBytes>;
  int64_t i = 0;
  for (; i + V::kLanes <= row.n; i += V::kLanes)
    V::store(row.y + i, (V::load(row.x + i) - row.mean) * row.scale + row.bias);
  for (; i < row.n; ++i) row.y[i] = (row.x[i] - row.mean) * row.scale + row.bias;
}

template <class Isa>
constexpr GemmIsa table(const char* name) {
  return GemmIsa{.name = name,
                 .mr = Isa::template rows<float>(),
                 .nr = Isa::template cols<float>(),
                 .tile = tile<Isa, float>,
                 .mr64 = Isa::template rows<double>(),
                 .nr64 = Isa::template cols<double>(),
                 .tile64 = tile<Isa, double>,
                 .mr_int = Isa::kIntRows,
                 .nr_int = Isa::kIntCols,
                 .tile_int = int_tile<Isa>,
                 .depthwise_row = depthwise_row<Isa>,
                 .max_row = max_row<Isa>,
                 .requantize_row = requantize_row<Isa>,
                 .normalize_row = normalize_row<Isa>};
}

}  // namespace
}  // namespace onnxtool
