// Values that no operator can work with, found when the model runs: each is an error that says what
// was found, never a crash or a result that was bent to fit.
#include <doctest/doctest.h>

#include <limits>

#include "tests/kernels/one_node.h"

namespace onnxtool::testing {
namespace {

constexpr int64_t kHuge = int64_t{1} << 40;

Tensor x23() { return Tensor::from<float>({2, 3}, std::vector<float>{1, 2, 3, 4, 5, 6}); }
Tensor image() { return Tensor::from<float>({1, 1, 2, 2}, std::vector<float>{1, 2, 3, 4}); }
Tensor ints(std::vector<int64_t> v) {
  return Tensor::from<int64_t>({static_cast<int64_t>(v.size())}, v);
}
Tensor indices(Dims dims, std::vector<int64_t> v) {
  return Tensor::from<int64_t>(std::move(dims), v);
}

struct Case {
  OneNode node;
  const char* says;
};

void check_all(const std::vector<Case>& cases) {
  for (const Case& c : cases) {
    CAPTURE(c.node.op);
    CHECK(mentions(error_of(c.node), c.says));
  }
}

}  // namespace

TEST_CASE("bad values: integers are not divided by zero") {
  const auto zeros = [](auto zero) { return Tensor::vector(std::vector{zero, zero}); };
  for (const char* op : {"Div", "Mod"})
    check_all({{{.op = op, .inputs = {zeros(int32_t{}), zeros(int32_t{})}}, "division by zero"},
               {{.op = op, .inputs = {zeros(int64_t{}), zeros(int64_t{})}}, "division by zero"},
               {{.op = op, .inputs = {zeros(uint8_t{}), zeros(uint8_t{})}}, "division by zero"}});
  // The one quotient that does not fit wraps, as all integers do.
  const OneNode lowest{
      .op = "Div",
      .inputs = {Tensor::scalar(std::numeric_limits<int32_t>::min()), Tensor::scalar(int32_t{-1})}};
  CHECK(run_node(lowest)[0].values<int32_t>()[0] == std::numeric_limits<int32_t>::min());
}

TEST_CASE("bad values: the first NaN is the extreme, and the last index passes over it") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const auto index = [](const char* op, int64_t last, const std::vector<float>& x) {
    return run_node({.op = op,
                     .inputs = {Tensor::vector(x)},
                     .attributes = {{"select_last_index", last}}})[0]
        .values<int64_t>()[0];
  };
  for (const char* op : {"ArgMax", "ArgMin"}) {
    CAPTURE(op);
    CHECK(index(op, 0, {1, nan, 0, 3}) == 1);
    CHECK(index(op, 0, {3, nan, 1, nan}) == 1);
    CHECK(index(op, 0, {nan, 1, 2, 3}) == 0);
    CHECK(index(op, 1, {nan, nan, 1, 0}) == 0);
  }
  CHECK(index("ArgMax", 1, {1, nan, 0, 3}) == 3);
  CHECK(index("ArgMin", 1, {1, nan, 0, 3}) == 2);
}

TEST_CASE("bad values: indices lie within what they point into") {
  const Tensor update = Tensor::from<float>({1, 3}, std::vector<float>{0, 0, 0});
  const Tensor one = Tensor::from<float>({1, 1}, std::vector<float>{0});
  check_all({
      {{.op = "Gather", .inputs = {x23(), ints({2})}}, "index 2 is out of range"},
      {{.op = "Gather", .inputs = {x23(), ints({-3})}}, "index -3 is out of range"},
      {{.op = "GatherND", .inputs = {x23(), indices({1, 2}, {0, 9})}}, "index 9 is out of range"},
      {{.op = "GatherElements", .inputs = {x23(), indices({1, 3}, {0, 9, 0})}},
       "index 9 is out of range"},
      {{.op = "ScatterND", .inputs = {x23(), indices({1, 1}, {7}), update}},
       "index 7 is out of range"},
      {{.op = "ScatterElements", .inputs = {x23(), indices({1, 1}, {-4}), one}},
       "index -4 is out of range"},
      {{.op = "TopK", .inputs = {x23(), ints({-1})}, .outputs = 2}, "k is -1"},
      {{.op = "TopK", .inputs = {x23(), ints({4})}, .outputs = 2}, "k is 4"},
      {{.op = "ReverseSequence", .inputs = {x23(), ints({9, 9, 9})}}, "sequence_lens has 9"},
      {{.op = "CumSum", .inputs = {x23(), Tensor::scalar(int64_t{2})}}, "axis is 2"},
      {{.op = "Compress",
        .inputs = {x23(), Tensor::from_bytes(DataType::kBool, {3}, std::vector<std::byte>(3))},
        .attributes = {{"axis", int64_t{0}}}},
       "condition has 3 elements for an extent of 2"},
  });
}

TEST_CASE("bad values: shapes are shapes, and results fit into memory's numbers") {
  check_all({
      {{.op = "ConstantOfShape", .inputs = {ints({-1, 3})}}, "[-1, 3] is not a shape"},
      {{.op = "Expand", .inputs = {x23(), ints({kHuge, kHuge, 2, 3})}}, "is not a shape"},
      {{.op = "Reshape", .inputs = {x23(), ints({4, 4})}}, "does not fit into shape [4, 4]"},
      {{.op = "Tile", .inputs = {x23(), ints({kHuge, kHuge})}}, "pass 2^63 elements"},
      {{.op = "Pad", .inputs = {x23(), ints({-3, 0, 0, 0})}}, "leave no valid extent"},
      {{.op = "Split", .inputs = {x23(), ints({5, -3})}, .outputs = 2}, "has an invalid size"},
      {{.op = "Resize",
        .inputs = {image(), Tensor(), Tensor::vector(std::vector<float>{1, 1, 1e18f, 1e18f})}},
       "impossible dims"},
      {{.op = "Range",
        .inputs = {Tensor::scalar(int64_t{0}), Tensor::scalar(int64_t{5}),
                   Tensor::scalar(int64_t{0})}},
       "delta is 0"},
      {{.op = "Range",
        .inputs = {Tensor::scalar(0.0f), Tensor::scalar(1e30f), Tensor::scalar(1e-30f)}},
       "no finite number of elements"},
      {{.op = "OneHot",
        .inputs = {ints({0, 1}), Tensor::scalar(int64_t{1} << 60),
                   Tensor::vector(std::vector<float>{0, 1})}},
       "impossible dims"},
  });
}

TEST_CASE("bad values: a result beyond the machine's memory is refused, not asked for") {
  const OneNode node{.op = "ConstantOfShape", .inputs = {ints({int64_t{1} << 20, kHuge >> 4})}};
  CHECK(mentions(error_of(node), "out of memory while asking for"));
}

}  // namespace onnxtool::testing
