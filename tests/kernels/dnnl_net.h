// Networks of random weights on the oneDNN kernel set: against the cpu kernels, and against
// themselves on other numbers of threads.
#pragma once

#include <doctest/doctest.h>
#include <algorithm>
#include <cmath>
#include <iostream>
#include <random>
#include <variant>
#include "calib/exec/modules.h"
#include "calib/exec/plan.h"
#include "calib/kernels/cpu/cpu_kernels.h"
#include "libopt/analysis/seam.h"

namespace onnxtool::testing::dnnl_nets {

using Dims = std::vector<int64_t>;
// An attribute as tests write it; Attribute itself cannot be copied out of a list.
using Given =
    std::pair<const char*, std::variant<int64_t, float, Dims, std::string, std::vector<float>>>;

// nullptr, with a line that says so, when this build has no such module.
inline const KernelSet* dnnl_kernel_set() {
  static const KernelSet* const set = []() -> const KernelSet* {
    const auto sets = load_kernel_sets("dnnl,cpu");
    return sets.ok() ? sets->sets.front() : nullptr;
  }();
  if (!set) std::cout << "SKIP: no oneDNN module beside the tests\n";
  return set;
}

// On narrower machines oneDNN has no generated code for some shapes, and the cpu kernels serve
// them.
inline bool serves_all_shapes() { return dnnl_kernel_set()->isa == "avx512_core"; }

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

inline PlanOptions options_of(std::vector<const KernelSet*> sets, int threads) {
  PlanOptions options;
  options.kernel_sets = std::move(sets);
  options.threads = threads;
  return options;
}

struct Ran {
  std::vector<Tensor> outputs;
  std::string kernels;
};

inline Ran run(Net& net, std::vector<const KernelSet*> sets, int threads) {
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

inline bool same_bits(const Tensor& a, const Tensor& b) {
  return a.dims() == b.dims() && std::ranges::equal(a.bytes(), b.bytes());
}

// Largest |a - b| / (|b| + scale).
inline double difference(const Tensor& a, const Tensor& b, double scale) {
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
inline void check_against_cpu(Net& net, int64_t terms) {
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

inline int64_t terms_of(const Dims& w) {
  int64_t n = 1;
  for (size_t i = 1; i < w.size(); ++i) n *= w[i];
  return n;
}

inline Value& add_conv(Net& net, Value& x, const ConvCase& c) {
  std::vector<Given> attributes{{"group", c.group}};
  if (!c.strides.empty()) attributes.push_back({"strides", c.strides});
  if (!c.dilations.empty()) attributes.push_back({"dilations", c.dilations});
  if (!c.pads.empty()) attributes.push_back({"pads", c.pads});
  std::vector<Value*> from{&x, &net.constant(c.w)};
  if (c.bias) from.push_back(&net.constant({c.w[0]}));
  return net.node("Conv", std::move(from), attributes);
}

}  // namespace onnxtool::testing::dnnl_nets
