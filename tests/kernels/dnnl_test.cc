// The oneDNN kernel set against the cpu kernels, and against itself on other numbers of threads.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <limits>
#include <random>
#include <thread>
#include <variant>

#include "calib/exec/folder.h"
#include "calib/exec/modules.h"
#include "calib/exec/plan.h"
#include "calib/kernels/cpu/cpu_kernels.h"
#include "libopt/analysis/seam.h"
#include "libopt/rewrite/driver.h"
#include "passes/pass.h"
#include "tests/support/data_set.h"

namespace onnxtool::testing {
namespace {

using Dims = std::vector<int64_t>;
// An attribute as tests write it; Attribute itself cannot be copied out of a list.
using Given =
    std::pair<const char*, std::variant<int64_t, float, Dims, std::string, std::vector<float>>>;

// nullptr, with a line that says so, when this build has no such module.
const KernelSet* dnnl_kernel_set() {
  static const KernelSet* const set = []() -> const KernelSet* {
    const auto sets = load_kernel_sets("dnnl,cpu");
    return sets.ok() ? sets->sets.front() : nullptr;
  }();
  if (!set) std::cout << "SKIP: no oneDNN module beside the tests\n";
  return set;
}

// On narrower machines oneDNN has no generated code for some shapes, and the cpu kernels serve
// them.
bool serves_all_shapes() { return dnnl_kernel_set()->isa == "avx512_core"; }

// A graph under construction; constants and inputs are random.
class Net {
 public:
  explicit Net(uint32_t seed, int64_t opset = 17) : random_(seed) {
    model_.ir_version = 8;
    model_.set_opset("", opset);
    model_.set_opset("com.microsoft", 1);
  }
  Value& input(Dims dims) {
    Value& v = graph().add_value("", "x");
    v.set_type(ValueType::tensor(DataType::kFloat, dims));
    graph().add_input(v);
    inputs.push_back(random(std::move(dims)));
    return v;
  }
  Value& constant(Dims dims) { return graph().add_initializer(random(std::move(dims)), ""); }
  Value& scalar(float value) { return graph().add_initializer(Tensor::scalar(value), ""); }
  Value& node(std::string op, std::vector<Value*> from, const std::vector<Given>& given = {},
              std::string domain = "") {
    std::vector<Attribute> attributes;
    for (const auto& [name, value] : given)
      std::visit([&](const auto& v) { attributes.push_back(Attribute::of(name, v)); }, value);
    Value& out = graph().add_value("", "y");
    graph().add_node(std::move(op), std::move(domain), "", std::move(from), {&out},
                     std::move(attributes));
    return out;
  }
  void output(Value& v) { graph().add_output(v); }
  Graph& graph() { return model_.graph(); }
  Model& model() { return model_; }

  std::vector<Tensor> inputs;

