// Attributes, checks and shapes of RNN, GRU and LSTM, for the host and for a device.
#pragma once

#include <algorithm>
#include <cmath>

#include "calib/kernels/cpu/common.h"
#include "calib/kernels/cpu/host_device.h"

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
  template <class T>
  ONNXTOOL_HD T operator()(T x) const;
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

/// What the attributes say.
struct RecurrentNode {
  RecurrentKind kind;
  int64_t hidden = 0;  // 0: as R says
  int64_t directions = 1;
  bool reverse_first = false;  // "reverse"; the second of two directions always is
  bool batch_first = false;    // layout 1
  float clip = 0;              // 0: none
  bool linear_before_reset = false, input_forget = false;
  std::vector<RecurrentActivation> activations;  // of all directions
};
Result<RecurrentNode> read_recurrent(const NodeView& node, const RecurrentKind& kind);

struct RecurrentShape {
  int64_t seq = 0, batch = 0, input = 0, hidden = 0, directions = 1;
};
/// Checks x, W and R (of shapes w and r), B, sequence_lens and initial states. sequence_lens is
/// read.
Result<RecurrentShape> resolve_recurrent(const KernelContext& ctx, const RecurrentNode& node,
                                         std::span<const int64_t> w, std::span<const int64_t> r);
/// LSTM: checks P.
Status check_peepholes(const KernelContext& ctx, const RecurrentShape& shape);

/// sequence_lens is looked at.
inline InputUse recurrent_use(const NodeView&, int input) {
  return input == 4 ? InputUse::kHost : InputUse::kData;
}

inline constexpr int kInitialC = 6, kPeephole = 7;
inline constexpr std::initializer_list<RecurrentActivation::Kind> kRnnActivations = {
    RecurrentActivation::Kind::kTanh};
inline constexpr std::initializer_list<RecurrentActivation::Kind> kGruActivations = {
    RecurrentActivation::Kind::kSigmoid, RecurrentActivation::Kind::kTanh};
inline constexpr std::initializer_list<RecurrentActivation::Kind> kLstmActivations = {
    RecurrentActivation::Kind::kSigmoid, RecurrentActivation::Kind::kTanh,
    RecurrentActivation::Kind::kTanh};
inline constexpr RecurrentKind kRnnKind = {1, 1, -1, kRnnActivations},
                               kGruKind = {3, 2, -1, kGruActivations},
                               kLstmKind = {4, 4, kInitialC, kLstmActivations};

template <class T>
ONNXTOOL_HD T RecurrentActivation::operator()(T x) const {
  const T a = alpha, b = beta;
  switch (kind) {
    case Kind::kRelu: return x < 0 ? T(0) : x;
    case Kind::kTanh: return std::tanh(x);
    case Kind::kSigmoid: return 1 / (1 + std::exp(-x));
    case Kind::kAffine: return a * x + b;
    case Kind::kLeakyRelu: return x < 0 ? a * x : x;
    case Kind::kThresholdedRelu: return x < a ? T(0) : x;
    case Kind::kScaledTanh: return a * std::tanh(b * x);
    case Kind::kHardSigmoid: return std::min(std::max(a * x + b, T(0)), T(1));
    case Kind::kElu: return x < 0 ? a * (std::exp(x) - 1) : x;
    case Kind::kSoftsign: return x / (1 + std::abs(x));
    case Kind::kSoftplus: return std::max(x, T(0)) + std::log1p(std::exp(-std::abs(x)));
  }
  return x;
}

/// To [-clip, clip]; 0: as it is.
template <class T>
ONNXTOOL_HD T clip_value(T x, float clip) {
  if (!(clip > 0)) return x;
  const T limit = clip;
  return x < -limit ? -limit : x > limit ? limit : x;
}

}  // namespace onnxtool
