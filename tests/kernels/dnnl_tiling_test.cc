// How convolutions are cut into pieces: each output belongs to one of them, and the cuts are those
// that are meant. The kernel module is nothing to link with, so its source is part of this one.
#include <doctest/doctest.h>

#if __has_include(<dnnl.hpp>)
#include "calib/kernels/dnnl/tiling.cc"

namespace onnxtool {
namespace {

ConvolutionProblem square(int64_t images, int64_t in_channels, int64_t out_channels, int64_t size,
                          int64_t kernel = 3, int64_t stride = 1) {
  ConvolutionProblem p;
  p.images = images, p.in_channels = in_channels, p.out_channels = out_channels;
  const int64_t pad = kernel / 2, out = (size + 2 * pad - kernel) / stride + 1;
  p.in = {size, size}, p.out = {out, out}, p.kernel = {kernel, kernel};
  p.strides = {stride, stride}, p.dilations = {1, 1};
  p.pads_begin = p.pads_end = {pad, pad};
  return p;
}

void check_pieces(const ConvolutionProblem& p, const ConvolutionTiling& t) {
  CAPTURE(t.image_ranges);
  CAPTURE(t.ranges);
  CAPTURE(t.channel_ranges);
  const int64_t lines = p.out[t.axis];
  std::vector<int> made(static_cast<size_t>(p.images * lines * p.out_channels));
  for (int64_t i = 0; i < t.pieces(); ++i) {
    const auto piece = piece_of(p, t, i);
    REQUIRE(piece);
    const ConvolutionProblem& q = piece->problem;
    CHECK(piece->first_channel % kChannelBlock == 0);
    CHECK(piece->first_input + q.in[t.axis] <= p.in[t.axis]);
    if (t.ranges > 1)  // what the kernel reads is what the piece has
      CHECK(q.pads_begin[t.axis] + q.in[t.axis] + q.pads_end[t.axis] ==
            (q.out[t.axis] - 1) * q.strides[t.axis] + q.kernel[t.axis]);
    for (int64_t image = piece->image; image < piece->image + q.images; ++image)
      for (int64_t line = piece->first_output; line < piece->first_output + q.out[t.axis]; ++line)
        for (int64_t c = piece->first_channel; c < piece->first_channel + q.out_channels; ++c)
          ++made.at(static_cast<size_t>((image * lines + line) * p.out_channels + c));
  }
  CHECK(std::ranges::all_of(made, [](int times) { return times == 1; }));
}

TEST_CASE("dnnl: every output of a convolution belongs to one piece") {
  for (const ConvolutionProblem& p :
       {square(1, 64, 64, 56), square(3, 512, 520, 7), square(8, 3, 64, 64, 7, 2),
        square(1, 256, 1000, 1, 1), square(5, 32, 32, 1, 1)}) {
    CAPTURE(p.out_channels);
    for (const int threads : {1, 2, 7}) {
      check_pieces(p, tile_for_threads(p, threads));
      check_pieces(p, tile_sums(p, threads));
    }
    const ConvolutionTiling alike = tile_alike_for_all_threads(p);
    check_pieces(p, alike);
    check_pieces(p, without_channel_ranges(p, alike));
  }
}

TEST_CASE("dnnl: images, lines or channels of a convolution are cut, whatever is least to read") {
  const ConvolutionTiling tiny = tile_for_threads(square(1, 4, 4, 8), 8);
  CHECK(tiny.pieces() == 1);
  CHECK(tile_for_threads(square(8, 64, 64, 56), 4).image_ranges == 4);
  const ConvolutionTiling lines = tile_for_threads(square(1, 64, 64, 56), 4);
  CHECK(lines.ranges == 4);
  CHECK(lines.channel_ranges == 1);
  ConvolutionProblem deep = square(1, 512, 512, 7);
  CHECK(tile_for_threads(deep, 4).channel_ranges == 4);
  deep.groups = 2;  // whose channels stay together
  CHECK(tile_for_threads(deep, 4).channel_ranges == 1);
}

TEST_CASE("dnnl: a piece that sees nothing but padding is none") {
  ConvolutionProblem p = square(1, 8, 8, 4, 1);
  p.pads_begin = p.pads_end = {1, 1};
  p.out = {6, 6};
  const ConvolutionTiling t{.axis = 0, .image_ranges = 1, .ranges = 6, .channel_ranges = 1};
  CHECK(!piece_of(p, t, 0));
  CHECK(!piece_of(p, t, 5));
  const auto second = piece_of(p, t, 1);
  REQUIRE(second);
  CHECK(second->first_input == 0);
  CHECK(second->problem.pads_begin[0] == 0);
}

}  // namespace
}  // namespace onnxtool
#endif
