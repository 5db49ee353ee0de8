// Which products kernels without VNNI add in 16 bits: places found by plain loops over the layouts
// that the kernels are given.
#include "libopt/target/pair_sums.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <set>
#include <utility>

#include "libopt/analysis/seam.h"
#include "libopt/ir/model.h"

namespace onnxtool {
namespace {

using PairPlaces = std::set<std::pair<size_t, size_t>>;

// Of a node written as text; `dims` are its weights'. Empty: its kernel adds none.
PairPlaces pairs_of(const std::string& node, std::vector<int64_t> dims) {
  auto model = parse_text(
      "<ir_version: 8, opset_import: [\"\" : 17, \"com.microsoft\" : 1]> g (float x, float w) => "
      "(float y) { y = " +
      node + " }");
  REQUIRE_MESSAGE(model.ok(), (model.ok() ? "" : model.error().message));
  const auto order = pair_order(*(*model)->graph().outputs()[0]->producer(), dims);
  PairPlaces out;
  if (order) for_each_pair(*order, [&](size_t a, size_t b) { out.insert({a, b}); });
  return out;
}

TEST_CASE("pair sums: convolutions take the channels of a tap, then the next tap") {
  // [outputs, channels, 1 x 2 taps]
  CHECK(pairs_of("Conv (x, w)", {2, 2, 1, 2}) == PairPlaces{{0, 2}, {1, 3}, {4, 6}, {5, 7}});
  // Three channels: the third of one tap goes with the first of the next, and the last is alone.
  CHECK(pairs_of("Conv (x, w)", {1, 3, 3}) == PairPlaces{{0, 3}, {6, 1}, {4, 7}, {2, 5}});
  CHECK(pairs_of("Conv <group = 2> (x, w)", {2, 2, 1, 1}) == PairPlaces{{0, 1}, {2, 3}});
  CHECK(pairs_of("com.microsoft.QLinearConv (x, w)", {1, 4, 1}) == PairPlaces{{0, 1}, {2, 3}});
}

TEST_CASE("pair sums: depthwise kernels widen, but not with several outputs for a channel") {
  CHECK(pairs_of("Conv <group = 4> (x, w)", {4, 1, 2, 2}).empty());
  CHECK(pairs_of("Conv <group = 2> (x, w)", {4, 1, 1, 2}) ==
        PairPlaces{{0, 1}, {2, 3}, {4, 5}, {6, 7}});
  CHECK(pairs_of("Conv (x, w)", {1, 1, 3, 3}).empty());
}

TEST_CASE("pair sums: products take neighbours along the common axis") {
  const PairPlaces down{{0, 2}, {1, 3}, {4, 6}, {5, 7}};
  for (const char* op : {"MatMul", "Gemm", "MatMulInteger", "com.microsoft.QGemm",
                         "com.microsoft.DynamicQuantizeMatMul"})
    CHECK_MESSAGE(pairs_of(std::string(op) + " (x, w)", {4, 2}) == down, op);
  CHECK(pairs_of("MatMul (x, w)", {2, 2, 2}) == down);
  CHECK(pairs_of("MatMul (x, w)", {5}) == PairPlaces{{0, 1}, {2, 3}});
  const PairPlaces along{{0, 1}, {2, 3}, {4, 5}, {6, 7}};
  for (const char* op : {"Gemm", "com.microsoft.QGemm"})
    CHECK_MESSAGE(pairs_of(std::string(op) + " <transB = 1> (x, w)", {2, 4}) == along, op);
}

TEST_CASE("pair sums: the kernels of other layers add in 32 bits") {
  CHECK(pairs_of("ConvInteger (x, w)", {2, 2, 1, 2}).empty());
  CHECK(pairs_of("ConvTranspose (x, w)", {2, 2, 1, 2}).empty());
}

TEST_CASE("pair sums: what fits 16 bits") {
  for (int a = -128; a < 128; ++a)
    for (int b = -128; b < 128; ++b) {
      // The largest and the least sum that data of 0 to 255 can make of them.
      const int high = 255 * (std::max(a, 0) + std::max(b, 0)),
                low = 255 * (std::min(a, 0) + std::min(b, 0));
      REQUIRE(pair_saturates(a, b) == (high > 32767 || low < -32768));
    }
}

}  // namespace
}  // namespace onnxtool