 private:
  Tensor random(Dims dims) {
    int64_t count = 1;
    for (int64_t d : dims) count *= d;
    std::vector<float> values(static_cast<size_t>(count));
    std::normal_distribution<float> normal;
    for (float& v : values) v = normal(random_);
    return Tensor::from<float>(std::move(dims), values);
  }
  Model model_;
  std::mt19937 random_;
};

PlanOptions options_of(std::vector<const KernelSet*> sets, int threads) {
  PlanOptions options;
  options.kernel_sets = std::move(sets);
  options.threads = threads;
  return options;
}

struct Ran {
  std::vector<Tensor> outputs;
  std::string kernels;
};

Ran run(Net& net, std::vector<const KernelSet*> sets, int threads) {
  REQUIRE(infer_graph(net.graph()).ok());
  const auto plan = Plan::compile(net.graph(), options_of(std::move(sets), threads));
  REQUIRE_MESSAGE(plan.ok(), (plan.ok() ? "" : plan.error().message));
  RunContext context(*plan);
  Ran ran;
  // Twice: the second run reuses what the first one compiled and laid out.
  for (int i = 0; i < 2; ++i) {
    const Status status = context.run(net.inputs, &ran.outputs);
    REQUIRE_MESSAGE(status.ok(), (status.ok() ? "" : status.error().message));
  }
  ran.kernels = (*plan)->describe_kernels();
  return ran;
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.dims() == b.dims() && std::ranges::equal(a.bytes(), b.bytes());
}

// Largest |a - b| / (|b| + scale).
double difference(const Tensor& a, const Tensor& b, double scale) {
  REQUIRE(a.dims() == b.dims());
  const auto x = a.values<float>(), y = b.values<float>();
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    if (std::isnan(x[i]) && std::isnan(y[i])) continue;
    if (x[i] == y[i]) continue;
    const double d = std::abs(static_cast<double>(x[i]) - static_cast<double>(y[i])) /
                     (std::abs(static_cast<double>(y[i])) + scale);
    worst = std::max(worst, std::isnan(d) ? 1e30 : d);
  }
  return worst;
}

// A sum of `terms` products of standard normal factors, and its partial sums, are of size
// sqrt(terms); each addition rounds by 2^-24 of that, so two orders of adding differ by some
// sqrt(terms) such roundings. The largest of thousands of elements has been seen at 2 of these
// units.
void check_against_cpu(Net& net, int64_t terms) {
  const KernelSet* dnnl = dnnl_kernel_set();
  const double size = std::sqrt(static_cast<double>(terms));
  const Ran expected = run(net, {&cpu_kernel_set()}, 1);
  const Ran one = run(net, {dnnl, &cpu_kernel_set()}, 1);
  if (serves_all_shapes()) CHECK(one.kernels.find("dnnl") != std::string::npos);
  for (size_t i = 0; i < one.outputs.size(); ++i)
    CHECK(difference(one.outputs[i], expected.outputs[i], size) < 5 * 0x1p-24 * size);
  for (int threads : {2, 3, 7}) {
    const Ran many = run(net, {dnnl, &cpu_kernel_set()}, threads);
    for (size_t i = 0; i < one.outputs.size(); ++i)
      CHECK_MESSAGE(same_bits(one.outputs[i], many.outputs[i]), threads << " threads");
  }
}

struct ConvCase {
  Dims x, w;
  int64_t group = 1;
  Dims strides = {}, dilations = {}, pads = {};
  bool bias = true;
};

int64_t terms_of(const Dims& w) {
  int64_t n = 1;
  for (size_t i = 1; i < w.size(); ++i) n *= w[i];
  return n;
}

Value& add_conv(Net& net, Value& x, const ConvCase& c) {
  std::vector<Given> attributes{{"group", c.group}};
  if (!c.strides.empty()) attributes.push_back({"strides", c.strides});
  if (!c.dilations.empty()) attributes.push_back({"dilations", c.dilations});
  if (!c.pads.empty()) attributes.push_back({"pads", c.pads});
  std::vector<Value*> from{&x, &net.constant(c.w)};
  if (c.bias) from.push_back(&net.constant({c.w[0]}));
  return net.node("Conv", std::move(from), attributes);
}

}  // namespace

TEST_CASE("dnnl: convolutions agree with the cpu kernels, whatever the number of threads") {
  if (!dnnl_kernel_set()) return;
  const std::vector<ConvCase> cases = {
      {.x = {1, 3, 64, 64}, .w = {32, 3, 7, 7}, .strides = {2, 2}, .pads = {3, 3, 3, 3}},
      {.x = {1, 64, 28, 28}, .w = {64, 64, 1, 1}},
      {.x = {3, 48, 13, 13}, .w = {40, 48, 1, 1}, .bias = false},
      {.x = {1, 64, 28, 28}, .w = {64, 64, 3, 3}, .pads = {1, 1, 1, 1}},
      {.x = {5, 17, 14, 11}, .w = {33, 17, 3, 3}, .pads = {1, 1, 1, 1}},
      {.x = {1, 64, 28, 28}, .w = {128, 64, 1, 1}, .strides = {2, 2}},
      {.x = {1, 32, 30, 20}, .w = {32, 32, 3, 3}, .strides = {2, 1}, .pads = {0, 1, 2, 0}},
      {.x = {1, 32, 20, 20}, .w = {32, 32, 3, 3}, .dilations = {2, 3}, .pads = {2, 3, 2, 3}},
      {.x = {2, 96, 28, 28}, .w = {96, 1, 3, 3}, .group = 96, .pads = {1, 1, 1, 1}},
      {.x = {1, 20, 40, 40},
       .w = {20, 1, 5, 5},
       .group = 20,
       .strides = {2, 2},
       .pads = {2, 2, 2, 2}},
      {.x = {1, 64, 28, 28}, .w = {64, 16, 3, 3}, .group = 4, .pads = {1, 1, 1, 1}},
      {.x = {1, 240, 14, 14}, .w = {240, 80, 1, 1}, .group = 3},
      {.x = {2, 64, 100}, .w = {48, 64, 3}, .strides = {2}, .pads = {1, 1}},
      {.x = {1, 16, 8, 12, 10}, .w = {24, 16, 3, 3, 3}, .pads = {1, 1, 1, 1, 1, 1}},
      {.x = {1, 256, 7, 7}, .w = {512, 256, 3, 3}, .pads = {1, 1, 1, 1}},
      {.x = {1, 8, 3, 3}, .w = {8, 8, 3, 3}, .pads = {4, 4, 4, 4}},
      {.x = {64, 1, 28, 28}, .w = {8, 1, 5, 5}},
      {.x = {2, 24, 100, 1}, .w = {48, 24, 5, 1}, .strides = {2, 1}, .pads = {2, 0, 1, 0}},
      {.x = {1, 32, 90, 1}, .w = {32, 1, 7, 1}, .group = 32, .dilations = {3, 1}},
  };
  uint32_t seed = 1;
  for (const ConvCase& c : cases) {
    INFO("weights " << format_dims(c.w));
    Net net(seed++);
    net.output(add_conv(net, net.input(c.x), c));
    check_against_cpu(net, terms_of(c.w));
  }
}

