// Attention whose scores never leave the chip: each block of lanes owns some queries of one head of
// keys and walks over the keys in tiles, with the softmax of what it has seen so far (Milakov and
// Gimelshein, "Online normalizer calculation for softmax", 2018): a new maximum scales what is
// there.
//
// Everything is float32: sums of products over a head's elements and over a tile's keys in order,
// sums of exponentials by lane, then tile by tile. The order depends on the shapes alone. Keys that
// no query of a block sees cost as much as others.
#pragma once

#include <cmath>
#include <limits>

#include "calib/kernels/cuda/row_bias.h"
#include "calib/kernels/cuda/steps.h"

namespace onnxtool::device {

/// Heads of more elements do not fit; 0 would leave all attention to products.
inline constexpr int64_t kMostTileSize = 128;
/// With fewer queries for a head of keys most lanes would idle.
inline constexpr int64_t kFewestTileQueries = 16;

/// kSize: elements of a head of queries, keys or values at most.
template <int kSize>
struct AttentionTiles {
  static constexpr int kQueries = 4096 / kSize, kKeys = 32;
  // Products: 16 x 16 lanes, each with kRows queries, two keys and kColumns elements of the result.
  static constexpr int kSide = 16, kRows = kQueries / kSide, kColumns = kSize / kSide;
  // Softmax: kRowLanes lanes for each query, each with kShare keys.
  static constexpr int kRowLanes = kLanes / kQueries, kShare = kKeys / kRowLanes;
  static_assert(kSide * kSide == kLanes && kRows >= 1 && kKeys == 2 * kSide && kShare >= 1);

  struct Shared {
    float queries[kQueries][kSize];
    float tile[kKeys][kSize + 1];  // keys, then values
    float scores[kQueries][kKeys + 1];
    float maxima[kQueries][kRowLanes], sums[kQueries][kRowLanes];
    float scaling[kQueries];  // of what was summed before; at last, of the result
  };
  struct Lane {
    float result[kRows][kColumns];
    int32_t first[2][kRows], last[2][kRows];  // keys that each bias lets its queries see
    float max, sum;                           // of one query, the same in all its lanes
  };

  const float *q_data, *k_data, *v_data;
  float* y_data;
  HeadShape q, k, v, y;
  Divider heads, rows, key_heads, tiles;  // of queries, rows of queries, heads of keys, blocks
  int64_t group_rows;                     // queries of all heads that share one head of keys
  float scale, softcap;
  RowBias<float> biases[2];
  bool blind_gives_nan;

  // Five steps for each tile of keys, one before and two behind.
  ONNXTOOL_HD int64_t steps() const { return 3 + (k.rows + kKeys - 1) / kKeys * 5; }

  ONNXTOOL_HD void take(Shared& s, Lane& own, int64_t block, int64_t step, int lane) const {
    int64_t group = block;
    const int64_t first_row = tiles.split(group) * kQueries;
    if (step == 0) return start(s, own, group, first_row, lane);
    if (step == steps() - 2) return divide(s, own, lane);
    if (step == steps() - 1) return store(s, own, group, first_row, lane);
    const int64_t first_key = (step - 1) / 5 * kKeys;
    switch ((step - 1) % 5) {
      case 0: return load(s, k_data, k, group, first_key, lane);
      case 1: return score(s, own, group, first_row, first_key, lane);
      case 2: find_maxima(s, lane); return load(s, v_data, v, group, first_key, lane);
      case 3: return exponentiate(s, own, lane);
      default: return add_values(s, own, lane);
    }
  }

 private:
  struct Query {
    int64_t batch, head, row;
  };
  ONNXTOOL_HD Query query_of(int64_t group, int64_t row) const {
    Query at{group * group_rows + row, 0, 0};
    at.row = rows.split(at.batch), at.head = heads.split(at.batch);
    return at;
  }
  ONNXTOOL_HD static int row_of(int lane, int i) { return lane / kSide * kRows + i; }

