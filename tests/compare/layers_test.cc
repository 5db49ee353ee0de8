// Whether the layer that is to blame is named: one is corrupted, the place drawn at run time.
#include "calib/compare/layers.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <random>

#include "calib/exec/modules.h"
#include "libopt/analysis/seam.h"
#include "libopt/io/load.h"
#include "quant/quantize.h"
#include "tests/support/data_set.h"

namespace onnxtool {
namespace {

using By = AlignedValues::By;

std::vector<LayerPair> float_pairs(const Graph& reference, const Graph& test,
                                   size_t* structural = nullptr) {
  std::vector<LayerPair> pairs;
  for (const AlignedValues& a : align_values(reference, test)) {
    if (!is_float(a.reference->type().dtype) || a.reference->constant() || a.test->constant())
      continue;
    pairs.push_back({a.reference, a.test, code_params(*a.test)});
    if (structural) *structural += a.by == By::kStructure;
  }
  return pairs;
}

std::unique_ptr<SampleSource> random_samples(const Graph& graph) {
  std::vector<InputSpec> specs;
  for (const Value* v : graph.inputs()) {
    if (v->initializer()) continue;
    InputSpec s{v->name(), v->type().dtype, {}, true};
    for (const Dim& d : *v->type().shape) s.dims.push_back(d.value.value_or(1));
    specs.push_back(std::move(s));
  }
  auto source = open_random(2, 1, specs, {});
  REQUIRE(source.ok());
  return *std::move(source);
}

RunOptions on_cpu() {
  RunOptions run;
  run.kernel_sets = load_kernel_sets("cpu")->sets;
  run.threads = 2;
  return run;
}

// Another exporter's names.
void rename_all(Graph& graph) {
  for (Node& n : graph.nodes())
    for (Value* v : n.outputs())
      if (v && !v->is_graph_output())
        graph.rename(*v, "renamed_" + std::to_string(1000000 - v->id()));
}

std::unique_ptr<Model> inferred_model(const std::string& text) {
  auto m = parse_text(text);
  REQUIRE_MESSAGE(m.ok(), (m.ok() ? "" : m.error().message));
  REQUIRE(infer_graph((*m)->graph()).ok());
  return *std::move(m);
}

// Constant weights of matrix products: what a quantizer or converter may spoil.
struct Layer {
  const Node* node;
  Value* weight;
};
std::vector<Layer> layers_of(const Graph& graph) {
  std::vector<Layer> out;
  for (const Node& n : graph.nodes())
    for (const char* op : {"Conv", "Gemm", "MatMul", "ConvTranspose"})
      if (n.is(op) && n.num_inputs() > 1 && n.input(1).initializer() &&
          n.input(1).uses().size() == 1 && n.input(1).initializer()->dtype() == DataType::kFloat)
        out.push_back({&n, &n.input(1)});
  return out;
}

void corrupt(Value& weight, std::mt19937& random) {
  std::vector<float> w = weight.initializer()->values<float>();
  double power = 0;
  for (const float x : w) power += static_cast<double>(x) * x;
  std::normal_distribution<float> noise(
      0.0f, 0.3f * static_cast<float>(std::sqrt(power / static_cast<double>(w.size()))));
  for (float& x : w) x += noise(random);
  weight.graph().set_initializer(weight, Tensor::from(weight.initializer()->dims(), w));
}

bool is_worse(const LayerError& a, const LayerError& b) {
  return (std::isnan(a.sqnr_db) ? INFINITY : a.sqnr_db) <
         (std::isnan(b.sqnr_db) ? INFINITY : b.sqnr_db);
}

void name_the_planted(const char* model_name, bool renamed) {
  const auto directory = testing::shared_data(std::string("models/") + model_name);
  if (directory.empty()) return;
  std::string path;
  for (const auto& e : std::filesystem::directory_iterator(directory))
    if (e.path().extension() == ".onnx") path = e.path().string();
  const auto reference = load_model(path);
  REQUIRE(reference.ok());
  for (Value* v : (*reference)->graph().inputs())
    if (v->type().shape) {
      ValueType type = v->type();
      for (Dim& d : *type.shape)
        if (!d.value) d = Dim::of(1);
      v->set_type(std::move(type));
    }
  REQUIRE(infer_graph((*reference)->graph()).ok());
  const auto test = (*reference)->clone();
  if (renamed) rename_all(test->graph());
  const unsigned seed = std::random_device{}();
  std::mt19937 random(seed);
  const auto layers = layers_of(test->graph());
  REQUIRE(!layers.empty());
  const Layer& planted = layers[random() % layers.size()];
  CAPTURE(std::string(model_name));
  CAPTURE(renamed);
  CAPTURE(seed);
  corrupt(*planted.weight, random);

  size_t structural = 0;
  const auto pairs = float_pairs((*reference)->graph(), test->graph(), &structural);
  if (renamed) CHECK(structural > pairs.size() / 2);
  LayerOptions options;
  options.mode = LayerMode::kLocal;
  const auto errors = compare_layers((*reference)->graph(), test->graph(), pairs, nullptr,
                                     *random_samples((*reference)->graph()), on_cpu(), options);
  if (!errors.ok()) FAIL(errors.error().message);
  const auto worst = std::min_element(errors->begin(), errors->end(), is_worse);
  const auto& blamed = pairs[static_cast<size_t>(worst - errors->begin())];
  CAPTURE(blamed.test->name());
  CAPTURE(planted.node->output(0).name());
  CHECK(blamed.test->producer() == planted.node);
  CHECK(worst->sqnr_db < 60);
}

TEST_CASE("local errors name the one layer that was corrupted, wherever it is") {
  // Ten models under two kinds of names.
  for (const char* model : {"mnist_cntk", "mlperf_tiny_resnet8", "cifar10_cnn", "blazeface_front",
                            "fsanet_1x1", "ultraface_rfb320", "micro_kws_fp32", "mnist_rten_op18",
                            "yunet_s_320", "resnet_tiny_fp32_extdata"}) {
    name_the_planted(model, false);
    name_the_planted(model, true);
  }
}

// Shifts the codes of one weight by a third of their range.
void corrupt_codes(Value& weight) {
  const Tensor& t = *weight.initializer();
  std::vector<int8_t> codes = t.values<int8_t>();
  for (size_t i = 0; i < codes.size(); i += 2) codes[i] = static_cast<int8_t>(codes[i] ^ 0x50);
  weight.graph().set_initializer(weight, Tensor::from(t.dims(), codes));
}

// Whether `value` comes from `layer` with no other product with constant weights between: its
// activation and its codes are computed in the same step.
bool ends_layer(const Value& value, const Node& layer) {
  const Node* from = value.producer();
  if (!from || from == &layer) return from == &layer;
  if (from->is("Conv") || from->is("Gemm") || from->is("MatMul")) return false;
  return std::ranges::any_of(from->inputs(),
                             [&](const Value* v) { return v && ends_layer(*v, layer); });
}

// The QDQ form: the products run on integers, which read codes and not what stands for them.
void name_the_planted_in_qdq(const char* model_name) {
  const auto path = testing::shared_data(std::string("models/") + model_name + "/model.onnx");
  if (path.empty()) return;
  auto model = load_model(path.string());
  REQUIRE(model.ok());
  for (Value* v : (*model)->graph().inputs())
    if (v->type().shape) {
      ValueType type = v->type();
      for (Dim& d : *type.shape)
        if (!d.value) d = Dim::of(1);
      v->set_type(std::move(type));
    }
  REQUIRE(infer_graph((*model)->graph()).ok());
  const auto reference = (*model)->clone();
  REQUIRE(infer_graph(reference->graph()).ok());
  const auto samples = random_samples(reference->graph());
  QuantizeOptions how;
  how.include = *Selector::parse({"op:*"});
  how.equalize = false;
  auto quantizer = Quantizer::create(*std::move(model), how);
  REQUIRE(quantizer.ok());
  REQUIRE(quantizer->calibrate(*samples, on_cpu()).ok());
  auto out = quantizer->emit(samples.get(), on_cpu());
  REQUIRE(out.ok());
  Graph& test = out->model->graph();
  REQUIRE(infer_graph(test).ok());
  std::vector<Layer> layers;
  for (const Node& n : test.nodes()) {
    const Node* dq = n.num_inputs() > 1 && n.has_input(1) ? n.input(1).producer() : nullptr;
    if ((n.is("Conv") || n.is("Gemm") || n.is("MatMul")) && dq && dq->is("DequantizeLinear") &&
        dq->input(0).initializer() && dq->input(0).initializer()->dtype() == DataType::kInt8)
      layers.push_back({&n, &dq->input(0)});
  }
  const auto pairs = float_pairs(reference->graph(), test);
  // One whose result has no counterpart shows in the next layer.
  std::erase_if(layers, [&](const Layer& l) {
    return std::ranges::none_of(pairs,
                                [&](const LayerPair& p) { return ends_layer(*p.test, *l.node); });
  });
  REQUIRE(layers.size() > 2);
  LayerOptions options;
  options.mode = LayerMode::kLocal;
  const auto errors_now = [&] {
    auto errors =
        compare_layers(reference->graph(), test, pairs, nullptr, *samples, on_cpu(), options);
    if (!errors.ok()) FAIL(errors.error().message);
    return *std::move(errors);
  };
  // Layers on random samples have errors of their own: the planted one is what grew most.
  const auto before = errors_now();
  const unsigned seed = std::random_device{}();
  CAPTURE(std::string(model_name));
  CAPTURE(seed);
  const Layer planted = layers[seed % layers.size()];
  corrupt_codes(*planted.weight);
  const auto after = errors_now();
  REQUIRE(after.size() == before.size());
  size_t worst = 0;
  const auto lost = [&](size_t i) { return before[i].sqnr_db - after[i].sqnr_db; };
  for (size_t i = 1; i < after.size(); ++i)
    if (lost(i) > lost(worst)) worst = i;
  const auto& blamed = pairs[worst];
  CAPTURE(planted.node->output(0).name());
  CAPTURE(blamed.test->name());
  CAPTURE(lost(worst));
  CHECK(ends_layer(*blamed.test, *planted.node));
}

TEST_CASE("local errors name the corrupted layer where the products run on integers") {
  for (const char* model : {"micro_kws_fp32", "mlperf_tiny_resnet8", "cifar10_cnn"})
    name_the_planted_in_qdq(model);
}

TEST_CASE("what is fed to a layer is fed to each of several DequantizeLinear") {
  const auto parsed = [](const std::string& body) {
    auto m = parse_text(
        "<ir_version: 8, opset_import: [\"\" : 17]> g (float[1,2,4,4] x) => "
        "(float[1,2,4,4] y, float[1,2,4,4] z) " +
        body);
    REQUIRE_MESSAGE(m.ok(), m.error().message);
    REQUIRE(infer_graph((*m)->graph()).ok());
    return *std::move(m);
  };
  const auto reference = parsed(
      "<float[2,2,1,1] w = {1, 2, 3, 4}> { a = Conv (x, w)  y = Conv (a, w)  z = Conv (a, w) }");
  // The codes of `w` are those of {9, 2, 3, 4} where `a` is made.
  const auto test = parsed(R"(<int8[2,2,1,1] w = {10, 20, 30, 40},
    int8[2,2,1,1] bad = {90, 20, 30, 40},
    float s = {0.1}, float sx = {0.2}, int8 zero = {0}, float sa = {0.5}> {
    xq = QuantizeLinear (x, sx, zero)  xd = DequantizeLinear (xq, sx, zero)
    wd = DequantizeLinear (w, s, zero)  bd = DequantizeLinear (bad, s, zero)
    a = Conv (xd, bd)  aq = QuantizeLinear (a, sa, zero)
    a1 = DequantizeLinear (aq, sa, zero)  a2 = DequantizeLinear (aq, sa, zero)
    y = Conv (a1, wd)  z = Conv (a2, wd) })");
  const auto pairs = float_pairs(reference->graph(), test->graph());
  REQUIRE(pairs.size() == 3);
  LayerOptions options;
  options.mode = LayerMode::kLocal;
  const auto errors = compare_layers(reference->graph(), test->graph(), pairs, nullptr,
                                     *random_samples(reference->graph()), on_cpu(), options);
  REQUIRE(errors.ok());
  CHECK((*errors)[0].sqnr_db < 12);
  CHECK((*errors)[1].sqnr_db > 20);
  CHECK((*errors)[2].sqnr_db > 20);
}

TEST_CASE("numbers as names stand for a layer whose operator dynamic quantization replaced") {
  const auto parsed = [](const std::string& text) {
    auto m = parse_text(
        "<ir_version: 8, opset_import: [\"\" : 17]> g (float[1,1,4,4] x) => "
        "(float[1,1,4,4] y) " +
        text);
    REQUIRE_MESSAGE(m.ok(), m.error().message);
    Graph& graph = (*m)->graph();
    graph.rename(*graph.find("c"), "250");
    REQUIRE(infer_graph(graph).ok());
    return *std::move(m);
  };
  const auto reference =
      parsed("<float[1,1,1,1] w = {2}, float[1] b = {1}> { c = Conv (x, w, b)  y = Tanh (c) }");
  const auto dynamic = parsed(R"(<uint8[1,1,1,1] w = {200}, float[1] b = {1}, float s = {0.01},
      uint8 zero = {0}> {
    q, qs, qz = DynamicQuantizeLinear (x)  i = ConvInteger (q, w, qz, zero)
    f = Cast <to = 1> (i)  k = Mul (qs, s)  m = Mul (f, k)  c = Add (m, b)  y = Tanh (c) })");
  const auto pairs = align_values(reference->graph(), dynamic->graph());
  REQUIRE(pairs.size() == 2);
  CHECK(pairs[0].by == By::kName);
  CHECK(pairs[0].test->name() == "250");
  // Another numbering: the same number is an Add of something else.
  const auto other = parsed("<float[1] b = {1}> { c = Add (x, b)  y = Tanh (c) }");
  for (const AlignedValues& a : align_values(reference->graph(), other->graph()))
    CHECK(a.test->name() != "250");
}

TEST_CASE("what bodies within bodies capture feeds a layer, too") {
  // `a` is read two levels down only; the spoiled `a` must not be blamed on `y`.
  const auto text = [](const std::string& w) {
    return R"(<ir_version: 8, opset_import: ["" : 17]> g (float[4] x, bool c) => (float[4] y)
      <float[4] w = {)" +
           w + R"(}> {
      a = Mul (x, w)
      b = Neg (x)
      y = If (c) <
        then_branch = o () => (float[4] p) {
          p = If (c) < then_branch = i () => (float[4] q) { q = Add (a, b) },
                       else_branch = j () => (float[4] r) { r = Sub (a, b) } > },
        else_branch = k () => (float[4] s) { s = Identity (b) } >
    })";
  };
  const auto reference = inferred_model(text("1, 2, 3, 4")),
             test = inferred_model(text("1, 2, 3, 5"));
  const auto pairs = float_pairs(reference->graph(), test->graph());
  const std::vector<InputSpec> specs = {{"x", DataType::kFloat, {4}}, {"c", DataType::kBool, {}}};
  const auto source = open_random(2, 1, specs, {});
  REQUIRE(source.ok());
  LayerOptions options;
  options.mode = LayerMode::kLocal;
  options.budget_bytes = 16;  // one value
  const auto errors = compare_layers(reference->graph(), test->graph(), pairs, nullptr, **source,
                                     on_cpu(), options);
  REQUIRE_MESSAGE(errors.ok(), (errors.ok() ? "" : errors.error().message));
  for (const LayerError& e : *errors) {
    CAPTURE(e.name);
    CHECK(std::isfinite(e.sqnr_db) == (e.name == "a"));
  }
}

