// The strided copy behind Transpose, Slice, Expand and their kin, on the host.

#include <cstring>

#include "calib/kernels/cpu/walk.h"

namespace onnxtool {
namespace {

// The tile of a transposition: rows of a tile are this many bytes, so that the lines read (one per
// column) and written stay in the first-level cache.
constexpr int64_t kTileBytes = 128;

template <class E>
void transpose_tile(const E* in, int64_t column_stride, E* out, int64_t row_stride, int64_t rows,
                    int64_t columns) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) out[r * row_stride + c] = in[r + c * column_stride];
}

// Rows of the output whose elements are `stride` apart in the input.
template <class E>
void copy_rows(KernelContext& ctx, const E* in, const Walk<1>& walk, E* out) {
  const int64_t stride = walk.inner_stride(0);
  const int64_t count = product(walk.extents);
  parallel_walk<1>(ctx, walk, count, kGrain,
                   [&](int64_t first, int64_t n, const std::array<int64_t, 1>& offsets) {
                     const E* from = in + offsets[0];
                     E* to = out + first;
                     if (stride == 1) {
                       std::copy_n(from, n, to);
                     } else if (stride == 0) {
                       std::fill_n(to, n, *from);
                     } else {
                       for (int64_t i = 0; i < n; ++i) to[i] = from[i * stride];
                     }
                   });
}

// The innermost extent strides through the input while extent `d` steps by one: the two are a
// matrix to transpose, all other extents number the matrices.
template <class E>
void transpose_planes(KernelContext& ctx, const E* in, const Walk<1>& walk, size_t d, E* out) {
  constexpr int64_t kTile = std::max<int64_t>(kTileBytes / static_cast<int64_t>(sizeof(E)), 8);
  const size_t last = walk.extents.size() - 1;
  const Dims out_strides = contiguous_strides(walk.extents);
  Walk<2> tiles;  // in, out
  for (size_t i = 0; i < last; ++i) {
    if (i == d) continue;
    tiles.extents.push_back(walk.extents[i]);
    tiles.strides[0].push_back(walk.strides[0][i]);
    tiles.strides[1].push_back(out_strides[i]);
  }
  const int64_t rows = walk.extents[d], columns = walk.extents[last];
  const int64_t column_stride = walk.strides[0][last], row_stride = out_strides[d];
  const int64_t row_tiles = (rows + kTile - 1) / kTile;
  const int64_t planes = product(tiles.extents);
  tiles.extents.push_back(1);  // a row of the walk is one plane
  tiles.strides[0].push_back(0);
  tiles.strides[1].push_back(0);
  ctx.parallel(planes * row_tiles, grain_of(kTile * columns), [&](int64_t begin, int64_t end) {
    RowWalker<2> plane(tiles, begin / row_tiles);
    for (int64_t t = begin; t < end; ++t) {
      const int64_t row = t % row_tiles * kTile;
      const int64_t height = std::min(kTile, rows - row);
      for (int64_t column = 0; column < columns; column += kTile)
        transpose_tile(in + plane.offsets[0] + row + column * column_stride, column_stride,
                       out + plane.offsets[1] + row * row_stride + column, row_stride, height,
                       std::min(kTile, columns - column));
      if ((t + 1) % row_tiles == 0) plane.next();
    }
  });
}

template <class E>
void copy_elements(KernelContext& ctx, const E* in, const Walk<1>& walk, E* out) {
  const int64_t inner_stride = walk.inner_stride(0);
  // Narrow planes gain nothing from tiles.
  constexpr int64_t kNarrow = 4;
  if (inner_stride != 1 && inner_stride != 0 && walk.inner() >= kNarrow)
    for (size_t d = walk.extents.size() - 1; d-- > 0;)
      if (walk.strides[0][d] == 1 && walk.extents[d] >= kNarrow)
        return transpose_planes(ctx, in, walk, d, out);
  copy_rows(ctx, in, walk, out);
}

}  // namespace

void copy_strided(KernelContext& ctx, DataType type, const void* in, Walk<1> walk, void* out) {
  if (product(walk.extents) == 0) return;
  walk.coalesce();
  if (walk.extents.empty()) {
    walk.extents = {1};
    walk.strides[0] = {1};
  }
  dispatch_movement(type, [&]<class E>() {
    copy_elements(ctx, static_cast<const E*>(in), walk, static_cast<E*>(out));
  });
}

void spread_strided(KernelContext& ctx, DataType type, const void* in, Walk<1> walk, void* out) {
  const int64_t count = product(walk.extents);
  walk.coalesce();
  if (walk.extents.empty()) walk = {{1}, {Dims{1}}};
  dispatch_movement(type, [&]<class E>() {
    const E* from = static_cast<const E*>(in);
    E* to = static_cast<E*>(out);
    const int64_t step = walk.inner_stride(0);  // not 1 where the innermost extent was
    parallel_walk<1>(ctx, walk, count, kGrain,
                     [&](int64_t begin, int64_t n, const std::array<int64_t, 1>& at_to) {
                       if (step == 1)
                         std::copy_n(from + begin, n, to + at_to[0]);
                       else
                         for (int64_t j = 0; j < n; ++j) to[at_to[0] + j * step] = from[begin + j];
                     });
  });
}

}  // namespace onnxtool
