// Attention and its kin against the formulas, in shapes that cross the blocks of the kernel.
#include <cmath>

#include "tests/kernels/one_node.h"

namespace onnxtool::testing {
namespace {

struct Extents {
  int64_t batch, heads, kv_heads, rows, keys, size, value_size;
};

// Softmax of the biased scores times v, head by head in double. hidden(b, i, j): query i of sample
// b does not see key j.
template <class Hidden>
std::vector<double> reference(const Extents& e, const Tensor& q, const Tensor& k, const Tensor& v,
                              double scale, const Hidden& hidden) {
  const auto qs = doubles<float>(q), ks = doubles<float>(k), vs = doubles<float>(v);
  std::vector<double> y;
  const auto at = [](const std::vector<double>& x, int64_t i) { return x[static_cast<size_t>(i)]; };
  for (int64_t b = 0; b < e.batch; ++b)
    for (int64_t h = 0; h < e.heads; ++h)
      for (int64_t i = 0; i < e.rows; ++i) {
        const int64_t g = b * e.kv_heads + h / (e.heads / e.kv_heads);
        std::vector<double> p(static_cast<size_t>(e.keys), 0);
        double sum = 0;
        for (int64_t j = 0; j < e.keys; ++j) {
          if (hidden(b, i, j)) continue;
          double dot = 0;
          for (int64_t d = 0; d < e.size; ++d)
            dot += at(qs, ((b * e.heads + h) * e.rows + i) * e.size + d) *
                   at(ks, (g * e.keys + j) * e.size + d);
          sum += p[static_cast<size_t>(j)] = std::exp(dot * scale);
        }
        for (int64_t d = 0; d < e.value_size; ++d) {
          double out = 0;
          for (int64_t j = 0; j < e.keys; ++j)
            if (sum > 0) out += at(p, j) / sum * at(vs, (g * e.keys + j) * e.value_size + d);
          y.push_back(out);
        }
      }
  return y;
}

OneNode attention(const Extents& e, std::vector<Given> attributes, uint32_t seed) {
  Values values(seed);
  return {.op = "Attention",
          .opset = 24,
          .inputs = {values.normal({e.batch, e.heads, e.rows, e.size}),
                     values.normal({e.batch, e.kv_heads, e.keys, e.size}),
                     values.normal({e.batch, e.kv_heads, e.keys, e.value_size})},
          .attributes = std::move(attributes)};
}

}  // namespace

TEST_CASE("attention with groups of heads follows the formula across blocks of queries") {
  const Extents e{2, 6, 2, 70, 131, 20, 9};
  const OneNode node = attention(e, {}, 1);
  const auto y = run_node(node);
  check_sums(y[0],
             reference(e, node.inputs[0], node.inputs[1], node.inputs[2], 1 / std::sqrt(20.0),
                       [](int64_t, int64_t, int64_t) { return false; }),
             e.keys);
}

TEST_CASE("attention of a few queries takes the same values without blocks") {
  const Extents e{2, 4, 2, 3, 131, 21, 9};
  const OneNode node = attention(e, {}, 4);
  check_sums(run_node(node)[0],
             reference(e, node.inputs[0], node.inputs[1], node.inputs[2], 1 / std::sqrt(21.0),
                       [](int64_t, int64_t, int64_t) { return false; }),
             e.keys);
}

TEST_CASE("values of a wider type than the queries are rounded to theirs") {
  OneNode node = attention({1, 2, 2, 3, 4, 8, 8}, {}, 5);
  const Tensor narrow = run_node(node)[0];
  node.inputs[2] = Tensor::from<double>({1, 2, 4, 8}, doubles<float>(node.inputs[2]));
  const Tensor wide = run_node(node)[0];
  CHECK(wide.dtype() == DataType::kFloat);
  check_sums(wide, doubles<float>(narrow), 8);
}

TEST_CASE("causal attention behind an outside cache is aligned to its last valid key") {
  const Extents e{2, 2, 2, 66, 90, 8, 8};
  OneNode node = attention(e, {{"is_causal", int64_t{1}}, {"scale", 0.5f}}, 2);
  const std::vector<int64_t> valid = {90, 60};  // the second: its first 6 queries see nothing
  node.inputs.resize(6);
  node.inputs.push_back(Tensor::from<int64_t>({2}, valid));
  const auto y = run_node(node);
  check_sums(y[0],
             reference(e, node.inputs[0], node.inputs[1], node.inputs[2], 0.5,
                       [&](int64_t b, int64_t i, int64_t j) {
                         const int64_t n = valid[static_cast<size_t>(b)];
                         return j >= n || j > i + n - 66;
                       }),
             e.keys);
  // Sample 1, head 0, row 0: no key at all.
  for (size_t i = 0; i < 8; ++i) CHECK(y[0].values<float>()[2 * 66 * 8 + i] == 0.0f);
}

TEST_CASE("attention names operands that do not fit") {
  const Extents e{1, 2, 2, 3, 4, 8, 8};
  OneNode heads = attention({1, 3, 2, 3, 4, 8, 8}, {}, 3);
  CHECK(mentions(error_of(heads), "do not fit each other"));
  OneNode mask = attention(e, {}, 3);
  mask.inputs.push_back(Values(1).normal({5, 4}));
  CHECK(mentions(error_of(mask),
                 "the mask has shape [5, 4], which does not broadcast to [1, 2, 3, 4]"));
  OneNode past = attention(e, {}, 3);
  past.inputs.resize(4);
  past.inputs.push_back(Values(1).normal({1, 2, 1, 8}));
  CHECK(mentions(error_of(past), "past_key and past_value come together"));
  OneNode packed{.op = "Attention", .opset = 24, .inputs = {Values(1).normal({1, 2, 9})}};
  packed.inputs.push_back(packed.inputs[0]);
  packed.inputs.push_back(packed.inputs[0]);
  CHECK(mentions(error_of(packed), "does not divide into 0 heads"));
}

TEST_CASE("rotary embedding turns pairs by the angles of their positions") {
  const std::vector<float> x = {1, 2, 3, 4, 5, 6}, cos = {1, 0, 0.5f, 0.25f},
                           sin = {0, 1, 0.5f, -1};
  OneNode node{.op = "RotaryEmbedding",
               .opset = 23,
               .inputs = {Tensor::from<float>({1, 1, 1, 6}, x), Tensor::from<float>({2, 2}, cos),
                          Tensor::from<float>({2, 2}, sin),
                          Tensor::from<int64_t>({1, 1}, std::vector<int64_t>{1})},
               .attributes = {{"rotary_embedding_dim", int64_t{4}}}};
  // Pairs (1, 3) and (2, 4) with the second row of the caches; 5 and 6 stay.
  CHECK(doubles<float>(run_node(node)[0]) == std::vector<double>{-1, 4.5, 2, -1, 5, 6});
  node.attributes.emplace_back("interleaved", int64_t{1});
  CHECK(doubles<float>(run_node(node)[0]) == std::vector<double>{-0.5, 1.5, 4.75, -2, 5, 6});
  node.inputs[3] = Tensor::from<int64_t>({1, 1}, std::vector<int64_t>{2});
  CHECK(mentions(error_of(node), "position 2 with 1 rows is out of range for a cache of 2 rows"));
}

TEST_CASE("writes into a cache wrap around only in mode circular") {
  OneNode node{.op = "TensorScatter",
               .opset = 24,
               .inputs = {Tensor::from<float>({1, 3, 1}, std::vector<float>{1, 2, 3}),
                          Tensor::from<float>({1, 2, 1}, std::vector<float>{8, 9}),
                          Tensor::from<int64_t>({1}, std::vector<int64_t>{2})},
               .attributes = {{"mode", std::string("circular")}}};
  CHECK(doubles<float>(run_node(node)[0]) == std::vector<double>{9, 2, 8});
  node.attributes.clear();
  CHECK(mentions(error_of(node), "write index 2 with 2 rows is out of range"));
}

TEST_CASE("a loss leaves ignored targets out of its mean and refuses other strange ones") {
  OneNode node{.op = "NegativeLogLikelihoodLoss",
               .opset = 13,
               .inputs = {Tensor::from<float>({3, 2}, std::vector<float>{1, 2, 3, 4, 5, 6}),
                          Tensor::from<int64_t>({3}, std::vector<int64_t>{1, 7, 0}),
                          Tensor::from<float>({2}, std::vector<float>{3, 1})},
               .attributes = {{"ignore_index", int64_t{7}}}};
  CHECK(doubles<float>(run_node(node)[0]) == std::vector<double>{-(2.0 + 15) / 4});
  node.attributes.clear();
  CHECK(mentions(error_of(node), "target 7 is out of range for 2 classes"));
}

}  // namespace onnxtool::testing