TEST_CASE("a small budget makes the models take turns more often, with the same figures") {
  const auto reference =
      parse_text(R"(<ir_version: 8, opset_import: ["" : 17]> g (float[1,64] x) => (float[1,64] y)
    { a = Relu (x)  b = Tanh (a)  c = Add (b, x)  d = Sigmoid (c)  y = Mul (d, a) })");
  REQUIRE(reference.ok());
  REQUIRE(infer_graph((*reference)->graph()).ok());
  const auto test =
      parse_text(R"(<ir_version: 8, opset_import: ["" : 17]> g (float[1,64] x) => (float[1,64] y)
    <float k = {1.01}> { a = Relu (x)  t = Tanh (a)  b = Mul (t, k)  c = Add (b, x)  d = Sigmoid (c)  y = Mul (d, a) })");
  REQUIRE(infer_graph((*test)->graph()).ok());
  const auto pairs = float_pairs((*reference)->graph(), (*test)->graph());
  const auto source = random_samples((*reference)->graph());
  for (const LayerMode mode : {LayerMode::kCumulative, LayerMode::kLocal}) {
    LayerOptions wide, narrow;
    wide.mode = narrow.mode = mode;
    narrow.budget_bytes = 300;  // one value of 64 floats
    const auto a = compare_layers((*reference)->graph(), (*test)->graph(), pairs, nullptr, *source,
                                  on_cpu(), wide);
    const auto b = compare_layers((*reference)->graph(), (*test)->graph(), pairs, nullptr, *source,
                                  on_cpu(), narrow);
    REQUIRE(a.ok());
    REQUIRE(b.ok());
    for (size_t i = 0; i < a->size(); ++i) {
      CAPTURE((*a)[i].name);
      CHECK((*a)[i].sqnr_db == (*b)[i].sqnr_db);
      const bool differs =
          (*a)[i].name == "b" || (mode == LayerMode::kCumulative && (*a)[i].name != "a");
      CHECK(std::isfinite((*a)[i].sqnr_db) == differs);
    }
    // 1 % of gain: 40 dB.
    CHECK((*a)[1].sqnr_db == doctest::Approx(40).epsilon(0.001));
  }
}

