// What follows a convolution or matrix product on each element of a finished part of the output:
// bias, an added tensor, activations. Post-ops of a plan and the activations of com.microsoft's
// fused operators end up here.
#pragma once

#include "calib/kernels/cpu/common.h"

namespace onnxtool {

struct EpilogueOp {
  enum class Kind : uint8_t {
    kAdd,
    kRelu,
    kLeakyRelu,
    kClip,
    kSigmoid,
    kTanh,
    kHardSwish,
    kHardSigmoid,
    kSilu,
    kBias
  };
  Kind kind;
  float alpha = 0, beta = 0;  // as in PostOp
  int input = -1;             // kAdd, kBias: index of the node's input
};

/// `activation` and `activation_params` (or `activation_alpha` and its kin) of
/// com.microsoft.FusedConv and FusedGemm; nothing when the attribute is absent.
Result<std::vector<EpilogueOp>> fused_activation(const NodeView& node);

/// Whether Epilogue computes it.
inline bool epilogue_fuses(const NodeView&, const PostOp&) { return true; }

/// The operations of one run, in T (float or double), with the data of added tensors.
template <class T>
class Epilogue {
 public:
  /// `own`: what the operator itself does first. Post-ops of the node follow. Added tensors are
  /// converted to T when they come in a narrower type.
  static Result<Epilogue> make(KernelContext& ctx, std::span<const EpilogueOp> own,
                               std::span<const int64_t> dims);

  bool empty() const { return steps_.empty(); }
  /// y[0, n) is elements [offset, offset + n) of the output; all of one row where there is a bias.
  void apply(T* y, int64_t n, int64_t offset) const;

 private:
  struct Step {
    EpilogueOp op;
    const T* added = nullptr;
    int64_t columns = 0;  // kBias: of a row
  };
  std::vector<Step> steps_;
};

}  // namespace onnxtool
