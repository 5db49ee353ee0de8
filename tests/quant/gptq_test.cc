// Codes chosen by what products read: moments, the choice itself, and models made with it.

#include "quant/gptq.h"

#include <tbb/global_control.h>

#include <random>

#include "quant/block_access.h"
#include "quant/weight_moments.h"
#include "quant/weight_only.h"
#include "tests/quant/product_models.h"

namespace onnxtool {
namespace {

using testing::cpu_run;
using testing::parse;
using testing::product_model;
using testing::random_samples;

std::vector<float> normal(int64_t count, uint64_t seed) {
  std::mt19937_64 engine(seed);
  std::normal_distribution<float> draw;
  std::vector<float> out(static_cast<size_t>(count));
  for (float& v : out) v = draw(engine);
  return out;
}

// Of inputs that hang together, as real ones do: every element has a part in common.
InputMoments moments_of(int64_t depth, int64_t rows) {
  const auto noise = normal(rows * depth, 7);
  InputMoments m{depth, rows, std::vector<float>(static_cast<size_t>(depth * depth))};
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < depth; ++i)
      for (int64_t j = 0; j < depth; ++j) {
        const auto x = [&](int64_t k) {
          return noise[static_cast<size_t>(r * depth + k)] * (1 + 0.1f * static_cast<float>(k)) +
                 2 * noise[static_cast<size_t>(r * depth)];
        };
        m.sums[static_cast<size_t>(i * depth + j)] += x(i) * x(j);
      }
  return m;
}

// The inverse, by elimination.
std::vector<double> inverse(std::vector<double> a, size_t n) {
  std::vector<double> b(n * n);
  for (size_t i = 0; i < n; ++i) b[i * n + i] = 1;
  for (size_t p = 0; p < n; ++p) {
    const double pivot = a[p * n + p];
    for (size_t j = 0; j < n; ++j) a[p * n + j] /= pivot, b[p * n + j] /= pivot;
    for (size_t i = 0; i < n; ++i) {
      if (i == p) continue;
      const double f = a[i * n + p];
      for (size_t j = 0; j < n; ++j)
        a[i * n + j] -= f * a[p * n + j], b[i * n + j] -= f * b[p * n + j];
    }
  }
  return b;
}

// As the paper has it: after each input, the weights that are left take over its error through the
// inverse, from which the input is then eliminated.
std::vector<int> by_the_paper(std::vector<double> w, const std::vector<double>& m,
                              const std::vector<int64_t>& order, const BlockAccess& grid,
                              int64_t row) {
  const size_t n = w.size();
  std::vector<double> h = inverse(m, n);
  std::vector<int> codes(n);
  for (const int64_t k : order) {
    const auto i = static_cast<size_t>(k);
    const double scale = grid.scale(row, k);
    const int zero = grid.zero_point(row, k);
    codes[i] = std::clamp(static_cast<int>(std::nearbyint(w[i] / scale)) + zero, 0, 15);
    const double error = (w[i] - (codes[i] - zero) * scale) / h[i * n + i];
    for (size_t j = 0; j < n; ++j) w[j] -= error * h[j * n + i];
    const std::vector<double> column = [&] {
      std::vector<double> c(n);
      for (size_t j = 0; j < n; ++j) c[j] = h[j * n + i];
      return c;
    }();
    const double pivot = h[i * n + i];
    for (size_t a = 0; a < n; ++a)
      for (size_t b = 0; b < n; ++b) h[a * n + b] -= column[a] * column[b] / pivot;
  }
  return codes;
}

TEST_CASE("gptq: codes are the paper's, wherever they do better than the nearest ones") {
  const int64_t rows = 70, depth = 48;
  const auto floats = normal(rows * depth, 2);
  const WeightMatrix w{Tensor::from({rows, depth}, floats), rows, depth, false};
  const InputMoments m = moments_of(depth, 200);
  const auto factor = factor_moments(m);
  REQUIRE(factor);
  double trace = 0;
  for (int64_t k = 0; k < depth; ++k) trace += m.at(k);
  std::vector<double> damped(m.sums.begin(), m.sums.end());
  for (int64_t k = 0; k < depth; ++k)
    damped[static_cast<size_t>(k * depth + k)] += 0.01 * trace / static_cast<double>(depth);
  const std::vector<int64_t> order(factor->input.rbegin(), factor->input.rend());
  for (const bool is_symmetric : {true, false}) {
    const BlockFormat format{4, is_symmetric, true};
    auto q = quantize_in_blocks(w, 16, format, BlockLayout::kRows);
    REQUIRE(q.ok());
    WeightBlocks before = *q;
    const OutputNoise noise = choose_codes(w, *factor, 16, format, BlockLayout::kRows, *q);
    const BlockAccess chosen(w, 16, format, BlockLayout::kRows, *q),
        nearest(w, 16, format, BlockLayout::kRows, before);
    const auto noise_of = [&](const BlockAccess& codes, int64_t row) {
      std::vector<double> e;
      for (int64_t k = 0; k < depth; ++k)
        e.push_back(floats[static_cast<size_t>(row * depth + k)] -
                    static_cast<double>(codes.scale(row, k)) *
                        (codes.code(row, k) - codes.zero_point(row, k)));
      double sum = 0;
      for (size_t i = 0; i < e.size(); ++i)
        for (size_t j = 0; j < e.size(); ++j) sum += e[i] * damped[i * e.size() + j] * e[j];
      return sum;
    };
    double all = 0, all_nearest = 0;
    int differing = 0;
    for (int64_t row = 0; row < rows; ++row) {
      const std::vector<double> line(floats.begin() + row * depth,
                                     floats.begin() + (row + 1) * depth);
      const auto expected = by_the_paper(line, damped, order, chosen, row);
      all += noise_of(chosen, row);
      all_nearest += noise_of(nearest, row);
      bool paper = true, kept = true;
      for (int64_t k = 0; k < depth; ++k) {
        paper = paper && chosen.code(row, k) == expected[static_cast<size_t>(k)];
        kept = kept && chosen.code(row, k) == nearest.code(row, k);
      }
      CHECK(noise_of(chosen, row) <= noise_of(nearest, row) * 1.0001);
      differing += !paper && !kept;
    }
    // A target in the middle of two codes may fall on either side in floats.
    CHECK(differing <= 2);
    CHECK(noise.chosen == doctest::Approx(all).epsilon(1e-3));
    CHECK(noise.nearest == doctest::Approx(all_nearest).epsilon(1e-3));
    CHECK(noise.chosen < 0.9 * noise.nearest);
  }
}

TEST_CASE("gptq: layouts and threads change no code") {
  const int64_t rows = 131, depth = 160;
  const auto along = normal(rows * depth, 3);
  std::vector<float> across(along.size());
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t k = 0; k < depth; ++k)
      across[static_cast<size_t>(k * rows + r)] = along[static_cast<size_t>(r * depth + k)];
  const WeightMatrix a{Tensor::from({rows, depth}, along), rows, depth, false},
      b{Tensor::from({depth, rows}, across), rows, depth, true};
  const auto factor = factor_moments(moments_of(depth, 64));
  REQUIRE(factor);
  const BlockFormat format{4, false};
  std::optional<WeightBlocks> first;
  for (const int threads : {1, 4}) {
    const tbb::global_control limit(tbb::global_control::max_allowed_parallelism,
                                    static_cast<size_t>(threads));
    auto q = quantize_in_blocks(a, 32, format, BlockLayout::kRows),
         stored = quantize_in_blocks(b, 32, format, BlockLayout::kStored);
    REQUIRE(q.ok());
    REQUIRE(stored.ok());
    choose_codes(a, *factor, 32, format, BlockLayout::kRows, *q);
    choose_codes(b, *factor, 32, format, BlockLayout::kStored, *stored);
    const BlockAccess left(a, 32, format, BlockLayout::kRows, *q),
        right(b, 32, format, BlockLayout::kStored, *stored);
    int differing = 0;
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t k = 0; k < depth; ++k)
        differing +=
            left.code(r, k) != right.code(r, k) || left.zero_point(r, k) != right.zero_point(r, k);
    CHECK(differing == 0);
    if (first) CHECK(first->codes == q->codes);
    first = *q;
  }
  CHECK(!factor_moments({4, 0, std::vector<float>(16)}));
}

