// What RNN, GRU and LSTM share: attributes, shapes, packed weights, the walk over time.
//
// x [seq, batch, input] (layout 1: [batch, seq, input]); for each direction W [gates * hidden,
// input], R [gates * hidden, hidden]. One product computes x * W^T for all steps; each step
// multiplies the state of the rows (batch items) of a task by R^T. Rows are independent, so that
// the result does not depend on how threads share them.
#pragma once

#include "calib/kernels/cpu/float_io.h"
#include "calib/kernels/cpu/gemm.h"
#include "calib/kernels/cpu/recurrent_node.h"

namespace onnxtool {

/// Panels of all directions, one after the other: W, and the two parts of R.
template <class T>
struct RecurrentWeights {
  AlignedArray<T> w, r_first, r_rest;
};

struct RecurrentState final : KernelState, RecurrentNode {
  const GemmIsa* isa;
  // Packed W and R with their shapes, when both are constant: run() then does not read them.
  RecurrentWeights<float> weights;
  RecurrentWeights<double> weights64;
  Dims w_dims, r_dims;
  DataType weight_type = DataType::kUndefined;

  bool packed() const { return weights.w || weights64.w; }
};
Result<std::unique_ptr<KernelState>> prepare_recurrent(const NodeView& node, const GemmIsa& isa,
                                                       const RecurrentKind& kind);

/// As resolve_recurrent() above, of a prepared node; W has x's element type.
Result<RecurrentShape> resolve_recurrent(const KernelContext& ctx);

/// Multiplies [rows, hidden] by the part of R that RecurrentKind leaves out, into the step's gates.
template <class T>
class RestProduct {
 public:
  virtual ~RestProduct() = default;
  virtual void multiply(const T* state) const = 0;
};

/// The rows of a task at one step of one direction.
template <class T>
struct RecurrentStep {
  int64_t direction, rows, hidden, gates;
  /// For each row x * W^T plus bias, [gates * hidden]; nullptr: the row's sequence has ended and
  /// its state stays.
  const T* const* x;
  T* sums;  // state * R^T for the first gates, [rows, gates * hidden]
  T* h;     // the state, [rows, hidden], to be replaced
  T* c;     // the cell state, likewise
  T* work;  // [rows, hidden]
  const RestProduct<T>& rest;

  /// Gate g of a row.
  T* gate(int64_t row, int64_t g) const { return sums + (row * gates + g) * hidden; }
};

/// What one operator does at one step.
template <class T>
class RecurrentCell {
 public:
  virtual ~RecurrentCell() = default;
  virtual void step(const RecurrentStep<T>& step) const = 0;
  /// Whether the bias of R of the last gate is left to the cell.
  virtual bool adds_last_bias() const { return false; }
};

template <class T>
Status run_recurrent(KernelContext& ctx, const RecurrentShape& shape, const RecurrentCell<T>& cell);

/// Clips to [-clip, clip]; 0: no clipping.
template <class T>
void clip_values(T* x, int64_t n, float clip) {
  if (!(clip > 0)) return;
  for (int64_t i = 0; i < n; ++i) x[i] = clip_value(x[i], clip);
}

/// Adds what x gives to the sums of one row and clips, for gates [first, last).
template <class T>
void finish_gates(const RecurrentStep<T>& step, int64_t row, int64_t first, int64_t last,
                  float clip) {
  T* sums = step.gate(row, first);
  const T* x = step.x[row] + first * step.hidden;
  const int64_t n = (last - first) * step.hidden;
  for (int64_t i = 0; i < n; ++i) sums[i] += x[i];
  clip_values(sums, n, clip);
}

}  // namespace onnxtool