TEST_CASE("dnnl: float16 convolutions are those of float32, rounded once") {
  const KernelSet* dnnl = dnnl_kernel_set();
  if (!dnnl) return;
  for (const ConvCase& c :
       {ConvCase{.x = {2, 16, 13, 11}, .w = {24, 16, 3, 3}, .pads = {1, 1, 1, 1}},
        ConvCase{.x = {1, 16, 9, 9}, .w = {32, 16, 1, 1}, .bias = false},
        ConvCase{.x = {1, 16, 12, 12}, .w = {16, 1, 3, 3}, .group = 16}}) {
    // The same values, exact in float16, computed in both types.
    Net halves(7), floats(7);
    const auto add = [&](Net& net, bool half) {
      std::vector<Value*> from;
      for (const Dims& dims : {c.x, c.w, Dims{c.w[0]}}) {
        Value& given = from.empty() ? net.input(dims) : net.constant(dims);
        Value& rounded = net.node("Cast", {&given}, {{"to", int64_t{10}}});
        from.push_back(half ? &rounded : &net.node("Cast", {&rounded}, {{"to", int64_t{1}}}));
        if (from.size() == 2 && !c.bias) break;
      }
      std::vector<Given> attributes{{"group", c.group}};
      if (!c.pads.empty()) attributes.push_back({"pads", c.pads});
      Value& y = net.node("Conv", from, attributes);
      Value& rounded = half ? y : net.node("Cast", {&y}, {{"to", int64_t{10}}});
      net.output(net.node("Cast", {&rounded}, {{"to", int64_t{1}}}));
    };
    add(halves, true);
    add(floats, false);
    for (Net* net : {&halves, &floats}) {
      const auto folder = make_folder();
      PassContext context;
      context.folder = folder.get();
      REQUIRE(infer_graph(net->graph()).ok());
      run_passes(net->model(), preparation_pipeline(), context);
    }
    const Ran a = run(halves, {dnnl, &cpu_kernel_set()}, 1),
              b = run(floats, {dnnl, &cpu_kernel_set()}, 1);
    CHECK(same_bits(a.outputs[0], b.outputs[0]));
    CHECK(same_bits(run(halves, {dnnl, &cpu_kernel_set()}, 3).outputs[0], a.outputs[0]));
  }
}