TEST_CASE("layers are compared and fed in the order that they lie in, whatever each model's is") {
  // Convolutions of oneDNN give channels last, those of `cpu` plain order.
  const auto text = [](const char* w) {
    return std::string(R"(<ir_version: 8, opset_import: ["" : 17]>
      g (float[2,3,9,9] x) => (float[2,5] y)
      <float[6,3,3,3] u = {)") +
           w + R"(}, float[5,6,1,1] v = {)" + std::string("0.3, -0.5, 0.25, 0.5, 0.1, ") +
           "0.7, -0.2, 0.4, 0.9, -0.6, 0.2, 0.1, -0.3, 0.8, -0.1, 0.6, 0.2, -0.4, 0.5, 0.3, " +
           R"(0.1, -0.7, 0.4, 0.2, 0.6, -0.5, 0.3, 0.1, 0.8, -0.2}> {
      a = Conv (x, u)  b = Relu (a)  c = Conv (b, v)  d = Sigmoid (c)  e = Mul (c, d)
      f = GlobalAveragePool (e)  y = Flatten (f) })";
  };
  std::string weights = "0.1";
  for (int i = 1; i < 6 * 3 * 9; ++i) weights += ", " + std::to_string((i * 37 % 19 - 9) * 0.05);
  const auto reference = inferred_model(text(weights.c_str()));
  const auto test = inferred_model(text(("0.4" + weights.substr(3)).c_str()));
  const auto pairs = float_pairs(reference->graph(), test->graph());
  const auto samples = random_samples(reference->graph());
  const auto plain = load_kernel_sets("cpu")->sets, best = load_kernel_sets("auto")->sets;
  const auto errors = [&](const std::vector<const KernelSet*>& of_reference,
                          const std::vector<const KernelSet*>& of_test, LayerMode mode) {
    RunOptions run = on_cpu();
    run.kernel_sets = of_reference;
    LayerOptions options;
    options.mode = mode;
    options.test_kernel_sets = of_test;
    auto found =
        compare_layers(reference->graph(), test->graph(), pairs, nullptr, *samples, run, options);
    REQUIRE_MESSAGE(found.ok(), (found.ok() ? "" : found.error().message));
    return *std::move(found);
  };
  const auto expected = errors(plain, plain, LayerMode::kLocal);
  CHECK(expected[0].sqnr_db < 40);
  CHECK(errors(plain, plain, LayerMode::kCumulative).back().sqnr_db < 60);
  for (const auto& [r, t] : {std::pair(best, best), std::pair(plain, best), std::pair(best, plain)})
    for (const LayerMode mode : {LayerMode::kLocal, LayerMode::kCumulative}) {
      const auto found = errors(r, t, mode);
      const auto of_cpu = errors(plain, plain, mode);
      for (size_t i = 0; i < found.size(); ++i) {
        CAPTURE(found[i].name);
        CHECK(found[i].compared == of_cpu[i].compared);
        CHECK(found[i].skipped_samples == 0);
        // Rounding alone is some 140 dB off.
        if (of_cpu[i].sqnr_db < 100)
          CHECK(found[i].sqnr_db == doctest::Approx(of_cpu[i].sqnr_db).epsilon(1e-4));
        else
          CHECK(found[i].sqnr_db > 100);
      }
    }
}

