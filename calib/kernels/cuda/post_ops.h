// What a plan fused behind a product or convolution, on a device.
#pragma once

#include <cmath>

#include "calib/kernels/cpu/epilogue.h"
#include "calib/kernels/cuda/elements.h"

namespace onnxtool::device {

/// Post-ops of a node, a few at a time, as launch parameters. Added tensors have the output's type.
struct PostOps {
  static constexpr int kMost = 8;
  struct Op {
    PostOp::Kind kind;
    float alpha, beta;
    const void* added;
  };
  int count = 0;
  DataType type = DataType::kFloat;
  Op ops[kMost];

  /// Element `i` of the output, in float or double; NaN stays.
  template <class T>
  ONNXTOOL_HD T apply(T x, int64_t i) const {
    for (int k = 0; k < count; ++k) {
      const Op& op = ops[k];
      const T alpha = static_cast<T>(op.alpha), beta = static_cast<T>(op.beta);
      switch (op.kind) {
        case PostOp::Kind::kAdd: x += load<T>(type, op.added, i); break;
        case PostOp::Kind::kRelu: x = x < 0 ? T{0} : x; break;
        case PostOp::Kind::kLeakyRelu: x = x < 0 ? x * alpha : x; break;
        case PostOp::Kind::kClip: x = x < alpha ? alpha : x > beta ? beta : x; break;
        case PostOp::Kind::kSigmoid: x = 1 / (1 + std::exp(-x)); break;
        case PostOp::Kind::kTanh: x = std::tanh(x); break;
        case PostOp::Kind::kSilu: x = x / (1 + std::exp(-x)); break;
        case PostOp::Kind::kHardSwish: x = x * unit(x / 6 + T{0.5}); break;
        case PostOp::Kind::kHardSigmoid: x = unit(alpha * x + beta); break;
      }
    }
    return x;
  }
  template <class T>
  ONNXTOOL_HD static T unit(T x) {
    return x < 0 ? T{0} : x > 1 ? T{1} : x;
  }
};

/// Those of `all` from `first` on, kMost at most; `dims` are the output's.
Result<PostOps> post_ops_of(const KernelContext& ctx, std::span<const PostOp> all, size_t first,
                            std::span<const int64_t> dims);

/// Applies those from `first` on to a finished output.
Status apply_post_ops(KernelContext& ctx, std::span<const PostOp> all, size_t first,
                      const MutableView& y);

/// For KernelInfo::fuses: of float32, where fused and separate steps round alike.
inline bool fuses_float(const NodeView& node, const PostOp&) {
  return node.input_dtype(0) == DataType::kFloat;
}

/// An operator's own epilogue.
std::vector<PostOp> post_ops_from(std::span<const EpilogueOp> ops);

}  // namespace onnxtool::device
