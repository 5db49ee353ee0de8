// Transpose of 32-bit elements takes blocks where axes change places as matrices do; 64-bit ones
// walk.
#include <doctest/doctest.h>

#include "tests/kernels/one_node.h"

namespace onnxtool::testing {

TEST_CASE("Transpose in blocks moves what Transpose by steps moves") {
  struct Case {
    Dims dims, perm;
  };
  for (const Case& c :
       {Case{{37, 19}, {1, 0}}, Case{{2, 9, 11, 3}, {0, 3, 1, 2}},
        Case{{2, 3, 9, 11}, {0, 2, 3, 1}}, Case{{1, 70, 1, 65}, {3, 0, 2, 1}},
        Case{{4, 5, 6, 7}, {2, 3, 0, 1}}, Case{{4, 5, 6, 7}, {0, 2, 1, 3}},
        Case{{3, 4, 5}, {2, 1, 0}}, Case{{2, 1, 8}, {0, 2, 1}}, Case{{0, 4, 5}, {0, 2, 1}}}) {
    INFO(format_dims(c.dims) << " in the order " << format_dims(c.perm));
    std::vector<float> narrow(static_cast<size_t>(count_of(c.dims)));
    for (size_t i = 0; i < narrow.size(); ++i) narrow[i] = static_cast<float>(i);
    const std::vector<double> wide(narrow.begin(), narrow.end());
    OneNode node{.op = "Transpose", .attributes = {{"perm", c.perm}}};
    node.inputs = {Tensor::from<double>(c.dims, wide)};
    const auto expected = run_once(node, 1, cpu_kernel_set(), 1);
    node.inputs = {Tensor::from<float>(c.dims, narrow)};
    for (const int threads : {1, 3}) {
      const auto found = run_once(node, 1, cpu_kernel_set(), threads);
      REQUIRE(expected.ok());
      REQUIRE(found.ok());
      CHECK((*found)[0].dims() == (*expected)[0].dims());
      const auto x = (*found)[0].values<float>();
      const auto y = (*expected)[0].values<double>();
      CHECK(std::equal(x.begin(), x.end(), y.begin(), y.end()));
    }
  }
}

}  // namespace onnxtool::testing
