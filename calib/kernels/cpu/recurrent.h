// What RNN, GRU and LSTM share: attributes, shapes, packed weights, the walk over time.
//
// x [seq, batch, input] (layout 1: [batch, seq, input]); for each direction W [gates * hidden,
// input], R [gates * hidden, hidden]. One product computes x * W^T for all steps; each step
// multiplies the state of the rows (batch items) of a task by R^T. Rows are independent, so that
// the result does not depend on how threads share them.
#pragma once

#include "calib/kernels/cpu/float_io.h"
#include "calib/kernels/cpu/gemm.h"

namespace onnxtool {

/// One of the activation functions of the operators, with its parameters.
struct RecurrentActivation {
  enum class Kind : uint8_t {
    kRelu,
    kTanh,
    kSigmoid,
    kAffine,
    kLeakyRelu,
    kThresholdedRelu,
    kScaledTanh,
    kHardSigmoid,
    kElu,
    kSoftsign,
    kSoftplus
  };
  Kind kind = Kind::kTanh;
  float alpha = 0, beta = 0;

  void apply(float* x, int64_t n) const;
  void apply(double* x, int64_t n) const;
};

/// How the operators differ for what is shared.
struct RecurrentKind {
  int64_t gates;
  /// Gates whose part of R is multiplied before the cell is called; RestProduct does the others.
  int64_t first_gates;
  /// Input that holds the cell state; -1: there is none.
  int initial_c;
  std::initializer_list<RecurrentActivation::Kind> defaults;  // of one direction
};

/// Those of all directions, as the node names them, else the operator's own.
Result<std::vector<RecurrentActivation>> read_recurrent_activations(const NodeView& node,
                                                                    const RecurrentKind& kind,
                                                                    int64_t directions);

/// Panels of all directions, one after the other: W, and the two parts of R.
template <class T>
struct RecurrentWeights {
  AlignedArray<T> w, r_first, r_rest;
};

struct RecurrentState final : KernelState {
  const GemmIsa* isa;
  RecurrentKind kind;
  int64_t hidden = 0;  // 0: as R says
  int64_t directions = 1;
  bool reverse_first = false;  // "reverse"; the second of two directions always is
  bool batch_first = false;    // layout 1
  float clip = 0;              // 0: none
  bool linear_before_reset = false, input_forget = false;
  std::vector<RecurrentActivation> activations;  // of all directions
  // Packed W and R with their shapes, when both are constant: run() then does not read them.
  RecurrentWeights<float> weights;
  RecurrentWeights<double> weights64;
  Dims w_dims, r_dims;
  DataType weight_type = DataType::kUndefined;

  bool packed() const { return weights.w || weights64.w; }
};
Result<std::unique_ptr<KernelState>> prepare_recurrent(const NodeView& node, const GemmIsa& isa,
                                                       const RecurrentKind& kind);

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

struct RecurrentShape {
  int64_t seq = 0, batch = 0, input = 0, hidden = 0, directions = 1;
};
/// Checks x, W, R, B, sequence_lens and initial states, and that all have x's element type.
Result<RecurrentShape> resolve_recurrent(const KernelContext& ctx);

template <class T>
Status run_recurrent(KernelContext& ctx, const RecurrentShape& shape, const RecurrentCell<T>& cell);

/// Clips to [-clip, clip]; 0: no clipping.
template <class T>
void clip_values(T* x, int64_t n, float clip) {
  if (!(clip > 0)) return;
  const T limit = clip;
  for (int64_t i = 0; i < n; ++i) x[i] = x[i] < -limit ? -limit : x[i] > limit ? limit : x[i];
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
