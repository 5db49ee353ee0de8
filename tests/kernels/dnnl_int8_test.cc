// The oneDNN module's integer kernels give the bits of the cpu kernels.
#include <doctest/doctest.h>

#include <iostream>
#include <random>
#include <thread>

#include "calib/exec/modules.h"
#include "tests/kernels/one_node.h"

namespace onnxtool::testing {
namespace {

using Dims = std::vector<int64_t>;

const KernelSet* int8_kernel_set() {
  const auto sets = load_kernel_sets("auto");
  for (const KernelSet* set : sets.ok() ? sets->sets : std::vector<const KernelSet*>())
    if (set->name == "dnnl") return set;
  return nullptr;
}

struct Case {
  Dims x, w;
  int64_t group = 1;
  Dims strides = {}, dilations = {}, pads = {};
  bool signed_x = false, signed_y = false;
  int x_zero = 0, y_zero = 0;
  bool bias = true;
  bool unsigned_w = false;
  std::vector<int> w_zeros = {};  // one, or one for each output; none: 0
};

template <class T>
Tensor codes(Dims dims, std::mt19937& random) {
  int64_t count = 1;
  for (int64_t d : dims) count *= d;
  std::vector<T> values(static_cast<size_t>(count));
  for (T& v : values) v = static_cast<T>(random());
  return Tensor::from<T>(std::move(dims), values);
}

Tensor zero_point(bool is_signed, int value) {
  return is_signed ? Tensor::scalar(static_cast<int8_t>(value))
                   : Tensor::scalar(static_cast<uint8_t>(value));
}

template <class T>
Tensor weight_zeros(const Case& c) {
  if (c.w_zeros.size() == 1) return Tensor::scalar(static_cast<T>(c.w_zeros[0]));
  std::vector<T> zeros(static_cast<size_t>(c.w[0]), T{0});
  std::copy(c.w_zeros.begin(), c.w_zeros.end(), zeros.begin());
  return Tensor::vector(zeros);
}

OneNode node_of(const Case& c, uint32_t seed) {
  std::mt19937 random(seed);
  const int64_t outputs = c.w[0];
  std::vector<float> scales(static_cast<size_t>(outputs));
  std::vector<int32_t> bias(static_cast<size_t>(outputs));
  for (float& s : scales) s = 0.001f * static_cast<float>(1 + random() % 97);
  for (int32_t& b : bias) b = static_cast<int32_t>(random() % 20001) - 10000;
  OneNode node{.op = "QLinearConv"};
  node.inputs = {c.signed_x ? codes<int8_t>(c.x, random) : codes<uint8_t>(c.x, random),
                 Tensor::scalar(0.02f),
                 zero_point(c.signed_x, c.x_zero),
                 c.unsigned_w ? codes<uint8_t>(c.w, random) : codes<int8_t>(c.w, random),
                 Tensor::vector(scales),
                 c.unsigned_w ? weight_zeros<uint8_t>(c) : weight_zeros<int8_t>(c),
                 Tensor::scalar(2.5f),
                 zero_point(c.signed_y, c.y_zero)};
  if (c.bias) node.inputs.push_back(Tensor::vector(bias));
  node.attributes.push_back({"group", c.group});
  if (!c.strides.empty()) node.attributes.push_back({"strides", c.strides});
  if (!c.dilations.empty()) node.attributes.push_back({"dilations", c.dilations});
  if (!c.pads.empty()) node.attributes.push_back({"pads", c.pads});
  return node;
}

// Of small integers: its sums are exact in any order.
OneNode float_node_of(const Case& c) {
  const auto ramp = [](const Dims& dims) {
    int64_t count = 1;
    for (int64_t d : dims) count *= d;
    std::vector<float> values(static_cast<size_t>(count));
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 11) - 5;
    return Tensor::from<float>(dims, values);
  };
  return {.op = "Conv", .inputs = {ramp(c.x), ramp(c.w)}};
}

}  // namespace

