#include "calib/compare/isolate.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "calib/exec/modules.h"
#include "libopt/analysis/seam.h"

namespace onnxtool {
namespace {

std::unique_ptr<Model> model_of(const std::string& text) {
  auto model = parse_text(text);
  REQUIRE_MESSAGE(model.ok(), (model.ok() ? "" : model.error().message));
  REQUIRE(infer_graph((*model)->graph()).ok());
  return *std::move(model);
}

// Residual, with a subgraph that reads a value of the main graph; `w` spoils the second layer.
std::string text_of(const std::string& w) {
  return R"(<ir_version: 8, opset_import: ["" : 17]>
g (float[2,4] x, bool c) => (float[2,4] y)
<float[4] w = {)" +
         w + R"(}, float[4] v = {0.5, 1.5, 2.5, 3.5}, float[4] unused = {1, 1, 1, 1}>
{ a = Mul (x, v)
  b = Mul (a, w)
  d = Add (b, x)
  e = If (c) < then_branch = one () => (float[2,4] p) { p = Add (d, a) },
               else_branch = two () => (float[2,4] q) { q = Neg (b) }>
  y = Relu (e) })";
}

struct Sides {
  std::unique_ptr<Model> reference = model_of(text_of("1, 2, 3, 4"));
  std::unique_ptr<Model> test = model_of(text_of("1, 2, 3, 4.5"));
  std::vector<LayerPair> pairs;
  std::unique_ptr<SampleSource> source;
  InputPairing inputs;
  RunOptions run;

  Sides() {
    for (const AlignedValues& a : align_values(reference->graph(), test->graph()))
      pairs.push_back({a.reference, a.test});
    auto opened = open_random(
        3, 7, std::vector<InputSpec>{{"x", DataType::kFloat, {2, 4}}, {"c", DataType::kBool, {}}},
        {});
    REQUIRE(opened.ok());
    source = *std::move(opened);
    auto paired = pair_inputs(reference->graph(), test->graph());
    REQUIRE(paired.ok());
    inputs = *std::move(paired);
    run.kernel_sets = load_kernel_sets("cpu")->sets;
  }

  size_t layer(const std::string& name) const {
    for (size_t i = 0; i < pairs.size(); ++i)
      if (pairs[i].test->name() == name) return i;
    FAIL("no layer " << name);
    return 0;
  }
  IsolatedLayer isolate(const std::string& name) const {
    auto out = isolate_layer(*test, reference->graph(), pairs, layer(name), inputs, *source, run, run);
    REQUIRE_MESSAGE(out.ok(), (out.ok() ? "" : out.error().message));
    return *std::move(out);
  }
};

std::vector<std::string> names(const std::vector<NamedTensor>& tensors) {
  std::vector<std::string> out;
  for (const NamedTensor& t : tensors) out.push_back(t.name);
  return out;
}

TEST_CASE("isolate: the layer stands alone with what the reference feeds it") {
  const Sides sides;
  const IsolatedLayer layer = sides.isolate("b");
  const Graph& g = layer.model->graph();
  CHECK(g.num_nodes() == 1);
  CHECK(g.initializers().size() == 1);
  CHECK(names(layer.inputs) == std::vector<std::string>{"a"});
  CHECK(layer.expected.name == "b");
  // Only the last column is off, by an eighth.
  const auto a = layer.inputs[0].tensor.values<float>(), b = layer.expected.tensor.values<float>();
  double signal = 0, error = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const float w = static_cast<float>(i % 4 + 1);
    CHECK(b[i] == a[i] * w);
    signal += double(b[i]) * b[i];
    if (i % 4 == 3) error += double(a[i]) * 0.5 * a[i] * 0.5;
  }
  CHECK(layer.sqnr_db == doctest::Approx(10 * std::log10(signal / error)).epsilon(1e-5));
}

TEST_CASE("isolate: the worst of the samples is taken") {
  const Sides sides;
  const IsolatedLayer worst = sides.isolate("b");
  LayerOptions options;
  options.mode = LayerMode::kLocal;
  for (int64_t first = 1; first <= 3; ++first) {
    options.max_samples = first;
    const auto errors = compare_layers(sides.reference->graph(), sides.test->graph(), sides.pairs,
                                       &sides.inputs, *sides.source, sides.run, options);
    REQUIRE(errors.ok());
    CHECK(worst.sqnr_db <= (*errors)[sides.layer("b")].sqnr_db + 1e-6);
  }
}

TEST_CASE("isolate: what a subgraph reads is fed, too") {
  const Sides sides;
  const IsolatedLayer layer = sides.isolate("e");
  CHECK(layer.model->graph().num_nodes() == 1);
  auto read = names(layer.inputs);
  std::ranges::sort(read);
  CHECK(read == std::vector<std::string>{"a", "b", "c", "d"});
  CHECK(std::isinf(layer.sqnr_db));  // the layer itself is right
}

}  // namespace
}  // namespace onnxtool