TEST_CASE("moments: sums over samples and rows, columns where a Gemm transposes") {
  auto model =
      parse(product_model("t = Relu (x) p = MatMul (t, w) q = Gemm <transA = 1> (x, d) "
                          "y = Add (p, q)",
                          13, "float[64,64] x, float[64,32] d"));
  REQUIRE(infer_graph(model->graph()).ok());
  const auto samples = random_samples(*model, 3);
  const Graph& g = model->graph();
  const LayerInput inputs[] = {{g.find("t"), g.find("p")->producer(), 64},
                               {g.find("x"), g.find("q")->producer(), 64}};
  RunOptions run = cpu_run();
  const auto m = collect_moments(g, inputs, *samples, run);
  REQUIRE(m.ok());
  run.threads = 3;
  const auto again = collect_moments(g, inputs, *samples, run);
  REQUIRE(again.ok());
  for (size_t i = 0; i < 2; ++i) {
    CHECK((*m)[i].rows == 3 * 64);
    CHECK((*m)[i].sums == (*again)[i].sums);
    std::vector<double> expected(64 * 64);
    for (int64_t s = 0; s < 3; ++s) {
      const auto x = samples->read(s)->inputs[0].values<float>();
      for (size_t r = 0; r < 64; ++r)
        for (size_t a = 0; a < 64; ++a)
          for (size_t b = 0; b < 64; ++b)
            expected[a * 64 + b] +=
                i == 0 ? std::max(0.0f, x[r * 64 + a]) * std::max(0.0f, x[r * 64 + b])
                       : x[a * 64 + r] * x[b * 64 + r];
    }
    for (size_t e = 0; e < expected.size(); ++e)
      REQUIRE((*m)[i].sums[e] == doctest::Approx(expected[e]).epsilon(1e-4).scale(1));
  }
}