TEST_CASE("dnnl: QLinearConv gives the bits of the cpu kernel, whatever the number of threads") {
  const KernelSet* dnnl = int8_kernel_set();
  if (!dnnl) {
    std::cout << "SKIP: the oneDNN module is not there\n";
    return;
  }
  const std::vector<Case> cases = {
      {.x = {1, 3, 64, 64},
       .w = {32, 3, 7, 7},
       .strides = {2, 2},
       .pads = {3, 3, 3, 3},
       .x_zero = 117},
      {.x = {1, 64, 28, 28}, .w = {64, 64, 1, 1}, .y_zero = 3},
      {.x = {1, 64, 56, 56}, .w = {96, 64, 1, 1}, .x_zero = 255, .y_zero = 255},
      {.x = {3, 48, 13, 13}, .w = {40, 48, 1, 1}, .x_zero = 128, .bias = false},
      {.x = {1, 64, 28, 28}, .w = {64, 64, 3, 3}, .pads = {1, 1, 1, 1}},
      {.x = {1, 64, 14, 14},
       .w = {64, 64, 3, 3},
       .pads = {1, 1, 1, 1},
       .signed_x = true,
       .signed_y = true,
       .x_zero = -128,
       .y_zero = -128},
      {.x = {5, 17, 14, 11},
       .w = {33, 17, 3, 3},
       .pads = {1, 0, 2, 1},
       .signed_x = true,
       .x_zero = 11},
      {.x = {1, 32, 20, 20},
       .w = {32, 32, 3, 3},
       .dilations = {2, 3},
       .pads = {2, 3, 2, 3},
       .signed_y = true,
       .x_zero = 9,
       .y_zero = -7},
      {.x = {2, 96, 28, 28},
       .w = {96, 1, 3, 3},
       .group = 96,
       .pads = {1, 1, 1, 1},
       .x_zero = 77,
       .y_zero = 12},
      {.x = {1, 64, 14, 14}, .w = {64, 16, 3, 3}, .group = 4, .pads = {1, 1, 1, 1}, .x_zero = 1},
      {.x = {2, 24, 100}, .w = {48, 24, 3}, .strides = {2}, .pads = {1, 1}, .x_zero = 60},
      {.x = {1, 16, 6, 9, 10}, .w = {24, 16, 3, 3, 3}, .pads = {1, 1, 1, 1, 1, 1}, .x_zero = 200},
      {.x = {1, 16, 4, 5, 6}, .w = {24, 16, 1, 1, 1}},
      {.x = {0, 16, 8, 8}, .w = {8, 16, 3, 3}},
      // Of few channels, whose sums are codes before they are stored.
      {.x = {1, 16, 56, 56}, .w = {96, 16, 1, 1}, .x_zero = 128},
      {.x = {3, 24, 13, 13}, .w = {144, 24, 1, 1}, .x_zero = 201, .y_zero = 7},
      {.x = {1, 32, 9, 9}, .w = {16, 32, 1, 1}, .signed_y = true, .y_zero = -9},
      {.x = {2, 4, 7, 5}, .w = {17, 4, 1, 1}, .x_zero = 3, .bias = false},
      {.x = {1, 8, 1, 1}, .w = {33, 8, 1, 1}, .x_zero = 255},
      {.x = {0, 8, 4, 4}, .w = {8, 8, 1, 1}},
      // More weights than pixels: cut by output channels.
      {.x = {1, 256, 5, 5}, .w = {200, 256, 3, 3}, .pads = {1, 1, 1, 1}, .y_zero = 9},
      {.x = {1, 200, 3, 3}, .w = {192, 200, 1, 1}, .signed_x = true, .x_zero = 5},
      // Zero points of weights, whose part is taken off the sums; unsigned weights.
      {.x = {1, 3, 33, 35},
       .w = {64, 3, 7, 7},
       .strides = {2, 2},
       .pads = {3, 3, 3, 3},
       .x_zero = 114,
       .unsigned_w = true,
       .w_zeros = {131}},
      {.x = {2, 32, 9, 10}, .w = {48, 32, 1, 1}, .x_zero = 7, .unsigned_w = true, .w_zeros = {128}},
      {.x = {2, 24, 9, 10}, .w = {7, 24, 1, 1}, .unsigned_w = true, .w_zeros = {0}},
      {.x = {2, 17, 9, 10},
       .w = {5, 17, 3, 2},
       .strides = {1, 2},
       .dilations = {2, 1},
       .pads = {0, 1, 1, 0},
       .signed_x = true,
       .signed_y = true,
       .x_zero = -3,
       .w_zeros = {-128, 127, 0, 1, -1}},
      {.x = {1, 256, 5, 5},
       .w = {200, 256, 3, 3},
       .pads = {1, 1, 1, 1},
       .unsigned_w = true,
       .w_zeros = {255}},
      {.x = {1, 16, 4, 5, 6}, .w = {24, 16, 2, 1, 3}, .x_zero = 9, .w_zeros = {4}},
      {.x = {1, 64, 14, 14},
       .w = {64, 16, 3, 3},
       .group = 4,
       .pads = {1, 1, 1, 1},
       .x_zero = 1,
       .unsigned_w = true,
       .w_zeros = {128}},
      {.x = {1, 8, 7, 7}, .w = {8, 1, 3, 3}, .group = 8, .w_zeros = {3}},  // left to the cpu
  };
  uint32_t seed = 1;
  for (const Case& c : cases) {
    const OneNode node = node_of(c, seed++);
    INFO("x " << format_dims(c.x) << ", weights " << format_dims(c.w));
    const auto expected = run_once(node, 1, cpu_kernel_set(), 1);
    REQUIRE_MESSAGE(expected.ok(), (expected.ok() ? "" : expected.error().message));
    for (int threads : {1, 2, 5}) {
      const auto found = run_once(node, 1, *dnnl, threads);
      // A machine without VNNI instructions, or a shape without a fast implementation.
      if (!found.ok() && found.error().code == ErrorCode::kUnsupported) break;
      REQUIRE_MESSAGE(found.ok(), (found.ok() ? "" : found.error().message));
      CHECK_MESSAGE(same_bits((*expected)[0], (*found)[0]), threads << " threads");
    }
  }
}