  ONNXTOOL_HD void start(Shared& s, Lane& own, int64_t group, int64_t first_row, int lane) const {
    for (int e = lane; e < kQueries * kSize; e += kLanes) {
      const int row = e / kSize, column = e % kSize;
      float value = 0;
      if (first_row + row < group_rows && column < q.size) {
        const Query at = query_of(group, first_row + row);
        value = q_data[q.offset(at.batch, at.head) + at.row * q.row_stride + column];
      }
      s.queries[row][column] = value;
    }
    own.max = -std::numeric_limits<float>::infinity(), own.sum = 0;
    for (int i = 0; i < kRows; ++i) {
      for (int c = 0; c < kColumns; ++c) own.result[i][c] = 0;
      const int64_t row = first_row + row_of(lane, i);
      for (int b = 0; b < 2; ++b) {
        KeyRange seen{0, 0};
        if (row < group_rows) {
          const Query at = query_of(group, row);
          seen = biases[b].range(at.batch, at.row, k.rows);
        }
        own.first[b][i] = static_cast<int32_t>(seen.first);
        own.last[b][i] = static_cast<int32_t>(seen.last);
      }
    }
  }

  ONNXTOOL_HD void load(Shared& s, const float* data, const HeadShape& shape, int64_t group,
                        int64_t first_key, int lane) const {
    int64_t batch = group;
    const int64_t head = key_heads.split(batch);
    const float* from = data + shape.offset(batch, head);
    for (int e = lane; e < kKeys * kSize; e += kLanes) {
      const int key = e / kSize, column = e % kSize;
      s.tile[key][column] = first_key + key < shape.rows && column < shape.size
                                ? from[(first_key + key) * shape.row_stride + column]
                                : 0;
    }
  }

  ONNXTOOL_HD void score(Shared& s, const Lane& own, int64_t group, int64_t first_row,
                         int64_t first_key, int lane) const {
    const int side = lane % kSide;
    float sums[kRows][2] = {};
    for (int x = 0; x < kSize; ++x) {
      const float near = s.tile[side][x], far = s.tile[side + kSide][x];
      for (int i = 0; i < kRows; ++i) {
        const float query = s.queries[row_of(lane, i)][x];
        sums[i][0] += query * near;
        sums[i][1] += query * far;
      }
    }
    for (int i = 0; i < kRows; ++i) {
      const int row = row_of(lane, i);
      const Query at = query_of(group, first_row + row);
      for (int half = 0; half < 2; ++half) {
        const int64_t key = first_key + side + half * kSide;
        float value = sums[i][half] * scale;
        if (softcap != 0) value = softcap * std::tanh(value / softcap);
        for (int b = 0; b < 2; ++b)
          value = key >= own.first[b][i] && key < own.last[b][i]
                      ? biases[b].add(value, at.batch, at.head, at.row, key)
                      : -std::numeric_limits<float>::infinity();
        s.scores[row][side + half * kSide] = value;
      }
    }
  }

  // NaN is the greatest.
  ONNXTOOL_HD static float greater(float a, float b) { return b > a || b != b ? b : a; }

  ONNXTOOL_HD void find_maxima(Shared& s, int lane) const {
    const int row = lane / kRowLanes, part = lane % kRowLanes;
    float max = -std::numeric_limits<float>::infinity();
    for (int i = 0; i < kShare; ++i) max = greater(max, s.scores[row][part + i * kRowLanes]);
    s.maxima[row][part] = max;
  }

  ONNXTOOL_HD void exponentiate(Shared& s, Lane& own, int lane) const {
    const int row = lane / kRowLanes, part = lane % kRowLanes;
    float max = own.max;
    for (int p = 0; p < kRowLanes; ++p) max = greater(max, s.maxima[row][p]);
    const bool blind = max == -std::numeric_limits<float>::infinity();
    float sum = 0;
    for (int i = 0; i < kShare; ++i) {
      float& score = s.scores[row][part + i * kRowLanes];
      score = blind ? 0 : std::exp(score - max);
      sum += score;
    }
    s.sums[row][part] = sum;
    const float scaling = blind ? 1 : std::exp(own.max - max);
    if (part == 0) s.scaling[row] = scaling;
    own.max = max;
    own.sum *= scaling;
  }

