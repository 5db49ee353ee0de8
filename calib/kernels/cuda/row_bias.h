// What is added to a row of attention's scores (MaskBias) as launch parameters.
#pragma once

#include <limits>

#include "calib/kernels/cpu/attention_core.h"
#include "calib/kernels/cuda/elements.h"

namespace onnxtool::device {

template <class T>
struct RowBias {
  const T* mask = nullptr;
  int64_t strides[3] = {}, mask_keys = INT64_MAX, left = -1, right = -1;
  const int64_t *offsets = nullptr, *valid = nullptr;  // nullptr: 0, all
  bool each_offset = false, each_valid = false;        // one for each sample

  /// The keys that a query sees; behind a mask of fewer keys there are none.
  ONNXTOOL_HD KeyRange range(int64_t batch, int64_t query, int64_t keys) const {
    KeyRange seen = key_range(left, right, offsets ? offsets[each_offset ? batch : 0] : 0,
                              valid ? valid[each_valid ? batch : 0] : INT64_MAX, query, keys);
    if (mask && mask_keys < seen.last) seen.last = mask_keys;
    return seen;
  }
  /// Of a key that it sees.
  ONNXTOOL_HD T add(T score, int64_t batch, int64_t head, int64_t query, int64_t key) const {
    return mask ? score + mask[batch * strides[0] + head * strides[1] + query * strides[2] + key]
                : score;
  }
};

template <class T>
Result<RowBias<T>> row_bias(KernelContext& ctx, const MaskBias<T>* from) {
  RowBias<T> b;
  if (!from) return b;
  b.mask = from->mask;
  std::copy_n(from->strides.begin(), 3, b.strides);
  const KeyWindow& w = from->window;
  b.mask_keys = from->mask_keys, b.left = w.left, b.right = w.right;
  b.each_offset = w.offsets.size() > 1, b.each_valid = w.valid.size() > 1;
  if (!w.offsets.empty()) {
    ONNXTOOL_ASSIGN(b.offsets, shared_values(ctx, w.offsets));
  }
  if (!w.valid.empty()) {
    ONNXTOOL_ASSIGN(b.valid, shared_values(ctx, w.valid));
  }
  return b;
}

}  // namespace onnxtool::device