TEST_CASE("dnnl: convolutions prepared by several threads at a time are the same") {
  const KernelSet* dnnl = int8_kernel_set();
  if (!dnnl) {
    std::cout << "SKIP: the oneDNN module is not there\n";
    return;
  }
  // Half of the threads prepare float convolutions, whose blocks oneDNN makes by other rules.
  constexpr size_t kThreads = 4;
  std::vector<size_t> wrong(kThreads, 0);
  std::vector<std::thread> threads;
  for (size_t t = 0; t < kThreads; ++t)
    threads.emplace_back([&, t] {
      // Another problem each time: oneDNN keeps what it has made.
      for (int64_t i = 0; i < 200; ++i) {
        const int64_t channels = 3 + 16 * (i % 7);
        const Case c{.x = {1, channels, 6 + i % 3, 20 + i}, .w = {12, channels, 3, 3}};
        const OneNode node = t % 2 ? float_node_of(c) : node_of(c, static_cast<uint32_t>(i));
        const auto expected = run_once(node, 1, cpu_kernel_set(), 1);
        const auto found = run_once(node, 1, *dnnl, 1);
        if (!found.ok() && found.error().code == ErrorCode::kUnsupported) continue;
        if (!expected.ok() || !found.ok() || !same_bits((*expected)[0], (*found)[0])) ++wrong[t];
      }
    });
  for (std::thread& thread : threads) thread.join();
  for (size_t t = 0; t < kThreads; ++t) CHECK_MESSAGE(wrong[t] == 0, "thread " << t);
}

}  // namespace onnxtool::testing