  ONNXTOOL_HD void add_values(Shared& s, Lane& own, int lane) const {
    for (int p = 0; p < kRowLanes; ++p) own.sum += s.sums[lane / kRowLanes][p];
    const int side = lane % kSide;
    for (int i = 0; i < kRows; ++i)
      for (int c = 0; c < kColumns; ++c) own.result[i][c] *= s.scaling[row_of(lane, i)];
    for (int key = 0; key < kKeys; ++key)
      for (int c = 0; c < kColumns; ++c) {
        const float value = s.tile[key][side + c * kSide];
        for (int i = 0; i < kRows; ++i) own.result[i][c] += s.scores[row_of(lane, i)][key] * value;
      }
  }

  ONNXTOOL_HD void divide(Shared& s, const Lane& own, int lane) const {
    if (lane % kRowLanes != 0) return;
    const bool blind = own.max == -std::numeric_limits<float>::infinity();
    s.scaling[lane / kRowLanes] =
        blind ? (blind_gives_nan ? std::numeric_limits<float>::quiet_NaN() : 1) : own.sum;
  }

  ONNXTOOL_HD void store(const Shared& s, const Lane& own, int64_t group, int64_t first_row,
                         int lane) const {
    for (int i = 0; i < kRows; ++i) {
      const int row = row_of(lane, i);
      if (first_row + row >= group_rows) return;
      const Query at = query_of(group, first_row + row);
      float* to = y_data + y.offset(at.batch, at.head) + at.row * y.row_stride;
      for (int c = 0; c < kColumns; ++c)
        if (const int column = lane % kSide + c * kSide; column < y.size)
          to[column] = own.result[i][c] / s.scaling[row];
    }
  }
};

/// Whether attention of these shapes is done so.
inline bool fits_tiles(const HeadShape& q, const HeadShape& k, const HeadShape& v) {
  return q.size <= kMostTileSize && v.size <= kMostTileSize && k.rows <= INT32_MAX / 2 &&
         q.heads / k.heads * q.rows >= kFewestTileQueries;
}

template <int kSize>
void launch_tiles(const AttentionProblem<float>& p, const RowBias<float> (&biases)[2]) {
  using Tiles = AttentionTiles<kSize>;
  const int64_t group_rows = p.q.heads / p.k.heads * p.q.rows,
                tiles = (group_rows + Tiles::kQueries - 1) / Tiles::kQueries;
  for_each_block_in_steps(p.k.batches * p.k.heads * tiles, Tiles{p.q_data,
                                                                 p.k_data,
                                                                 p.v_data,
                                                                 p.y_data,
                                                                 p.q,
                                                                 p.k,
                                                                 p.v,
                                                                 p.y,
                                                                 Divider(p.q.heads),
                                                                 Divider(p.q.rows),
                                                                 Divider(p.k.heads),
                                                                 Divider(tiles),
                                                                 group_rows,
                                                                 p.scale,
                                                                 p.softcap,
                                                                 {biases[0], biases[1]},
                                                                 p.blind_gives_nan});
}

/// Of shapes that fit, whose scores are not wanted.
inline Status attend_in_tiles(KernelContext& ctx, const AttentionProblem<float>& p) {
  RowBias<float> biases[2];
  for (size_t i = 0; i < 2; ++i) {
    ONNXTOOL_ASSIGN(biases[i], row_bias<float>(ctx, p.biases[i]));
  }
  if (std::max(p.q.size, p.v.size) <= kMostTileSize / 2)
    launch_tiles<kMostTileSize / 2>(p, biases);
  else
    launch_tiles<kMostTileSize>(p, biases);
  return {};
}

}  // namespace onnxtool::device