// Which implementations may be cut differently for different numbers of threads is a claim about
// oneDNN's internals (sums_alike_for_all_extents in convolution.cc): many shapes stand against it.
TEST_CASE("dnnl: convolutions give the same bits on 1 to 16 threads") {
  const KernelSet* dnnl = dnnl_kernel_set();
  if (!dnnl) return;
  // oneDNN 2.6 adds these in another order when it is given fewer rows.
  std::vector<ConvCase> cases = {
      {.x = {1, 512, 19, 5}, .w = {96, 512, 3, 3}, .pads = {1, 1, 2, 1}},
      {.x = {1, 1024, 14, 14}, .w = {96, 1024, 3, 3}, .pads = {0, 1, 1, 1}},
      {.x = {1, 512, 13, 7}, .w = {256, 512, 3, 3}, .strides = {2, 2}, .pads = {1, 2, 1, 1}},
      {.x = {1, 256, 56, 56}, .w = {64, 256, 3, 3}, .strides = {2, 2}, .pads = {2, 1, 1, 1}},
      {.x = {1, 160, 19, 19}, .w = {96, 160, 5, 5}, .strides = {2, 2}, .pads = {2, 2, 2, 2}},
      // More weights than pixels: cut by output channels, evenly and not.
      {.x = {1, 512, 7, 7}, .w = {512, 512, 3, 3}, .pads = {1, 1, 1, 1}},
      {.x = {1, 256, 14, 14}, .w = {200, 256, 3, 3}, .pads = {1, 1, 1, 1}},
      {.x = {1, 512, 7, 7}, .w = {1000, 512, 1, 1}},
      {.x = {3, 700, 1, 1}, .w = {300, 700, 1, 1}},
  };
  std::mt19937 random(7);
  const auto pick = [&](std::initializer_list<int64_t> list) {
    return *(list.begin() + random() % list.size());
  };
  while (cases.size() < 100) {
    ConvCase c;
    int64_t in = pick({3, 8, 16, 17, 24, 32, 64, 96, 128, 160, 256, 512}),
            out = pick({1, 8, 16, 24, 32, 64, 100, 128, 256});
    const int64_t kind = pick({0, 1, 2, 2, 2, 2});
    if (kind == 0) out = c.group = in;
    if (kind == 1)
      c.group = pick({2, 4}), in = c.group * pick({4, 8, 16, 32}),
      out = c.group * pick({4, 8, 16, 32});
    const int64_t k = pick({1, 1, 3, 3, 3, 5, 7}), kw = pick({0, 0, 0, 1}) ? 3 : k,
                  h = pick({4, 7, 13, 14, 19, 28, 33, 56}), w = pick({0, 0, 0, 1}) ? 5 + h : h;
    if (in / c.group * out * k * kw * h * w > 60'000'000) continue;
    c.x = {pick({1, 1, 1, 2, 5}), in, h, w};
    c.w = {out, in / c.group, k, kw};
    c.strides = Dims(2, pick({1, 1, 2}));
    c.pads = {k / 2, kw / 2, k / 2, kw / 2};
    if (pick({0, 0, 0, 1}))
      c.pads = {static_cast<int64_t>(random() % static_cast<uint32_t>(k)), 0, 0,
                static_cast<int64_t>(random() % static_cast<uint32_t>(kw))};
    if (h + c.pads[0] + c.pads[2] >= k && w + c.pads[1] + c.pads[3] >= kw) cases.push_back(c);
  }
  uint32_t seed = 0;
  for (const ConvCase& c : cases) {
    Net net(seed++);
    net.output(net.node("Relu", {&add_conv(net, net.input(c.x), c)}));
    const Ran one = run(net, {dnnl, &cpu_kernel_set()}, 1);
    for (int threads : {2, 3, 4, 7, 16}) {
      const Ran many = run(net, {dnnl, &cpu_kernel_set()}, threads);
      CHECK_MESSAGE(same_bits(one.outputs[0], many.outputs[0]),
                    "x " << format_dims(c.x) << " w " << format_dims(c.w) << " strides "
                         << format_dims(c.strides) << " pads " << format_dims(c.pads) << ", "
                         << threads << " threads");
    }
  }
}

TEST_CASE("dnnl: what follows a convolution is fused, residuals included") {
  if (!dnnl_kernel_set()) return;
  const ConvCase conv{.x = {2, 32, 14, 14}, .w = {32, 32, 3, 3}, .pads = {1, 1, 1, 1}};
  for (const std::string op :
       {"Relu", "LeakyRelu", "Sigmoid", "HardSwish", "HardSigmoid", "Clip", "Mul"}) {
    CAPTURE(op);
    for (const bool residual : {false, true}) {
      CAPTURE(residual);
      Net net(3);
      Value& x = net.input(conv.x);
      Value* y = &add_conv(net, x, conv);
      if (residual) y = &net.node("Add", {y, &x});  // x itself is still read while y is written
      std::vector<Value*> from{y};
      if (op == "Mul") from.push_back(&net.node("Sigmoid", {y}));
      if (op == "Clip") from.push_back(&net.scalar(-0.5f)), from.push_back(&net.scalar(6.0f));
      std::vector<Given> attributes;
      if (op == "LeakyRelu") attributes.push_back({"alpha", 0.3f});
      net.output(net.node(op, from, attributes));
      check_against_cpu(net, terms_of(conv.w));
      const Ran ran = run(net, {dnnl_kernel_set(), &cpu_kernel_set()}, 1);
      if (serves_all_shapes()) CHECK(ran.kernels == "dnnl: 1 step");
    }
  }
}

TEST_CASE("dnnl: a residual block keeps its branches apart") {
  if (!dnnl_kernel_set()) return;
  const ConvCase a{.x = {1, 32, 14, 14}, .w = {64, 32, 1, 1}},
      b{.x = a.x, .w = {64, 32, 3, 3}, .pads = {1, 1, 1, 1}};
  for (const bool kept : {false, true}) {
    CAPTURE(kept);
    Net net(5);
    Value& x = net.input(a.x);
    Value& left = add_conv(net, x, a);
    Value& right = add_conv(net, x, b);
    Value& sum = net.node("Add", {&left, &right});
    net.output(net.node("Relu", {&sum}));
    // With another reader, the buffer of `right` must survive the addition.
    if (kept) net.output(net.node("Neg", {&right}));
    check_against_cpu(net, terms_of(b.w));
  }
}

TEST_CASE("dnnl: an addition behind a node that has no bias is not taken for one") {
  if (!dnnl_kernel_set()) return;
  Net net(43);
  Value& x = net.input({1, 16, 10, 10});
  Value& y = add_conv(net, x, {.x = {}, .w = {16, 16, 1, 1}, .bias = false});
  net.output(net.node("Relu", {&net.node("Add", {&x, &y})}));
  Value& a = net.input({8, 12});
  Value& z = net.node("Gemm", {&a, &net.constant({12, 12})});
  net.output(net.node("Add", {&z, &a}));
  check_against_cpu(net, 16);
}

