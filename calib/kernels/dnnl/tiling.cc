#include "calib/kernels/dnnl/tiling.h"

#include <algorithm>

namespace onnxtool {
namespace {

// A piece below this takes less time than waking a thread for it (some 10 us at 100 GFLOP/s).
constexpr double kLeastPieceFlops = 1e6;
// Pieces of problems that are cut in the same way for every number of threads: large enough that
// one thread loses little by the cuts (2 % over ResNet-50), small enough to occupy a few threads.
constexpr double kFixedPieceFlops = 16e6;
constexpr int64_t kMostFixedPieces = 64;
// Each range of channels reads all pixels once more.
constexpr int64_t kMostFixedChannelRanges = 4;
// Sums of a piece whose results are stored in 8 bits stay in the second-level cache.
constexpr int64_t kSumsPerPiece = 64 * 1024;
// Fewer pixels than this in a piece, and reading the weights takes longer than multiplying by them.
constexpr int64_t kLeastPiecePixels = 24;

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

// Into how many ranges of channels at most; 1: they stay whole.
int64_t channel_blocks(const ConvolutionProblem& p) {
  if (p.groups != 1) return 1;
  return (p.out_channels + kChannelBlock - 1) / kChannelBlock;
}

// Whether the weights are more to read than the pixels: pieces that share the weights would each
// read all of them. A piece of some channels stores its outputs twice, as its lines lie apart.
bool weights_weigh_more(const ConvolutionProblem& p) {
  const auto pixels_in = static_cast<double>(p.images) * static_cast<double>(product(p.in)),
             pixels_out = static_cast<double>(p.images) * static_cast<double>(product(p.out)),
             in = static_cast<double>(p.in_channels), out = static_cast<double>(p.out_channels);
  return in * out * static_cast<double>(product(p.kernel)) > pixels_in * in + 2 * pixels_out * out;
}

// At most so many pieces of pixels.
ConvolutionTiling tile_pixels(const ConvolutionProblem& p, int64_t wanted) {
  ConvolutionTiling t;
  if (wanted <= p.images) {
    t.image_ranges = wanted;
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

// At most `wanted` pieces, or few more; `least_flops` bounds how small they get.
ConvolutionTiling tile(const ConvolutionProblem& p, int64_t wanted, double least_flops,
                       int64_t most_channel_ranges) {
  wanted =
      std::max<int64_t>(std::min(wanted, static_cast<int64_t>(flops_of(p) / least_flops) + 1), 1);
  const int64_t channel_ranges =
      weights_weigh_more(p) ? std::min({wanted, most_channel_ranges, channel_blocks(p)}) : 1;
  ConvolutionTiling t = tile_pixels(p, (wanted + channel_ranges - 1) / channel_ranges);
  t.channel_ranges = channel_ranges;
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

ConvolutionTiling tile_for_threads(const ConvolutionProblem& p, int threads) {
  return tile(p, threads, kLeastPieceFlops, threads);
}

ConvolutionTiling tile_alike_for_all_threads(const ConvolutionProblem& p) {
  return tile(p, kMostFixedPieces, kFixedPieceFlops, kMostFixedChannelRanges);
}

ConvolutionTiling tile_sums(const ConvolutionProblem& p, int threads) {
  const int64_t sums = p.images * product(p.out) * p.out_channels;
  return tile(p, std::max<int64_t>(threads, sums / kSumsPerPiece), kLeastPieceFlops, threads);
}

ConvolutionTiling without_channel_ranges(const ConvolutionProblem& p, const ConvolutionTiling& t) {
  return tile_pixels(p, t.pieces());
}

std::optional<ConvolutionPiece> piece_of(const ConvolutionProblem& p, const ConvolutionTiling& t,
                                         int64_t i) {
  const int64_t range = i % t.ranges, images = i / t.ranges % t.image_ranges,
                channels = i / (t.ranges * t.image_ranges);
  const int64_t begin = p.out[t.axis] * range / t.ranges,
                end = p.out[t.axis] * (range + 1) / t.ranges;
  ConvolutionPiece piece;
  std::optional<ConvolutionProblem> q = p;
  if (t.ranges > 1) q = part(p, t.axis, begin, end, &piece.first_input);
  if (!q) return std::nullopt;
  piece.image = p.images * images / t.image_ranges;
  piece.first_output = begin;
  q->images = p.images * (images + 1) / t.image_ranges - piece.image;
  if (t.channel_ranges > 1) {
    const int64_t blocks = (p.out_channels + kChannelBlock - 1) / kChannelBlock;
    const int64_t last = blocks * (channels + 1) / t.channel_ranges * kChannelBlock;
    piece.first_channel = blocks * channels / t.channel_ranges * kChannelBlock;
    q->out_channels = std::min(last, p.out_channels) - piece.first_channel;
  }
  piece.problem = *std::move(q);
  return piece;
}

}  // namespace onnxtool
