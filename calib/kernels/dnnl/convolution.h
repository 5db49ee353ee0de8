// Convolutions as pieces that run anywhere, for Conv and, seen as 1x1 convolutions, for products
// with a constant matrix.
#pragma once

#include <memory>
#include <vector>

#include "calib/kernels/dnnl/engine.h"
#include "calib/kernels/dnnl/weights.h"

namespace onnxtool {

/// One convolution on known extents; two or three spatial axes. Channels are last in memory.
struct ConvolutionProblem {
  int64_t images = 1, in_channels = 0, out_channels = 0, groups = 1;
  std::vector<int64_t> in, out, kernel, strides, dilations, pads_begin, pads_end;

  dnnl::memory::dims weight_dims() const;  // [O, C, kernel...] or [G, O / G, C / G, kernel...]
  bool is_pointwise() const;
};

/// Where the elements are; a plan adds offsets to source and target.
struct ConvolutionOperands {
  const float* source;
  const float* weights;  // in the plan's order; unused when the plan has packed ones
  const float* bias;     // nullptr: none
  float* target;
};

/// Primitives for one problem, and how they tile it.
///
/// The same bits for any number of threads: pieces are either free (implementations whose sums do
/// not depend on the extents they were made for, which tests/kernels/dnnl_test.cc establishes: then
/// there are as many as threads), or cut by the problem alone.
class ConvolutionPlan {
 public:
  /// `weights` may be empty: then the weights are not constant. The caller serialises access to
  /// them.
  static Result<ConvolutionPlan> make(const ConvolutionProblem& problem, bool bias,
                                      std::span<const PostOp> post_ops, int threads,
                                      WeightStore& weights);
  /// The order that operands' weights must have when they are not packed.
  const dnnl::memory::desc& weights_desc() const { return primitives_.front().weights; }
  Status run(KernelContext& ctx, const ConvolutionOperands& operands) const;
  /// The implementation's name.
  const std::string& implementation() const { return implementation_; }

 private:
  struct Primitive {
    dnnl::convolution_forward code;
    dnnl::memory::desc source, weights, target;
    std::shared_ptr<const PackedWeights> packed;
  };
  struct Piece {
    size_t primitive;
    int64_t source_offset, target_offset;  // in elements
  };
  struct Tiling;

  Status build(const ConvolutionProblem& problem, const Tiling& tiling,
               const dnnl::primitive_attr& attributes, WeightStore& weights);

  std::vector<Primitive> primitives_;
  std::vector<Piece> pieces_;
  std::string implementation_;
  dnnl::memory::desc bias_;
  size_t scratch_bytes_ = 0;  // of one piece
};

/// The primitive for a whole problem without bias or post-ops. Throws dnnl::error.
Described<dnnl::convolution_forward> describe_product(const ConvolutionProblem& problem);

/// Whether oneDNN has generated code for this problem, judged on its extents: `gemm` and reference
/// implementations are slower than the cpu set's own.
bool has_fast_convolution(const ConvolutionProblem& problem);

}  // namespace onnxtool