TEST_CASE("dnnl: FusedConv of onnxruntime") {
  if (!dnnl_kernel_set()) return;
  for (const bool residual : {false, true}) {
    CAPTURE(residual);
    Net net(47);
    Value& x = net.input({1, 16, 12, 12});
    std::vector<Value*> from{&x, &net.constant({16, 16, 3, 3}), &net.constant({16})};
    if (residual) from.push_back(&x);
    Value& y = net.node("FusedConv", from,
                        {{"pads", Dims{1, 1, 1, 1}},
                         {"activation", std::string("Clip")},
                         {"activation_params", std::vector<float>{-1, 3}}},
                        "com.microsoft");
    y.set_type(ValueType::tensor(DataType::kFloat, {1, 16, 12, 12}));
    net.output(y);
    check_against_cpu(net, 16 * 9);
  }
}

TEST_CASE("dnnl: weights that are computed while running") {
  if (!dnnl_kernel_set()) return;
  Net net(11);
  Value& x = net.input({1, 16, 20, 20});
  Value& w = net.node("Neg", {&net.input({24, 16, 3, 3})});
  net.output(net.node("Conv", {&x, &w, &net.input({24})}));
  check_against_cpu(net, 16 * 9);
}

TEST_CASE("dnnl: products with constant matrices") {
  if (!dnnl_kernel_set()) return;
  for (const Dims& a : {Dims{1, 300}, Dims{7, 300}, Dims{2, 65, 300}, Dims{300}}) {
    INFO("left side " << format_dims(a));
    Net net(13);
    net.output(net.node("Relu", {&net.node("MatMul", {&net.input(a), &net.constant({300, 170})})}));
    check_against_cpu(net, 300);
  }
  for (const bool transposed : {false, true}) {
    CAPTURE(transposed);
    Net net(17);
    Value& b = net.constant(transposed ? Dims{130, 200} : Dims{200, 130});
    net.output(net.node("Gemm", {&net.input({96, 200}), &b, &net.constant({130})},
                        {{"transB", int64_t{transposed}}, {"alpha", 0.7f}, {"beta", 1.5f}}));
    check_against_cpu(net, 200);
  }
}

TEST_CASE("dnnl: transposed convolutions") {
  if (!dnnl_kernel_set()) return;
  struct Case {
    Dims x, w;  // w [C, M / group, kernel...]
    Dims strides = {}, pads = {}, extra = {}, dilations = {};
    int64_t group = 1;
  };
  const std::vector<Case> cases = {
      {.x = {1, 64, 28, 28}, .w = {64, 32, 2, 2}, .strides = {2, 2}},
      {.x = {2, 48, 30, 17}, .w = {48, 20, 4, 4}, .strides = {2, 2}, .pads = {1, 1, 1, 1}},
      {.x = {1, 32, 25, 25},
       .w = {32, 16, 3, 3},
       .strides = {2, 2},
       .pads = {1, 0, 1, 2},
       .extra = {1, 1}},
      {.x = {1, 16, 9, 9},
       .w = {16, 24, 3, 5},
       .strides = {3, 1},
       .pads = {0, 2, 1, 2},
       .dilations = {2, 2}},
      {.x = {1, 32, 12, 12},
       .w = {32, 8, 3, 3},
       .strides = {2, 2},
       .pads = {1, 1, 1, 1},
       .group = 2},
      {.x = {2, 24, 50}, .w = {24, 16, 8}, .strides = {4}, .pads = {2, 2}},
      {.x = {1, 16, 6, 6}, .w = {16, 8, 2, 2}, .strides = {5, 5}},
      {.x = {1, 128, 1, 1}, .w = {128, 64, 4, 4}},
  };
  uint32_t seed = 41;
  for (const Case& c : cases) {
    INFO("x " << format_dims(c.x) << " weights " << format_dims(c.w));
    Net net(seed++);
    std::vector<Given> attributes{{"group", c.group}};
    if (!c.strides.empty()) attributes.push_back({"strides", c.strides});
    if (!c.pads.empty()) attributes.push_back({"pads", c.pads});
    if (!c.extra.empty()) attributes.push_back({"output_padding", c.extra});
    if (!c.dilations.empty()) attributes.push_back({"dilations", c.dilations});
    net.output(net.node("ConvTranspose",
                        {&net.input(c.x), &net.constant(c.w), &net.constant({c.w[1] * c.group})},
                        attributes));
    check_against_cpu(net, c.w[0] / c.group * 4);
  }
}