TEST_CASE("codes are compared as the numbers they stand for, and fed back as codes") {
  const auto reference =
      parse_text(R"(<ir_version: 8, opset_import: ["" : 17]> g (float[1,4] x) => (float[1,4] y)
    { a = Relu (x)  y = Flatten (a) })");
  const auto test =
      parse_text(R"(<ir_version: 8, opset_import: ["" : 17]> g (float[1,4] x) => (float[1,4] y)
    <float s = {0.05}, uint8 z = {0}> { a_quantized = QuantizeLinear (x, s, z)  m = Flatten (a_quantized)  y = DequantizeLinear (m, s, z) })");
  REQUIRE(reference.ok());
  REQUIRE(test.ok());
  REQUIRE(infer_graph((*reference)->graph()).ok());
  REQUIRE(infer_graph((*test)->graph()).ok());
  const auto pairs = float_pairs((*reference)->graph(), (*test)->graph());
  REQUIRE(pairs.size() == 2);
  CHECK(pairs[0].codes.scale == doctest::Approx(0.05));
  LayerOptions options;
  options.mode = LayerMode::kLocal;
  const auto errors = compare_layers((*reference)->graph(), (*test)->graph(), pairs, nullptr,
                                     *random_samples((*reference)->graph()), on_cpu(), options);
  REQUIRE(errors.ok());
  CHECK((*errors)[0].max_abs <= 0.0251);
  CHECK((*errors)[0].max_abs > 0);
}

