// Convolutions as pieces that run anywhere, for Conv and, seen as 1x1 convolutions, for products
// with a constant matrix.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "calib/kernels/dnnl/engine.h"
#include "calib/kernels/dnnl/pieces.h"
#include "calib/kernels/dnnl/weights.h"

namespace onnxtool {

/// Element types. Integers: codes of 8 bits, whose sums of products are exact in 32.
struct ConvolutionTypes {
  DnnlType source = kDnnlFloat, weights = kDnnlFloat, target = kDnnlFloat;
  int32_t source_zero_point = 0;
};

/// One convolution on known extents; two or three spatial axes. Channels are last in memory.
struct ConvolutionProblem {
  int64_t images = 1, in_channels = 0, out_channels = 0, groups = 1;
  std::vector<int64_t> in, out, kernel, strides, dilations, pads_begin, pads_end;
  ConvolutionTypes types;

  bool turned =
      false;  // both spatial axes have changed places: images are as wide as they were high

  /// In the order that the node has them.
  std::vector<int64_t> spatial_out() const {
    return turned ? std::vector<int64_t>{out[1], out[0]} : out;
  }
  dnnl::memory::dims weight_dims() const;  // [O, C, kernel...] or [G, O / G, C / G, kernel...]
  bool is_pointwise() const;
};

/// Where the elements are; a plan adds offsets to source and target.
struct ConvolutionOperands {
  const void* source;
  const void* weights;  // in the plan's order; unused when the plan has packed ones
  const float* bias;    // nullptr: none
  void* target;         // unused when the sums are finished elsewhere
};

/// Takes the integer sums [pixels, channels] of these outputs.
using FinishSums =
    std::function<void(const int32_t* sums, const IndexRange& pixels, const IndexRange& channels)>;

struct ConvolutionPiece;
struct ConvolutionTiling;
struct PlainProduct;

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
  dnnl::memory::desc weights_desc() const { return primitives_.front().desc.weights_desc(); }
  Status run(KernelContext& ctx, const ConvolutionOperands& operands) const;
  /// Of integers: each piece's sums go to `finish`, hot in cache, from any thread.
  Status run(KernelContext& ctx, const ConvolutionOperands& operands,
             const FinishSums& finish) const;
  /// The implementation's name.
  const std::string& implementation() const { return implementation_; }

 private:
  struct Primitive {
    int64_t pixels = 0;
    IndexRange channels;
    dnnl::convolution_forward::primitive_desc desc;
    std::shared_ptr<const PackedWeights> packed;
    Executable code;
    std::shared_ptr<PlainProduct> plain;  // where `code` drops NaN
  };
  struct Piece {
    size_t primitive;
    int64_t source_offset;  // in elements
    int64_t first_pixel;    // of the outputs, all images counted
  };

  Status execute(const Piece& piece, const ConvolutionOperands& operands, void* target,
                 void* scratch) const;
  /// Whether outputs go where they belong, since they follow each other there.
  bool writes_lines(const Primitive& p) const;
  Status describe_pieces(const ConvolutionProblem& problem, const ConvolutionTiling& tiling,
                         const dnnl::primitive_attr& attributes, bool constant);
  Executable executable(const dnnl::convolution_forward::primitive_desc& desc,
                        const Primitive& p) const;
  Status make_code(Primitive& p, WeightStore& weights);

  std::vector<Primitive> primitives_;
  std::vector<Piece> pieces_;
  std::string implementation_;
  std::vector<PostOp> watched_;  // fused ones, where a NaN among the sums must be looked for
  std::vector<PostOp> apart_;    // what oneDNN is not asked for
  bool bias_ = false, adds_ = false, makes_sums_ = false;
  int64_t out_channels_ = 0;
  size_t scratch_bytes_ = 0;  // of one piece
  size_t source_element_bytes_ = sizeof(float);
  int64_t most_outputs_ = 0;  // of a piece that keeps them in scratch memory, in elements
};

/// The primitive for a whole problem without bias or post-ops. Throws dnnl::error.
Described<dnnl::convolution_forward> describe_product(const ConvolutionProblem& problem);

/// Whether oneDNN has generated code for this problem, judged on its extents: `gemm` and reference
/// implementations are slower than the cpu set's own.
bool has_fast_convolution(const ConvolutionProblem& problem);

}  // namespace onnxtool