TEST_CASE("dnnl: products of computed matrices, batches broadcast") {
  if (!dnnl_kernel_set()) return;
  const std::vector<std::pair<Dims, Dims>> cases = {{{12, 65, 64}, {12, 64, 65}},
                                                    {{2, 6, 50, 32}, {2, 6, 32, 70}},
                                                    {{300, 200}, {200, 90}},
                                                    {{5, 33, 40}, {40, 20}},
                                                    {{40, 33}, {7, 33, 20}},
                                                    {{3, 1, 20, 30}, {1, 4, 30, 10}},
                                                    {{64}, {64, 10}},
                                                    {{4, 9, 64}, {64}},
                                                    {{64}, {64}},
                                                    {{2, 3, 0}, {2, 0, 4}},
                                                    {{0, 3, 5}, {5, 4}}};
  for (const auto& [a, b] : cases) {
    INFO(format_dims(a) << " times " << format_dims(b));
    Net net(37);
    net.output(net.node("MatMul", {&net.input(a), &net.input(b)}));
    check_against_cpu(net, std::max<int64_t>(a.back(), 1));
  }
}

TEST_CASE(
    "dnnl: pooling, normalization and concatenation between convolutions stay channels last") {
  if (!dnnl_kernel_set()) return;
  const ConvCase conv{.x = {2, 16, 23, 23}, .w = {40, 16, 3, 3}, .pads = {1, 1, 1, 1}},
      last{.x = {}, .w = {16, 40, 1, 1}};
  for (int kind = 0; kind < 7; ++kind) {
    CAPTURE(kind);
    Net net(19 + static_cast<uint32_t>(kind));
    Value& y = add_conv(net, net.input(conv.x), conv);
    Value* middle = nullptr;
    ConvCase after = last;
    switch (kind) {
      case 0:
        middle = &net.node(
            "MaxPool", {&y},
            {{"kernel_shape", Dims{3, 3}}, {"strides", Dims{2, 2}}, {"pads", Dims{1, 1, 1, 1}}});
        break;
      case 1:
        middle = &net.node("MaxPool", {&y},
                           {{"kernel_shape", Dims{2, 3}},
                            {"strides", Dims{3, 2}},
                            {"dilations", Dims{2, 1}},
                            {"ceil_mode", int64_t{1}}});
        break;
      case 2:
        middle = &net.node("AveragePool", {&y},
                           {{"kernel_shape", Dims{3, 3}},
                            {"pads", Dims{1, 1, 1, 1}},
                            {"count_include_pad", int64_t{1}}});
        break;
      case 3:
        middle = &net.node("AveragePool", {&y},
                           {{"kernel_shape", Dims{4, 4}},
                            {"strides", Dims{3, 3}},
                            {"pads", Dims{1, 0, 2, 1}},
                            {"ceil_mode", int64_t{1}}});
        break;
      case 6: middle = &net.node("ReduceMean", {&y}, {{"axes", Dims{-1, 2}}}); break;
      case 4: middle = &net.node("GlobalAveragePool", {&y}); break;
      default:
        middle = &net.node("Concat", {&y, &net.node("Relu", {&net.input({2, 5, 23, 23})}), &y},
                           {{"axis", int64_t{1}}});
        after.w[1] = 85;
    }
    net.output(add_conv(net, *middle, after));
    check_against_cpu(net, terms_of(conv.w) * terms_of(after.w));
    if (serves_all_shapes())
      CHECK(run(net, {dnnl_kernel_set(), &cpu_kernel_set()}, 1).kernels.find("dnnl: 3 steps") !=
            std::string::npos);
  }
}

TEST_CASE("dnnl: float16 is pooled and concatenated to the bits of the cpu kernels") {
  const KernelSet* dnnl = dnnl_kernel_set();
  if (!dnnl) return;
  const std::vector<std::pair<const char*, std::vector<Given>>> cases = {
      {"MaxPool", {{"kernel_shape", Dims{3, 3}}, {"strides", Dims{2, 2}}}},
      {"AveragePool", {{"kernel_shape", Dims{2, 3}}, {"pads", Dims{1, 1, 0, 1}}}},
      {"GlobalAveragePool", {}},
      {"Concat", {{"axis", int64_t{1}}}}};
  for (const auto& [op, attributes] : cases) {
    CAPTURE(op);
    Net net(41);
    Value& x = net.node("Cast", {&net.input({2, 21, 11, 9})}, {{"to", int64_t{10}}});
    std::vector<Value*> from{&x};
    if (std::string_view(op) == "Concat") from.push_back(&net.node("Relu", {&x}));
    net.output(net.node("Cast", {&net.node(op, from, attributes)}, {{"to", int64_t{1}}}));
    const Ran expected = run(net, {&cpu_kernel_set()}, 1);
    for (const int threads : {1, 3}) {
      const Ran found = run(net, {dnnl, &cpu_kernel_set()}, threads);
      CHECK(found.kernels.find("dnnl: 1 step") != std::string::npos);
      CHECK(same_bits(found.outputs[0], expected.outputs[0]));
    }
  }
}