double made_with(const std::string& body, WeightOnlyOptions options, const SampleSource& samples,
                 size_t chosen) {
  options.gptq = chosen > 0;
  if (options.gptq) options.calibration = {&samples, cpu_run()};
  const auto made =
      testing::make_with(product_model(body), options, plan_weight_only, quantize_weights_only);
  size_t measured = 0;
  for (const QuantizedWeight& w : made.model.weights) {
    measured += !std::isnan(w.output_db);
    if (!std::isnan(w.output_db)) CHECK(w.output_db >= w.nearest_output_db);
  }
  CHECK(measured == chosen);
  return made.sqnr_db;
}

// The models are judged on two random samples; those of calibration begin with the same.
TEST_CASE("moments: passes over the samples hold 768 MiB, or one weight's") {
  // 10000 x 10000 floats are 381 MiB, 14500 x 14500 are 802.
  const auto model = parse(
      "<ir_version: 8, opset_import: [\"\" : 17]> g (float[1,10000] a, float[1,10000] b, "
      "float[1,10000] c, float[1,14500] d) => (float p, float q, float r, float s, float t) "
      "<float[1,1] u = {1.0}, float[1,1] v = {1.0}, float[1,1] w = {1.0}, "
      "float[1,1] x = {1.0}, float[1,1] y = {1.0}> { p = MatMul (a, u) q = MatMul (b, v) r = "
      "MatMul (c, w) s = MatMul (d, x) "
      "t = MatMul (a, y) }");
  Graph& g = model->graph();
  for (const auto& [name, depth] : std::map<std::string, int64_t>{
           {"u", 10000}, {"v", 10000}, {"w", 10000}, {"x", 14500}, {"y", 10000}})
    g.set_initializer(
        *g.find(name),
        Tensor::from<float>({depth, 1}, std::vector<float>(static_cast<size_t>(depth), 1)));
  REQUIRE(infer_graph(g).ok());
  const auto passes = moment_passes(find_weight_sites(*model, {}), g);
  std::vector<size_t> inputs;
  for (const MomentPass& p : passes) inputs.push_back(p.inputs.size());
  CHECK(inputs == std::vector<size_t>{2, 1, 1, 1});
}

TEST_CASE("gptq: models come closer to the float one in every form") {
  for (const std::string body :
       {"y = MatMul (x, w)", "y = Gemm (x, w, b)", "y = Gemm <transB = 1, alpha = 2.0> (x, v)",
        "t = Transpose (x) y = Gemm <transA = 1> (t, w, b)",
        "vt = Transpose <perm = [1, 0]> (v) y = MatMul (x, vt)"}) {
    CAPTURE(body);
    const auto samples = random_samples(*parse(product_model(body)), 4);
    for (const bool operators : {true, false})
      for (const int bits : {4, 8}) {
        WeightOnlyOptions options;
        options.operators = operators;
        options.bits = bits;
        options.accuracy_level = 0;  // rounding of x would hide what 8-bit weights lose
        CHECK(made_with(body, options, *samples, 1) > made_with(body, options, *samples, 0) + 0.5);
      }
  }
}

TEST_CASE("gptq: a weight of two products sees the inputs of both, bodies keep nearest codes") {
  const std::string both = "r = Relu (x) p = MatMul (x, w) q = MatMul (r, w) y = Add (p, q)";
  const auto samples = random_samples(*parse(product_model(both)), 4);
  CHECK(made_with(both, {}, *samples, 1) > made_with(both, {}, *samples, 0));
  const std::string body =
      "f = ReduceSum <keepdims = 0> (x) z = Sub (f, f) k = Cast <to = 9> (z) y = If (k) "
      "<then_branch = t () => (float[3,32] p) { p = MatMul (x, w) }, "
      "else_branch = e () => (float[3,32] q) { q = MatMul (x, w) }>";
  const auto inside = random_samples(*parse(product_model(body)), 4);
  WeightOnlyOptions options;
  options.gptq = true;
  options.calibration = {inside.get(), cpu_run()};
  const auto made =
      testing::make_with(product_model(body), options, plan_weight_only, quantize_weights_only);
  CHECK(made.ops.at("MatMulNBits") == 2);
  CHECK(std::isnan(made.model.weights.at(0).output_db));
}

}  // namespace
}  // namespace onnxtool
