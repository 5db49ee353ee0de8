// Weights rounded by what they do to outputs: the choice itself, windows of convolutions, and
// models.

#include "quant/adaround.h"

#include <tbb/global_control.h>

#include <random>

#include "quant/input_moments.h"
#include "quant/rounding.h"
#include "tests/quant/small_models.h"

namespace onnxtool {
namespace {

std::vector<float> normal(int64_t count, uint64_t seed) {
  std::mt19937_64 engine(seed);
  std::normal_distribution<float> draw;
  std::vector<float> out(static_cast<size_t>(count));
  for (float& v : out) v = draw(engine);
  return out;
}

// Of inputs that hang together: neighbours share most of what they are.
std::vector<float> moments_of(int64_t depth, int64_t count) {
  const auto noise = normal(count * (depth + 3), 9);
  std::vector<float> sums(static_cast<size_t>(depth * depth));
  for (int64_t r = 0; r < count; ++r) {
    const float* n = noise.data() + r * (depth + 3);
    const auto x = [&](int64_t k) { return n[k] + n[k + 1] + n[k + 2] + n[k + 3]; };
    for (int64_t i = 0; i < depth; ++i)
      for (int64_t j = 0; j < depth; ++j) sums[static_cast<size_t>(i * depth + j)] += x(i) * x(j);
  }
  return sums;
}

Rounding nearest(int64_t rows, int64_t depth, int bits, uint64_t seed) {
  Rounding r;
  r.rows = rows;
  r.depth = depth;
  r.weights = normal(rows * depth, seed);
  r.highest = (1 << (bits - 1)) - 1;
  r.lowest = -r.highest;
  for (int64_t row = 0; row < rows; ++row) {
    r.scales.push_back(3.0f / static_cast<float>(r.highest));
    r.zero_points.push_back(0);
  }
  for (int64_t i = 0; i < rows * depth; ++i)
    r.codes.push_back(std::clamp(
        static_cast<int>(std::nearbyint(r.weights[static_cast<size_t>(i)] / r.scales[0])), r.lowest,
        r.highest));
  return r;
}

double noise_of(const Rounding& r, int64_t row, const std::vector<int>& codes,
                const std::vector<float>& m) {
  double sum = 0;
  const auto error = [&](int64_t k) {
    return r.weights[static_cast<size_t>(row * r.depth + k)] -
           static_cast<double>(codes[static_cast<size_t>(k)]) * r.scales[static_cast<size_t>(row)];
  };
  for (int64_t i = 0; i < r.depth; ++i)
    for (int64_t j = 0; j < r.depth; ++j)
      sum += error(i) * m[static_cast<size_t>(i * r.depth + j)] * error(j);
  return sum;
}

std::vector<int> codes_of(const Rounding& r, int64_t row) {
  return {r.codes.begin() + row * r.depth, r.codes.begin() + (row + 1) * r.depth};
}

TEST_CASE("adaround: comes close to the best of all roundings") {
  const int64_t rows = 20, depth = 12;
  const std::vector<float> m = moments_of(depth, 100);
  const Rounding before = nearest(rows, depth, 3, 4);
  Rounding r = before;
  const RoundingNoise noise = round_adaptively(r, m);
  double best_of_all = 0, chosen = 0, plain = 0;
  for (int64_t row = 0; row < rows; ++row) {
    double best = INFINITY;
    for (int mask = 0; mask < 1 << depth; ++mask) {
      std::vector<int> codes;
      for (int64_t k = 0; k < depth; ++k) {
        const auto at = static_cast<size_t>(row * depth + k);
        codes.push_back(
            std::clamp(static_cast<int>(std::floor(r.weights[at] / r.scales[0])) + (mask >> k & 1),
                       r.lowest, r.highest));
      }
      best = std::min(best, noise_of(r, row, codes, m));
    }
    best_of_all += best;
    const double mine = noise_of(r, row, codes_of(r, row), m);
    CHECK(mine <= noise_of(r, row, codes_of(before, row), m) * 1.0001);
    chosen += mine;
    plain += noise_of(r, row, codes_of(before, row), m);
  }
  CHECK(noise.chosen == doctest::Approx(chosen).epsilon(1e-3));
  CHECK(noise.nearest == doctest::Approx(plain).epsilon(1e-3));
  CHECK(chosen < 0.6 * plain);
  CHECK(chosen < 1.8 * best_of_all);  // a search by slopes, not of all 4096
}

TEST_CASE("adaround: neither threads nor other rows change a code") {
  const std::vector<float> m = moments_of(40, 200);
  std::optional<Rounding> first;
  for (const size_t threads : {1, 3}) {
    const tbb::global_control limit(tbb::global_control::max_allowed_parallelism, threads);
    Rounding r = nearest(130, 40, 4, 5);
    const RoundingNoise noise = round_adaptively(r, m);
    CHECK(noise.chosen < 0.8 * noise.nearest);
    for (const int c : r.codes) REQUIRE((c >= r.lowest && c <= r.highest));
    if (first) CHECK(first->codes == r.codes);
    first = std::move(r);
  }
}

// Windows as a plain loop over a padded, strided, grouped convolution has them.
TEST_CASE("moments: windows of convolutions") {
  auto model = testing::parse(
      "<ir_version: 8, opset_import: [\"\" : 17]> g (float[2,4,5,6] x) => (float y) "
      "<float[6,2,3,2] "
      "w = {" +
      testing::numbers(72) +
      "}> { r = Relu (x) y = Conv <group = 2, strides = [2, 1], pads = [1, 0, 0, 1], dilations = "
      "[1, 2]> "
      "(r, w) }");
  REQUIRE(infer_graph(model->graph()).ok());
  const auto samples = testing::random_samples(*model, 2);
  const Graph& g = model->graph();
  const LayerInput input{g.find("r"), g.find("y")->producer(), 12, 2};
  const auto m = collect_moments(g, std::span(&input, 1), *samples, testing::cpu_run());
  REQUIRE_MESSAGE(m.ok(), (m.ok() ? "" : m.error().message));
  std::vector<double> expected(2 * 12 * 12);
  int64_t rows = 0;
  for (int64_t s = 0; s < 2; ++s) {
    const auto x = samples->read(s)->inputs[0].values<float>();
    for (int n = 0; n < 2; ++n)
      for (int oi = 0; oi < 2; ++oi)
        for (int oj = 0; oj < 5; ++oj) {
          ++rows;
          for (int group = 0; group < 2; ++group) {
            double window[12];
            for (int c = 0; c < 2; ++c)
              for (int a = 0; a < 3; ++a)
                for (int b = 0; b < 2; ++b) {
                  const int i = oi * 2 - 1 + a, j = oj + b * 2;
                  const bool inside = i >= 0 && i < 5 && j < 6;
                  window[(c * 3 + a) * 2 + b] =
                      inside
                          ? std::max(
                                0.0f,
                                x[static_cast<size_t>(((n * 4 + group * 2 + c) * 5 + i) * 6 + j)])
                          : 0;
                }
            for (int p = 0; p < 12; ++p)
              for (int q = 0; q < 12; ++q)
                expected[static_cast<size_t>((group * 12 + p) * 12 + q)] += window[p] * window[q];
          }
        }
  }
  CHECK((*m)[0].rows == rows);
  for (size_t i = 0; i < expected.size(); ++i)
    REQUIRE((*m)[0].sums[i] == doctest::Approx(expected[i]).epsilon(1e-4).scale(1));
}

std::string random_numbers(int count, uint64_t seed) {
  std::string text;
  for (const float v : normal(count, seed)) text += (text.empty() ? "" : ", ") + std::to_string(v);
  return text;
}

TEST_CASE(
    "adaround: layers come closer to the float model, and keep their codes when emitted again") {
  const std::string text =
      "<ir_version: 8, opset_import: [\"\" : 17]> g (float[1,8,6,6] x) => (float y) "
      "<float[8,8,3,3] w "
      "= {" +
      random_numbers(576, 1) + "}, float[8] b = {" + random_numbers(8, 2) +
      "}, float[288,16] v = {" + random_numbers(288 * 16, 3) + "}, float[16,16] u = {" +
      random_numbers(256, 4) +
      "}> { c = Conv <pads = [1, 1, 1, 1]> (x, w, b) r = Relu (c) f = Flatten (r) "
      "g = Gemm (f, v) y = Gemm <transB = 1> (g, u) }";
  QuantizeOptions options = testing::all_layers();
  options.per_channel = false;
  testing::Quantized q = testing::quantize(text, options);
  const auto samples = testing::random_samples(*testing::parse(text));
  const auto rounded = q.quantizer.round_weights(q.output, *samples, testing::cpu_run());
  REQUIRE_MESSAGE(rounded.ok(), (rounded.ok() ? "" : rounded.error().message));
  CHECK(rounded->layers.size() == 3);
  for (const auto& [name, layer] : rounded->layers) CHECK(layer.chosen_db >= layer.nearest_db);
  CHECK(rounded->layers.at("c").chosen_db > rounded->layers.at("c").nearest_db + 0.3);
  CHECK(rounded->kept == (rounded->after_db > rounded->before_db));
  RoundedLayers again = rounded->layers;
  const Graph& graph = q.output.model->graph();
  const Value& codes = graph.find("g")->producer()->input(1).producer()->input(0);
  const auto bytes = codes.constant()->bytes();
  if (rounded->kept) CHECK(std::ranges::equal(bytes, again.at("g").codes));
  // Other scales, other codes: those are not for them.
  for (float& s : again.at("g").scales) s *= 2;
  const std::vector<std::byte> before(bytes.begin(), bytes.end());
  std::ranges::fill(again.at("g").codes, std::byte{1});
  apply_roundings(*q.output.model, again);
  CHECK(std::ranges::equal(
      graph.find("g")->producer()->input(1).producer()->input(0).constant()->bytes(), before));
}

}  // namespace
}  // namespace onnxtool