TEST_CASE("a fused layer stands for the last of what was fused into it") {
  const auto parsed = [](const std::string& body) {
    auto m = parse_text(
        "<ir_version: 8, opset_import: [\"\" : 17]> g (float[1,1,4,4] x) => (float[1,1,4,4] y) " +
        body);
    REQUIRE(m.ok());
    REQUIRE(infer_graph((*m)->graph()).ok());
    return *std::move(m);
  };
  const auto reference = parsed(
      "<float[1,1,1,1] w = {2}, float[1] p = {1}> { c = Conv (x, w)  b = BatchNormalization (c, p, "
      "p, p, p)  r = Relu (b)  y = Tanh (r) }");
  const auto folded = parsed(
      "<float[1,1,1,1] w = {2}, float[1] p = {1}> { c = Conv (x, w, p)  r = Relu (c)  y = Tanh (r) "
      "}");
  const auto pairs = align_values(reference->graph(), folded->graph());
  REQUIRE(pairs.size() == 3);
  CHECK(pairs[0].reference->name() == "b");
  CHECK(pairs[0].test->name() == "c");
  // Codes clip as Relu does: what is read behind them is its result.
  const auto clipped = parsed(R"(<float[1,1,1,1] w = {2}, float s = {0.1}, uint8 z = {0}> {
    c = Conv (x, w)  q = QuantizeLinear (c, s, z)  d = DequantizeLinear (q, s, z)  y = Tanh (d) })");
  const auto relu = align_values(reference->graph(), clipped->graph());
  REQUIRE(relu.size() == 2);
  CHECK(relu[0].reference->name() == "r");
  CHECK(relu[0].test->name() == "d");
}

