// Walking index spaces: several operands with strides over one set of extents, row by row.
#pragma once

#include <algorithm>
#include <array>

#include "calib/kernels/cpu/common.h"

namespace onnxtool {

/// Row-major strides in elements.
inline Dims contiguous_strides(std::span<const int64_t> dims) {
  Dims strides(dims.size());
  for (size_t i = dims.size(); i-- > 0;) strides[i] = product(dims, i + 1, dims.size());
  return strides;
}

/// Extents, and for each of N operands a stride per extent. A stride may be 0 or negative.
template <size_t N>
struct Walk {
  Dims extents;
  std::array<Dims, N> strides;

  int64_t inner() const { return extents.empty() ? 1 : extents.back(); }
  int64_t inner_stride(size_t operand) const {
    return extents.empty() ? 0 : strides[operand].back();
  }

  /// Drops extents of 1 and joins neighbours that every operand steps through as one.
  void coalesce() {
    size_t kept = 0;
    for (size_t i = 0; i < extents.size(); ++i) {
      if (extents[i] == 1) continue;
      bool joins = kept > 0;
      for (const Dims& s : strides) joins = joins && s[kept - 1] == s[i] * extents[i];
      if (joins) {
        extents[kept - 1] *= extents[i];
        for (Dims& s : strides) s[kept - 1] = s[i];
        continue;
      }
      extents[kept] = extents[i];
      for (Dims& s : strides) s[kept] = s[i];
      ++kept;
    }
    extents.resize(kept);
    for (Dims& s : strides) s.resize(kept);
  }
};

/// The offsets of N operands while rows (all extents but the innermost) are visited in order.
template <size_t N>
class RowWalker {
 public:
  RowWalker(const Walk<N>& walk, int64_t row)
      : walk_(walk), index_(walk.extents.empty() ? 0 : walk.extents.size() - 1) {
    offsets.fill(0);
    for (size_t i = index_.size(); i-- > 0;) {
      index_[i] = row % walk.extents[i];
      row /= walk.extents[i];
      for (size_t k = 0; k < N; ++k) offsets[k] += index_[i] * walk.strides[k][i];
    }
  }
  void next() {
    for (size_t i = index_.size(); i-- > 0;) {
      for (size_t k = 0; k < N; ++k) offsets[k] += walk_.strides[k][i];
      if (++index_[i] < walk_.extents[i]) return;
      for (size_t k = 0; k < N; ++k) offsets[k] -= walk_.strides[k][i] * walk_.extents[i];
      index_[i] = 0;
    }
  }

  std::array<int64_t, N> offsets;

 private:
  const Walk<N>& walk_;
  Dims index_;
};

/// Visits `count` elements of the walk, numbered row-major, in stretches of one row:
/// body(first, n, offsets) where offsets are those of element `first`.
template <size_t N, class Body>
void parallel_walk(KernelContext& ctx, const Walk<N>& walk, int64_t count, int64_t grain,
                   const Body& body) {
  if (count == 0) return;
  const int64_t inner = walk.inner();
  ctx.parallel(count, grain, [&](int64_t begin, int64_t end) {
    RowWalker<N> rows(walk, begin / inner);
    int64_t column = begin % inner;
    while (begin < end) {
      const int64_t n = std::min(inner - column, end - begin);
      auto offsets = rows.offsets;
      for (size_t k = 0; k < N; ++k) offsets[k] += column * walk.inner_stride(k);
      body(begin, n, offsets);
      begin += n;
      column = 0;
      rows.next();
    }
  });
}

/// The shape that all of `shapes` broadcast to (numpy rules).
Result<Dims> broadcast_dims(std::initializer_list<std::span<const int64_t>> shapes);
/// Strides that read a contiguous tensor of shape `from` at shape `to`: 0 where it repeats. `from`
/// must broadcast to `to`.
Dims broadcast_strides(std::span<const int64_t> from, std::span<const int64_t> to);

/// out[i] = in[strides . index(i)] for a contiguous `out` of shape walk.extents: transposition,
/// slicing, repetition. Elements are moved by size; `type` is not packed.
void copy_strided(KernelContext& ctx, DataType type, const void* in, Walk<1> walk, void* out);
/// The inverse: out[strides . index(i)] = in[i].
void spread_strided(KernelContext& ctx, DataType type, const void* in, Walk<1> walk, void* out);

}  // namespace onnxtool
