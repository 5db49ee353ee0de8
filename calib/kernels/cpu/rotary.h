// Rotary position embedding of rows: pairs of their first elements are turned by the angles of
// their positions.
#pragma once

#include "calib/kernels/cpu/attention_core.h"

namespace onnxtool {

struct RotaryShape {
  int64_t size = 0;          // elements of a row
  int64_t half = 0;          // pairs that are turned: elements [0, 2 * half)
  bool interleaved = false;  // pairs (2i, 2i + 1), else (i, i + half)
};

/// Pairs and what is left of rows of heads, for for_each_cell(): cell [batch * rows + row) * heads
/// + head, p]. angles[batch * rows + row] is the row of cos and sin, of `half` elements each.
template <class T>
struct TurnRows {
  RotaryShape rotary;
  const T* x;
  HeadShape from;
  T* y;
  HeadShape to;
  const T *cos, *sin;
  const int64_t* angles;

  struct Row {
    const T* x;
    T* y;
    const T *cos, *sin;
    int64_t step, other;
    ONNXTOOL_HD void operator()(int64_t i) const {
      const T a = x[i * step], b = x[i * step + other];
      y[i * step] = cos[i] * a - sin[i] * b;
      y[i * step + other] = sin[i] * a + cos[i] * b;
    }
  };
  ONNXTOOL_HD Row row(int64_t i) const {
    const int64_t head = i % from.heads, at = i / from.heads, row = at % from.rows,
                  batch = at / from.rows, angle = angles[at] * rotary.half;
    return {x + from.offset(batch, head) + row * from.row_stride,
            y + to.offset(batch, head) + row * to.row_stride,
            cos + angle,
            sin + angle,
            rotary.interleaved ? 2 : 1,
            rotary.interleaved ? 1 : rotary.half};
  }
};

/// Turns all rows, which have `turn.rotary.size` elements; copies those behind the pairs.
template <class T>
void turn_rows(KernelContext& ctx, const TurnRows<T>& turn) {
  const HeadShape& s = turn.from;
  for_each_cell(ctx, s.batches * s.rows * s.heads, turn.rotary.half, turn);
  HeadShape rest = s;
  rest.size = turn.rotary.size - 2 * turn.rotary.half;
  if (rest.size > 0)
    copy_heads(ctx, dtype_of<T>, turn.x + 2 * turn.rotary.half, rest, turn.y + 2 * turn.rotary.half,
               turn.to, nullptr);
}

}  // namespace onnxtool
