// Pooling on oneDNN's side of the registry, to the bits of the cpu kernels.
#include <algorithm>
#include <cmath>
#include <iostream>
#include <limits>

#include "calib/exec/modules.h"
#include "tests/kernels/one_node.h"

namespace onnxtool::testing {

TEST_CASE("dnnl: maxima of large windows, one axis after the other, are those of the cpu kernel") {
  const auto sets = load_kernel_sets("auto");
  REQUIRE(sets.ok());
  const auto dnnl = std::ranges::find(sets->sets, "dnnl", &KernelSet::name);
  if (dnnl == sets->sets.end()) {
    std::cout << "SKIP: the oneDNN module is not there\n";
    return;
  }
  struct Window {
    Dims x, kernel, strides, dilations, pads;
  };
  const std::vector<Window> windows = {
      {{1, 20, 13, 13}, {5, 5}, {1, 1}, {1, 1}, {2, 2, 2, 2}},
      {{2, 17, 13, 11}, {13, 13}, {1, 1}, {1, 1}, {6, 6, 6, 6}},
      {{1, 3, 40, 30}, {7, 9}, {2, 3}, {3, 2}, {4, 0, 1, 5}},
      {{1, 5, 9, 10, 11}, {3, 5, 4}, {1, 2, 1}, {1, 1, 2}, {1, 2, 0, 1, 0, 3}},
  };
  for (const Window& w : windows) {
    INFO("windows of " << format_dims(w.kernel));
    std::mt19937 random(7);
    // Few values, so that many are equal; of zeros of both signs the first one counts.
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    const std::vector<float> of = {-2, -1, -0.0f, 0.0f, -kInfinity, -kInfinity, 1};
    std::vector<float> values(static_cast<size_t>(count_of(w.x)));
    for (float& v : values) v = random() % 97 == 0 ? NAN : of[random() % (random() % 9 ? 6 : 7)];
    const OneNode node{.op = "MaxPool",
                       .inputs = {Tensor::from<float>(w.x, values)},
                       .attributes = {{"kernel_shape", w.kernel},
                                      {"strides", w.strides},
                                      {"dilations", w.dilations},
                                      {"pads", w.pads}}};
    const auto expected = run_once(node, 1, cpu_kernel_set(), 1);
    REQUIRE_MESSAGE(expected.ok(), (expected.ok() ? "" : expected.error().message));
    for (int threads : {1, 3}) {
      const auto found = run_once(node, 1, **dnnl, threads);
      REQUIRE_MESSAGE(found.ok(), (found.ok() ? "" : found.error().message));
      CHECK_MESSAGE(same_bits((*expected)[0], (*found)[0]), threads << " threads");
    }
  }
}

}  // namespace onnxtool::testing
