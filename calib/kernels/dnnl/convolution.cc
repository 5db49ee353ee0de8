#include "calib/kernels/dnnl/convolution.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <mutex>
#include <optional>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "calib/kernels/cpu/vector_math_post_op.h"
#include "calib/kernels/dnnl/pieces.h"
#include "calib/kernels/dnnl/tiling.h"

namespace onnxtool {
namespace {

using dnnl::memory;

// Implementations that add up each output in an order of channels and taps that does not depend on
// spatial extents. Not among them: brgconv (blocks of input channels follow the extents) and gemm.
bool sums_alike_for_all_extents(const std::string& implementation) {
  for (const char* name : {"jit:", "jit_1x1:", "jit_dw:", "brgconv_1x1:", "brdgmm_dw:"})
    if (implementation.starts_with(name)) return true;
  return false;
}

// oneDNN takes the greater and the lesser of two by instructions that give the bound where the sum
// is NaN.
bool drops_nan(const PostOp& op) {
  using Kind = PostOp::Kind;
  return op.kind == Kind::kRelu || op.kind == Kind::kClip || op.kind == Kind::kHardSigmoid;
}

// Those of x86 then raise the flag of invalid operations, so that looking for dropped NaN costs
// next to nothing until there is one. Not <cfenv>: it saves and loads the x87 unit as well, each
// time.
#if defined(__x86_64__)
constexpr bool kFlagTellsOfNan = true;
void lower_flag() { _mm_setcsr(_mm_getcsr() & ~static_cast<unsigned>(_MM_EXCEPT_INVALID)); }
bool flag_is_up() { return (_mm_getcsr() & _MM_EXCEPT_INVALID) != 0; }
#else
constexpr bool kFlagTellsOfNan = false;
void lower_flag() {}
bool flag_is_up() { return true; }
#endif

int64_t product(const std::vector<int64_t>& v) {
  int64_t p = 1;
  for (int64_t d : v) p *= d;
  return p;
}

memory::dims with_channels(int64_t images, int64_t channels, const std::vector<int64_t>& spatial) {
  memory::dims dims{images, channels};
  dims.insert(dims.end(), spatial.begin(), spatial.end());
  return dims;
}

ConvolutionDescs descs_of(const ConvolutionProblem& p, bool bias) {
  const ConvolutionTypes& t = p.types;
  return {.source = channels_last_desc(with_channels(p.images, p.in_channels, p.in), t.source),
          .weights = any_desc(p.weight_dims(), t.weights),
          .bias = bias ? plain_desc({p.out_channels}) : memory::desc(),
          .target = channels_last_desc(with_channels(p.images, p.out_channels, p.out), t.target),
          .strides = p.strides,
          .dilations = p.dilations,
          .pads_begin = p.pads_begin,
          .pads_end = p.pads_end};
}

// Every pixel on its own: all images become one row of pixels, which can be cut anywhere.
ConvolutionProblem flattened(ConvolutionProblem p) {
  p.in = p.out = {1, p.images * product(p.in)};
  p.images = 1;
  p.kernel = p.strides = p.dilations = {1, 1};
  p.pads_begin = p.pads_end = {0, 0};
  return p;
}

}  // namespace

// The same product without post-ops, whose code is generated when it is first needed.
struct PlainProduct {
  dnnl::convolution_forward::primitive_desc desc;
  std::once_flag once;
  Executable code;
};

memory::dims ConvolutionProblem::weight_dims() const {
  memory::dims dims;
  if (groups > 1)
    dims = {groups, out_channels / groups, in_channels / groups};
  else
    dims = {out_channels, in_channels};
  dims.insert(dims.end(), kernel.begin(), kernel.end());
  return dims;
}

bool ConvolutionProblem::is_pointwise() const {
  const auto all = [](const std::vector<int64_t>& v, int64_t x) {
    return std::all_of(v.begin(), v.end(), [=](int64_t d) { return d == x; });
  };
  return all(kernel, 1) && all(strides, 1) && all(pads_begin, 0) && all(pads_end, 0);
}

// Fails with kMismatch when this tiling does not do for the problem; one piece always does.
Status ConvolutionPlan::describe_pieces(const ConvolutionProblem& p,
                                        const ConvolutionTiling& tiling,
                                        const dnnl::primitive_attr& attributes, bool constant) {
  primitives_.clear();
  pieces_.clear();
  const int64_t pixels_in = product(p.in), pixels_out = product(p.out);
  const int64_t in_line = pixels_in / p.in[tiling.axis] * p.in_channels,
                out_line = pixels_out / p.out[tiling.axis];
  // Pieces of equal extents share a primitive: images, first and last padding, inputs, outputs,
  // first channel.
  std::map<std::array<int64_t, 6>, size_t> known;
  for (int64_t i = 0; i < tiling.pieces(); ++i) {
    const auto piece = piece_of(p, tiling, i);
    if (!piece) return kernel_error(ErrorCode::kMismatch, "a piece lies in the padding");
    const ConvolutionProblem& q = piece->problem;
    const size_t a = tiling.axis;
    const auto [at, fresh] = known.try_emplace(
        {q.images, q.pads_begin[a], q.pads_end[a], q.in[a], q.out[a], piece->first_channel},
        primitives_.size());
    if (fresh) {
      const auto described = describe_convolution(descs_of(q, bias_), attributes);
      if (tiling.pieces() > 1 && described.implementation != implementation_)
        return kernel_error(ErrorCode::kMismatch, "a piece has another implementation");
      if (!constant && !primitives_.empty() && described.desc.weights_desc() != weights_desc())
        return kernel_error(ErrorCode::kMismatch, "a piece wants other weights");
      primitives_.push_back({.pixels = q.images * product(q.out),
                             .channels = {piece->first_channel, q.out_channels},
                             .desc = described.desc,
                             .packed = nullptr,
                             .code = {},
                             .plain = nullptr});
      if (!watched_.empty()) {
        ConvolutionDescs plain = descs_of(q, bias_);
        plain.weights = described.desc.weights_desc();
        primitives_.back().plain =
            std::make_shared<PlainProduct>(describe_convolution(plain, make_attributes({})).desc);
      }
    }
    pieces_.push_back({at->second,
                       piece->image * pixels_in * p.in_channels + piece->first_input * in_line,
                       piece->image * pixels_out + piece->first_output * out_line});
  }
  return {};
}

Executable ConvolutionPlan::executable(const dnnl::convolution_forward::primitive_desc& desc,
                                       const Primitive& p) const {
  return Executable(
      dnnl::convolution_forward(desc),
      {{DNNL_ARG_SRC, desc.src_desc()},
       {DNNL_ARG_WEIGHTS, desc.weights_desc(), p.packed ? p.packed->data.get() : nullptr},
       {DNNL_ARG_BIAS, bias_ ? plain_desc({p.channels.count}) : memory::desc()},
       {DNNL_ARG_DST, desc.dst_desc()},
       {DNNL_ARG_SCRATCHPAD, scratch_desc(desc.scratchpad_desc().get_size())}});
}

Status ConvolutionPlan::make_code(Primitive& p, WeightStore& weights) {
  if (weights) {
    p.packed =
        weights.in_order(p.desc.weights_desc(), p.channels.count == out_channels_
                                                    ? IndexRange{0, p.desc.weights_desc().dims()[0]}
                                                    : p.channels);
    if (!p.packed)
      return kernel_error(ErrorCode::kOutOfMemory, "out of memory while reordering weights");
  }
  p.code = executable(p.desc, p);
  for (const auto* desc : {&p.desc, p.plain ? &p.plain->desc : nullptr})
    if (desc)
      scratch_bytes_ =
          std::max(scratch_bytes_, (desc->scratchpad_desc().get_size() + 63) / 64 * 64);
  if (!writes_lines(p)) most_outputs_ = std::max(most_outputs_, p.pixels * p.channels.count);
  return {};
}

Result<ConvolutionPlan> ConvolutionPlan::make(const ConvolutionProblem& original, bool bias,
                                              std::span<const PostOp> post_ops, int threads,
                                              WeightStore& weights) {
  return catching([&]() -> Result<ConvolutionPlan> {
    hold_to_one_thread();
    const ConvolutionProblem p = original.is_pointwise() ? flattened(original) : original;
    ConvolutionPlan plan;
    plan.bias_ = bias;
    plan.adds_ = !post_ops.empty() && post_ops.front().kind == PostOp::Kind::kAdd;
    plan.makes_sums_ = p.types.target == DnnlType::s32;
    plan.out_channels_ = p.out_channels;
    plan.source_element_bytes_ = memory::data_type_size(p.types.source);
    // The addend, which the sum replaces, would be gone when its NaN is missed.
    const bool drops = std::ranges::any_of(post_ops, drops_nan);
    const auto [fused, apart] =
        !drops || (kFlagTellsOfNan && !plan.adds_)
            ? std::pair(post_ops, std::span<const PostOp>())
            : std::pair(post_ops.first(plan.adds_), post_ops.subspan(plan.adds_));
    plan.apart_.assign(apart.begin(), apart.end());
    if (drops && apart.empty()) plan.watched_.assign(fused.begin(), fused.end());
    const dnnl::primitive_attr attributes = make_attributes(fused, p.types.source_zero_point);
    plan.implementation_ = describe_convolution(descs_of(p, bias), attributes).implementation;
    const bool constant = static_cast<bool>(weights);
    const ConvolutionTiling tiling = plan.makes_sums_ ? tile_sums(p, threads)
                                     : sums_alike_for_all_extents(plan.implementation_)
                                         ? tile_for_threads(p, threads)
                                         : tile_alike_for_all_threads(p);
    // Cut in both ways, along the pixels only, not at all: the first that can be.
    Status described = kernel_error(ErrorCode::kMismatch, "");
    for (const ConvolutionTiling& t :
         {tiling, without_channel_ranges(p, tiling), ConvolutionTiling()}) {
      if (!constant && t.channel_ranges > 1) continue;
      described = plan.describe_pieces(p, t, attributes, constant);
      if (described.ok() || described.error().code != ErrorCode::kMismatch) break;
    }
    if (!described.ok()) return std::move(described).error();
    for (Primitive& made : plan.primitives_) ONNXTOOL_TRY(plan.make_code(made, weights));
    return plan;
  });
}

bool ConvolutionPlan::writes_lines(const Primitive& p) const {
  return !makes_sums_ && (p.channels.count == out_channels_ || p.pixels == 1);
}

Status ConvolutionPlan::execute(const Piece& piece, const ConvolutionOperands& operands,
                                void* target, void* scratch) const {
  const Primitive& p = primitives_[piece.primitive];
  const auto source_offset = static_cast<size_t>(piece.source_offset) * source_element_bytes_;
  const auto compute = [&](const Executable& code, void* to) {
    code.execute({static_cast<const std::byte*>(operands.source) + source_offset, operands.weights,
                  operands.bias ? operands.bias + p.channels.first : nullptr, to, scratch});
  };
  const int64_t count = p.pixels * p.channels.count;
  auto* outputs = static_cast<float*>(target);  // unused where they are not of this type
  if (p.plain) lower_flag();
  compute(p.code, target);
  for (const PostOp& op : apart_) apply_post_op(op, outputs, count);
  if (!p.plain || !flag_is_up()) return {};

  std::call_once(p.plain->once, [&] { p.plain->code = executable(p.plain->desc, p); });
  const std::unique_ptr<float[]> sums(new (std::nothrow) float[static_cast<size_t>(count)]);
  if (!sums) return kernel_error(ErrorCode::kOutOfMemory, "no memory to look for NaN in");
  compute(p.plain->code, sums.get());
  for (const PostOp& op : watched_) apply_post_op(op, sums.get(), count);
  for (int64_t i = 0; i < count; ++i)
    if (std::isnan(sums[i])) outputs[i] = sums[i];
  return {};
}

Status ConvolutionPlan::run(KernelContext& ctx, const ConvolutionOperands& operands) const {
  auto* target = static_cast<float*>(operands.target);
  const size_t bytes = scratch_bytes_ + static_cast<size_t>(most_outputs_) * sizeof(float);
  return run_all_pieces(ctx, pieces_.size(), bytes, [&](size_t i, std::byte* scratch) -> Status {
    const Primitive& p = primitives_[pieces_[i].primitive];
    float* lines = target + pieces_[i].first_pixel * out_channels_ + p.channels.first;
    if (writes_lines(p)) return execute(pieces_[i], operands, lines, scratch);
    // The piece's channels of each pixel, one pixel after the other.
    auto* dense = reinterpret_cast<float*>(scratch + scratch_bytes_);
    const int64_t n = p.channels.count;
    for (int64_t k = 0; adds_ && k < p.pixels; ++k)
      std::copy_n(lines + k * out_channels_, n, dense + k * n);
    ONNXTOOL_TRY(execute(pieces_[i], operands, dense, scratch));
    for (int64_t k = 0; k < p.pixels; ++k) std::copy_n(dense + k * n, n, lines + k * out_channels_);
    return {};
  });
}

Status ConvolutionPlan::run(KernelContext& ctx, const ConvolutionOperands& operands,
                            const FinishSums& finish) const {
  const size_t bytes = scratch_bytes_ + static_cast<size_t>(most_outputs_) * sizeof(int32_t);
  return run_all_pieces(ctx, pieces_.size(), bytes, [&](size_t i, std::byte* scratch) -> Status {
    const Piece& piece = pieces_[i];
    const Primitive& p = primitives_[piece.primitive];
    auto* sums = reinterpret_cast<int32_t*>(scratch + scratch_bytes_);
    ONNXTOOL_TRY(execute(piece, operands, sums, scratch));
    finish(sums, {piece.first_pixel, p.pixels}, p.channels);
    return {};
  });
}

Described<dnnl::convolution_forward> describe_product(const ConvolutionProblem& problem) {
  return describe_convolution(descs_of(problem, false), make_attributes({}));
}

bool has_fast_convolution(const ConvolutionProblem& problem) {
  // oneDNN 2.6 has no reorder for weights of a single point in a volume.
  if (problem.kernel.size() == 3 && product(problem.kernel) == 1) return false;
  try {
    hold_to_one_thread();
    const std::string name =
        describe_convolution(descs_of(problem.is_pointwise() ? flattened(problem) : problem,
                                      problem.types.target == kDnnlFloat),
                             make_attributes({}, problem.types.source_zero_point))
            .implementation;
    return name.find("gemm") == std::string::npos && name.find("ref") == std::string::npos;
  } catch (const dnnl::error&) {
    return false;
  }
}

}  // namespace onnxtool