TEST_CASE("dnnl: images that are resized between convolutions stay channels last") {
  if (!dnnl_kernel_set()) return;
  const ConvCase conv{.x = {2, 16, 9, 7}, .w = {24, 16, 1, 1}}, last{.x = {}, .w = {16, 24, 1, 1}};
  for (const char* mode : {"nearest", "linear", "cubic"})
    for (const Dims& sizes : {Dims{2, 24, 18, 21}, Dims{2, 24, 13, 5}, Dims{3, 24, 9, 14}}) {
      CAPTURE(mode);
      CAPTURE(sizes);
      Net net(53);
      Value& y = add_conv(net, net.input(conv.x), conv);
      Value& to = net.graph().add_initializer(Tensor::from<int64_t>({4}, sizes), "");
      Value* absent = nullptr;
      Value& resized = net.node("Resize", {&y, absent, absent, &to}, {{"mode", std::string(mode)}});
      net.output(add_conv(net, resized, last));
      check_against_cpu(net, terms_of(conv.w) * terms_of(last.w));
    }
}

TEST_CASE("dnnl: instances are normalized in the layout that they have, Relu included") {
  if (!dnnl_kernel_set()) return;
  for (const int64_t channels : {5, 16, 40})
    for (const bool after_conv : {false, true}) {
      CAPTURE(channels);
      Net net(61);
      const ConvCase conv{.x = {2, 16, 19, 21}, .w = {channels, 16, 3, 3}};
      Value& x =
          after_conv ? add_conv(net, net.input(conv.x), conv) : net.input({2, channels, 19, 21});
      Value& y = net.node("InstanceNormalization",
                          {&x, &net.constant({channels}), &net.constant({channels})});
      net.output(net.node("Relu", {&y}));
      check_against_cpu(net, after_conv ? terms_of(conv.w) : 1);
      CHECK(run(net, {dnnl_kernel_set(), &cpu_kernel_set()}, 1).kernels.find("cpu") ==
            std::string::npos);
    }
}

TEST_CASE("dnnl: pooling keeps infinities and NaN") {
  if (!dnnl_kernel_set()) return;
  Net net(23);
  Value& x = net.input({1, 2, 4, 4});
  std::vector<float> values = net.inputs[0].values<float>();
  for (size_t i = 0; i < 16; ++i) values[i] = -std::numeric_limits<float>::infinity();
  values[21] = std::numeric_limits<float>::quiet_NaN();
  net.inputs[0] = Tensor::from<float>({1, 2, 4, 4}, values);
  net.output(net.node("MaxPool", {&x}, {{"kernel_shape", Dims{2, 2}}, {"strides", Dims{2, 2}}}));
  const Ran ran = run(net, {dnnl_kernel_set(), &cpu_kernel_set()}, 1);
  CHECK(ran.kernels == "dnnl: 1 step");
  const auto y = ran.outputs[0].values<float>();
  CHECK(std::isinf(y[0]));
  CHECK(y[0] < 0);
  CHECK(std::isnan(y[4]));
}

TEST_CASE("dnnl: one plan serves many shapes and threads at a time") {
  const KernelSet* dnnl = dnnl_kernel_set();
  if (!dnnl) return;
  Net net(29);
  Value& x = net.input({1, 24, 12, 12});
  x.set_type(
      ValueType::tensor(DataType::kFloat, std::vector<Dim>{Dim::of(1), Dim::of(24), Dim(), Dim()}));
  net.output(add_conv(net, x, {.x = {}, .w = {32, 24, 3, 3}, .pads = {1, 1, 1, 1}}));
  REQUIRE(infer_graph(net.graph()).ok());
  const auto plan = Plan::compile(net.graph(), options_of({dnnl, &cpu_kernel_set()}, 1));
  const auto reference = Plan::compile(net.graph(), options_of({&cpu_kernel_set()}, 1));
  REQUIRE(plan.ok());
  REQUIRE(reference.ok());
  std::vector<std::thread> threads;
  std::atomic<int> bad = 0;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      RunContext context(*plan), expected(*reference);
      for (int64_t size = 3; size < 90; size += 5) {
        const int64_t h = size + (size * t) % 3;
        const Tensor in = Tensor::from<float>(
            {1, 24, h, size}, std::vector<float>(static_cast<size_t>(24 * h * size), 0.5f));
        std::vector<Tensor> a, b;
        if (!context.run(std::span(&in, 1), &a).ok() || !expected.run(std::span(&in, 1), &b).ok() ||
            difference(a[0], b[0], 16) > 5e-6)
          ++bad;
      }
    });
  for (std::thread& t : threads) t.join();
  CHECK(bad == 0);
}

