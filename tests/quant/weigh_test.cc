// Which nodes save time as integers.

#include "quant/weigh.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>

namespace onnxtool {
namespace {

using Sides = std::vector<bool>;

double time_of(const std::vector<WeighedNode>& nodes, const std::vector<WeighedTensor>& tensors,
               const Sides& integer) {
  double sum = 0;
  for (size_t i = 0; i < nodes.size(); ++i)
    sum += integer[i] ? nodes[i].integer_ns : nodes[i].float_ns;
  for (const WeighedTensor& t : tensors) {
    const bool made = t.producer >= 0 && integer[static_cast<size_t>(t.producer)];
    bool wanted = false;
    int floats = t.float_readers;
    for (int r : t.readers) {
      wanted |= integer[static_cast<size_t>(r)];
      floats += !integer[static_cast<size_t>(r)];
    }
    if (!made && wanted) sum += t.quantize_ns;
    if (made) sum += floats * t.dequantize_ns;
  }
  return sum;
}

TEST_CASE("weighing: a layer between floats pays for Q and DQ itself") {
  const std::vector<WeighedTensor> around = {{-1, {0}, 0, 300, 300}, {0, {}, 1, 300, 300}};
  CHECK((cheapest_placement({{1000, 500}}, around) == Sides{false}));
  CHECK((cheapest_placement({{1000, 300}}, around) == Sides{true}));
  // A tie is for integers.
  CHECK((cheapest_placement({{1000, 400}}, around) == Sides{true}));
}

TEST_CASE("weighing: neighbours share what stands between floats and integers") {
  std::vector<WeighedNode> nodes(6, {1000, 850});
  std::vector<WeighedTensor> chain = {{-1, {0}, 0, 300, 300}};
  for (int i = 0; i + 1 < 6; ++i) chain.push_back({i, {i + 1}, 0, 300, 300});
  chain.push_back({5, {}, 1, 300, 300});
  CHECK((cheapest_placement(nodes, chain) == Sides(6, true)));
  nodes.resize(3);
  chain = {chain[0], chain[1], chain[2], {2, {}, 1, 300, 300}};
  CHECK((cheapest_placement(nodes, chain) == Sides(3, false)));
}

TEST_CASE("weighing: one Q serves all readers, every float reader has its own DQ") {
  // Alone neither reader is worth the Q.
  const WeighedTensor shared{-1, {0, 1}, 0, 500, 500};
  CHECK((cheapest_placement({{1000, 700}, {1000, 700}}, {shared}) == Sides{true, true}));
  CHECK((cheapest_placement({{1000, 700}, {1000, 900}}, {shared}) == Sides{false, false}));
  CHECK((cheapest_placement({{1000, 500}}, {{0, {}, 1, 0, 400}}) == Sides{true}));
  CHECK((cheapest_placement({{1000, 500}}, {{0, {}, 2, 0, 400}}) == Sides{false}));
}

TEST_CASE("weighing: no other placement of random graphs is faster") {
  std::mt19937 random(7);
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  for (int round = 0; round < 60; ++round) {
    const int count = 2 + below(8);
    std::vector<WeighedNode> nodes;
    for (int i = 0; i < count; ++i) nodes.push_back({100.0 * below(12), 100.0 * below(12)});
    std::vector<WeighedTensor> tensors;
    for (int i = -1; i < count; ++i) {
      WeighedTensor t{i, {}, below(3) == 0, 100.0 * below(6), 100.0 * below(6)};
      for (int r = i + 1; r < count; ++r)
        if (below(3) == 0) t.readers.push_back(r);
      tensors.push_back(t);
    }
    const double found = time_of(nodes, tensors, cheapest_placement(nodes, tensors));
    for (int bits = 0; bits < 1 << count; ++bits) {
      Sides other(static_cast<size_t>(count));
      for (int i = 0; i < count; ++i) other[static_cast<size_t>(i)] = bits >> i & 1;
      REQUIRE(time_of(nodes, tensors, other) >= found - 1e-6);
    }
  }
}

TEST_CASE("weighing: long chains and nothing at all") {
  CHECK(cheapest_placement({}, {}).empty());
  const int count = 20000;
  std::vector<WeighedTensor> chain;
  for (int i = 0; i + 1 < count; ++i) chain.push_back({i, {i + 1}, 0, 10, 10});
  const Sides sides = cheapest_placement(std::vector<WeighedNode>(count, {2, 1}), chain);
  CHECK(std::count(sides.begin(), sides.end(), true) == count);
}

}  // namespace
}  // namespace onnxtool