TEST_CASE("a layer with an activation that stood behind a pool has no value of the reference") {
  const auto values_of = [](const std::string& body) {
    auto m = parse_text(
        "<ir_version: 8, opset_import: [\"\" : 17]> g (float[1,1,4,4] x) => (float[1,1,2,2] y) "
        "<float[1,1,1,1] w = {2}, float s = {0.1}, uint8 z = {0}, uint8 middle = {128}> { "
        "c = Conv (x, w) " +
        body + " }");
    REQUIRE(m.ok());
    REQUIRE(infer_graph((*m)->graph()).ok());
    return *std::move(m);
  };
  const auto reference = values_of(
      "m = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (c) r = Relu (m) y = Tanh (r)");
  const auto quantized = [&](const std::string& zero) {
    return values_of("q = QuantizeLinear (c, s, " + zero + ") d = DequantizeLinear (q, s, " + zero +
                     ") r = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (d) y = Tanh (r)");
  };
  const auto names = [&](const Model& test) {
    std::vector<std::string> out;
    for (const AlignedValues& v : align_values(reference->graph(), test.graph()))
      out.push_back(v.reference->name());
    return out;
  };
  CHECK(names(*quantized("z")) == std::vector<std::string>{"r", "y"});
  // Codes that reach below 0 are the layer's own.
  CHECK(names(*quantized("middle")).front() == "c");
}

}  // namespace
}  // namespace onnxtool