// Three rows are cut by columns on several threads, three hundred by rows: the weights that the
// latter want are put together from the former's pieces.
TEST_CASE("dnnl: weights cut by columns serve later shapes whole") {
  const KernelSet* dnnl = dnnl_kernel_set();
  if (!dnnl) return;
  for (const bool first_known : {true, false}) {
    CAPTURE(first_known);
    Net net(31);
    Value& a = net.input({3, 250});
    a.set_type(ValueType::tensor(DataType::kFloat,
                                 std::vector<Dim>{first_known ? Dim::of(3) : Dim(), Dim::of(250)}));
    net.output(net.node("MatMul", {&a, &net.constant({250, 700})}));
    REQUIRE(infer_graph(net.graph()).ok());
    const auto plan = Plan::compile(net.graph(), options_of({dnnl, &cpu_kernel_set()}, 4));
    const auto reference = Plan::compile(net.graph(), options_of({&cpu_kernel_set()}, 1));
    REQUIRE(plan.ok());
    REQUIRE(reference.ok());
    RunContext context(*plan), expected(*reference);
    for (const int64_t rows : {3, 300, 1, 40, 3}) {
      CAPTURE(rows);
      std::vector<float> values(static_cast<size_t>(rows * 250));
      for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 13) / 8 - 0.5f;
      const Tensor in = Tensor::from<float>({rows, 250}, values);
      std::vector<Tensor> x, y;
      REQUIRE(context.run(std::span(&in, 1), &x).ok());
      REQUIRE(expected.run(std::span(&in, 1), &y).ok());
      CHECK(difference(x[0], y[0], 16) < 5e-6);
    }
  }
}

TEST_CASE("dnnl: a residual is added to convolutions that are cut by output channels") {
  if (!dnnl_kernel_set()) return;
  Net net(37);
  Value& x = net.input({1, 256, 5, 5});
  Value& residual = net.input({1, 384, 5, 5});
  Value& y = add_conv(net, x, {.x = {}, .w = {384, 256, 3, 3}, .pads = {1, 1, 1, 1}});
  net.output(net.node("Relu", {&net.node("Add", {&y, &residual})}));
  check_against_cpu(net, 256 * 9);
}

TEST_CASE("dnnl: models of the shared set that run on the cpu kernels run on these") {
  const KernelSet* dnnl = dnnl_kernel_set();
  if (!dnnl) return;
  const std::filesystem::path root = shared_data("models");
  if (root.empty()) return;
  int passed = 0;
  for (const auto& entry : std::filesystem::directory_iterator(root)) {
    if (!std::filesystem::exists(entry.path() / "model.onnx") ||
        !std::filesystem::exists(entry.path() / "test_data_set_0"))
      continue;
    const std::string name = entry.path().filename().string();
    // Half precision is computed in other places than the reference rounds.
    const Tolerance tolerance =
        name.ends_with("fp16") ? Tolerance{2e-2, 2e-2} : Tolerance{1e-3, 1e-4};
    if (!run_data_sets(entry.path(), {&cpu_kernel_set()}, tolerance).ok()) continue;
    for (int threads : {1, 2}) {
      const Status s = run_data_sets(entry.path(), {dnnl, &cpu_kernel_set()}, tolerance, threads);
      CHECK_MESSAGE(s.ok(), name << ": " << (s.ok() ? "" : s.error().message));
      passed += s.ok();
    }
  }
  CHECK(passed > 40);
}

TEST_CASE("dnnl: onnx's node tests of the operators that the module serves") {
  const KernelSet* dnnl = dnnl_kernel_set();
  if (!dnnl) return;
  const char* root = std::getenv("ONNXTOOL_NODE_TESTS");
  if (!root) {
    std::cout << "SKIP: ONNXTOOL_NODE_TESTS names no directory of onnx's node tests\n";
    return;
  }
  int passed = 0;
  for (const auto& entry : std::filesystem::directory_iterator(root)) {
    const std::string name = entry.path().filename().string();
    const bool ours =
        std::any_of(dnnl->kernels.begin(), dnnl->kernels.end(), [&](const KernelInfo* k) {
          std::string op = "test_" + std::string(k->op);
          std::transform(op.begin(), op.end(), op.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
          return name.starts_with(op) || name.starts_with("test_basic_conv") ||
                 name.starts_with("test_batchnorm");
        });
    if (!ours || !std::filesystem::exists(entry.path() / "model.onnx")) continue;
    const Status s = run_data_sets(entry.path(), {dnnl, &cpu_kernel_set()}, {});
    CHECK_MESSAGE(s.ok(), name << ": " << (s.ok() ? "" : s.error().message));
    passed += s.ok();
  }
  CHECK(passed > 40);
}

}  // namespace onnxtool::testing
