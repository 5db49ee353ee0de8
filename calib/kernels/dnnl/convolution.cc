#include "calib/kernels/dnnl/convolution.h"

#include <algorithm>
#include <array>
#include <map>
#include <optional>

#include "calib/kernels/dnnl/pieces.h"

namespace onnxtool {
namespace {

using dnnl::memory;

// A piece below this takes less time than waking a thread for it (some 10 us at 100 GFLOP/s).
constexpr double kLeastPieceFlops = 1e6;
// Pieces of problems that are cut in the same way for every number of threads: large enough that
// one thread loses little by the cuts (2 % over ResNet-50), small enough to occupy a few threads.
constexpr double kFixedPieceFlops = 16e6;
constexpr int64_t kMostFixedPieces = 64;
// Sums of a piece whose results are stored in 8 bits stay in the second-level cache.
constexpr int64_t kSumsPerPiece = 64 * 1024;
// Fewer pixels than this in a piece, and reading the weights takes longer than multiplying by them.
constexpr int64_t kLeastPiecePixels = 24;

// Implementations that add up each output in an order of channels and taps that does not depend on
// spatial extents. Not among them: brgconv (blocks of input channels follow the extents) and gemm.
bool sums_alike_for_all_extents(const std::string& implementation) {
  for (const char* name : {"jit:", "jit_1x1:", "jit_dw:", "brgconv_1x1:", "brdgmm_dw:"})
    if (implementation.starts_with(name)) return true;
  return false;
}

int64_t product(const std::vector<int64_t>& v) {
  int64_t p = 1;
  for (int64_t d : v) p *= d;
  return p;
}

double flops_of(const ConvolutionProblem& p) {
  return 2.0 * static_cast<double>(p.images) * static_cast<double>(product(p.out)) *
         static_cast<double>(p.out_channels) * static_cast<double>(p.in_channels / p.groups) *
         static_cast<double>(product(p.kernel));
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

// How a problem is cut: into ranges of images, or into ranges of positions on one axis of each
// image.
struct ConvolutionPlan::Tiling {
  size_t axis = 0;
  int64_t image_ranges = 1, ranges = 1;
};

namespace {

// At most `wanted` pieces; `least_flops` bounds how small they get.
template <class Tiling>
Tiling tile(const ConvolutionProblem& p, int64_t wanted, double least_flops) {
  Tiling t;
  wanted = std::min(wanted, static_cast<int64_t>(flops_of(p) / least_flops) + 1);
  if (wanted <= p.images) {
    t.image_ranges = std::max<int64_t>(wanted, 1);
    return t;
  }
  // Pieces are contiguous on the first axis with an extent; below it everything is whole.
  while (t.axis + 1 < p.in.size() && p.in[t.axis] == 1 && p.out[t.axis] == 1) ++t.axis;
  const int64_t line = std::max<int64_t>(product(p.out) / std::max<int64_t>(p.out[t.axis], 1), 1);
  const int64_t most =
      std::max<int64_t>(p.out[t.axis] / ((kLeastPiecePixels + line - 1) / line), 1);
  t.image_ranges = p.images;
  t.ranges = std::min((wanted + p.images - 1) / p.images, most);
  return t;
}

// The part of p that makes outputs [begin, end) of axis; nullopt when a piece would see padding
// only.
std::optional<ConvolutionProblem> part(ConvolutionProblem p, size_t axis, int64_t begin,
                                       int64_t end, int64_t* first_input) {
  const int64_t reach = (p.kernel[axis] - 1) * p.dilations[axis] + 1;
  const int64_t from = begin * p.strides[axis] - p.pads_begin[axis];
  const int64_t to = (end - 1) * p.strides[axis] - p.pads_begin[axis] + reach;
  const int64_t lo = std::clamp<int64_t>(from, 0, p.in[axis]),
                hi = std::clamp<int64_t>(to, 0, p.in[axis]);
  if (lo >= hi) return std::nullopt;
  p.in[axis] = hi - lo;
  p.out[axis] = end - begin;
  p.pads_begin[axis] = lo - from;
  p.pads_end[axis] = to - hi;
  *first_input = lo;
  return p;
}

}  // namespace

// Fails with kMismatch when this tiling does not do for the problem; one piece always does.
Status ConvolutionPlan::build(const ConvolutionProblem& p, const Tiling& tiling,
                              const dnnl::primitive_attr& attributes, WeightStore& weights) {
  primitives_.clear();
  pieces_.clear();
  scratch_bytes_ = 0;
  most_outputs_ = 0;
  const int64_t in_image = product(p.in) * p.in_channels,
                out_image = product(p.out) * p.out_channels;
  const int64_t in_line = in_image / p.in[tiling.axis], out_line = out_image / p.out[tiling.axis];
  // Pieces of equal extents share a primitive: images, first and last padding, inputs, outputs.
  std::map<std::array<int64_t, 5>, size_t> known;
  for (int64_t i = 0; i < tiling.image_ranges; ++i)
    for (int64_t r = 0; r < tiling.ranges; ++r) {
      const int64_t image = p.images * i / tiling.image_ranges,
                    next_image = p.images * (i + 1) / tiling.image_ranges;
      const int64_t begin = p.out[tiling.axis] * r / tiling.ranges,
                    end = p.out[tiling.axis] * (r + 1) / tiling.ranges;
      int64_t first = 0;
      std::optional<ConvolutionProblem> q = p;
      if (tiling.ranges > 1) q = part(p, tiling.axis, begin, end, &first);
      if (!q) return kernel_error(ErrorCode::kMismatch, "a piece lies in the padding");
      q->images = next_image - image;
      const size_t a = tiling.axis;
      const auto [at, fresh] = known.try_emplace(
          {q->images, q->pads_begin[a], q->pads_end[a], q->in[a], q->out[a]}, primitives_.size());
      if (fresh) {
        ConvolutionDescs descs = descs_of(*q, bias_.get_size() != 0);
        const auto described = describe_convolution(descs, attributes);
        if (primitives_.empty() && tiling.ranges * tiling.image_ranges == 1)
          implementation_ = described.implementation;
        if (described.implementation != implementation_)
          return kernel_error(ErrorCode::kMismatch, "a piece has another implementation");
        Primitive made{{}, described.desc.weights_desc(), described.desc.dst_desc(), nullptr};
        if (weights) {
          made.packed = weights.in_order(made.weights);
          if (!made.packed)
            return kernel_error(ErrorCode::kOutOfMemory, "out of memory while reordering weights");
        } else if (!primitives_.empty() && made.weights != primitives_.front().weights) {
          return kernel_error(ErrorCode::kMismatch, "a piece wants other weights");
        }
        const size_t scratch = described.desc.scratchpad_desc().get_size();
        made.code = Executable(
            dnnl::convolution_forward(described.desc),
            {{DNNL_ARG_SRC, described.desc.src_desc()},
             {DNNL_ARG_WEIGHTS, made.weights, made.packed ? made.packed->data.get() : nullptr},
             {DNNL_ARG_BIAS, bias_},
             {DNNL_ARG_DST, made.target},
             {DNNL_ARG_SCRATCHPAD, scratch_desc(scratch)}});
        scratch_bytes_ = std::max(scratch_bytes_, scratch);
        most_outputs_ = std::max(most_outputs_, q->images * product(q->out) * q->out_channels);
        primitives_.push_back(std::move(made));
      }
      pieces_.push_back(
          {at->second, image * in_image + first * in_line, image * out_image + begin * out_line});
    }
  return {};
}

Result<ConvolutionPlan> ConvolutionPlan::make(const ConvolutionProblem& original, bool bias,
                                              std::span<const PostOp> post_ops, int threads,
                                              WeightStore& weights) {
  return catching([&]() -> Result<ConvolutionPlan> {
    hold_to_one_thread();
    const ConvolutionProblem p = original.is_pointwise() ? flattened(original) : original;
    ConvolutionPlan plan;
    if (bias) plan.bias_ = plain_desc({p.out_channels});
    plan.source_element_bytes_ = memory::data_type_size(p.types.source);
    const dnnl::primitive_attr attributes = make_attributes(post_ops, p.types.source_zero_point);
    plan.implementation_ = describe_convolution(descs_of(p, bias), attributes).implementation;
    Tiling tiling;
    if (p.types.target == DnnlType::s32) {
      // Exact, however it is cut.
      const int64_t sums = p.images * product(p.out) * p.out_channels;
      tiling = tile<Tiling>(p, std::max<int64_t>(threads, sums / kSumsPerPiece), kLeastPieceFlops);
    } else if (sums_alike_for_all_extents(plan.implementation_)) {
      tiling = tile<Tiling>(p, threads, kLeastPieceFlops);
    } else {
      tiling = tile<Tiling>(p, kMostFixedPieces, kFixedPieceFlops);
    }
    Status built = plan.build(p, tiling, attributes, weights);
    if (!built.ok() && built.error().code == ErrorCode::kMismatch)
      built = plan.build(p, Tiling(), attributes, weights);
    if (!built.ok()) return std::move(built).error();
    return plan;
  });
}

void ConvolutionPlan::execute(const Piece& piece, const ConvolutionOperands& operands, void* target,
                              void* scratch) const {
  const Primitive& p = primitives_[piece.primitive];
  const auto source_offset = static_cast<size_t>(piece.source_offset) * source_element_bytes_;
  p.code.execute({static_cast<const std::byte*>(operands.source) + source_offset, operands.weights,
                  operands.bias, target, scratch});
}

Status ConvolutionPlan::run(KernelContext& ctx, const ConvolutionOperands& operands) const {
  auto* target = static_cast<float*>(operands.target);
  return run_all_pieces(ctx, pieces_.size(), scratch_bytes_, [&](size_t i, void* scratch) {
    execute(pieces_[i], operands, target + pieces_[i].target_offset, scratch);
  });
}

Status ConvolutionPlan::run(KernelContext& ctx, const ConvolutionOperands& operands,
                            const FinishSums& finish) const {
  const size_t sums_at = (scratch_bytes_ + 63) / 64 * 64;
  const size_t bytes = sums_at + static_cast<size_t>(most_outputs_) * sizeof(int32_t);
  return run_all_pieces(ctx, pieces_.size(), bytes, [&](size_t i, std::byte* scratch) {
    const Piece& piece = pieces_[i];
    auto* sums = reinterpret_cast<int32_t*>(scratch + sums_at);
    execute(piece, operands, sums, scratch);
    finish(sums, piece.target_offset,
           static_cast<int64_t>(primitives_[piece.primitive].target.get_size() / sizeof(int32_t)));
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
