// Runs one operator through the executor in every way that may not change its bits.
#pragma once

#include <doctest/doctest.h>

#include <cstring>
#include <random>
#include <variant>

#include "calib/exec/plan.h"
#include "calib/kernels/cpu/cpu_kernels.h"
#include "libopt/analysis/seam.h"

namespace onnxtool::testing {

using Dims = std::vector<int64_t>;
using Given =
    std::pair<const char*, std::variant<int64_t, float, std::string, Dims, std::vector<float>,
                                        std::vector<std::string>, NamedTensor>>;

inline int64_t count_of(const Dims& dims) {
  int64_t n = 1;
  for (const int64_t d : dims) n *= d;
  return n;
}

/// An operator with its inputs; an input with no name ("absent") is a default Tensor.
struct OneNode {
  std::string op;
  int64_t opset = 17;
  std::vector<Tensor> inputs;
  std::vector<Given> attributes = {};
  int outputs = 1;
  std::string domain = "";
};

/// Inputs from `first_constant` on are constants of the model.
inline Result<std::vector<Tensor>> run_once(const OneNode& node, size_t first_constant,
                                            const KernelSet& set, int threads) {
  Model model;
  model.ir_version = 8;
  model.set_opset("", node.domain.empty() ? node.opset : 17);
  if (!node.domain.empty()) model.set_opset(node.domain, node.opset);
  Graph& graph = model.graph();
  std::vector<Value*> from, to;
  std::vector<Tensor> given;
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    const Tensor& t = node.inputs[i];
    if (t.dtype() == DataType::kUndefined) {
      from.push_back(nullptr);
    } else if (i >= first_constant) {
      from.push_back(&graph.add_initializer(t, ""));
    } else {
      Value& v = graph.add_value("", "x");
      v.set_type(ValueType::tensor(t.dtype(), t.dims()));
      graph.add_input(v);
      from.push_back(&v);
      given.push_back(t);
    }
  }
  std::vector<Attribute> attributes;
  for (const auto& [name, value] : node.attributes)
    std::visit([&](const auto& v) { attributes.push_back(Attribute::of(name, v)); }, value);
  for (int i = 0; i < node.outputs; ++i) to.push_back(&graph.add_value("", "y"));
  graph.add_node(node.op, node.domain, "", from, to, std::move(attributes));
  for (Value* v : to) graph.add_output(*v);
  // Shapes that do not fit are the kernel's to report here.
  (void)infer_graph(graph);
  PlanOptions options;
  options.kernel_sets = {&set};
  options.threads = threads;
  ONNXTOOL_ASSIGN(const auto plan, Plan::compile(graph, options));
  RunContext context(plan);
  std::vector<Tensor> outputs;
  ONNXTOOL_TRY(context.run(given, &outputs));
  return outputs;
}

inline bool same_bits(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.dims() == b.dims() && a.bytes().size() == b.bytes().size() &&
         std::ranges::equal(a.bytes(), b.bytes());
}

/// The outputs, the same whether weights are packed beforehand and whatever the number of threads.
inline std::vector<Tensor> run_node(const OneNode& node, const KernelSet& set = cpu_kernel_set()) {
  auto first = run_once(node, node.inputs.size(), set, 1);
  REQUIRE_MESSAGE(first.ok(), (first.ok() ? "" : first.error().message));
  for (const auto& [constants_from, threads] :
       {std::pair<size_t, int>{1, 1}, {node.inputs.size(), 3}, {1, 7}}) {
    const auto again = run_once(node, constants_from, set, threads);
    REQUIRE_MESSAGE(again.ok(), (again.ok() ? "" : again.error().message));
    for (size_t i = 0; i < first->size(); ++i)
      CHECK_MESSAGE(same_bits((*first)[i], (*again)[i]),
                    threads << " threads, constants from " << constants_from);
  }
  return *std::move(first);
}

/// What a node that cannot run says, with its weights constant and not.
inline std::string error_of(const OneNode& node) {
  const auto packed = run_once(node, 1, cpu_kernel_set(), 1),
             plain = run_once(node, node.inputs.size(), cpu_kernel_set(), 1);
  CHECK(!packed.ok());
  CHECK(!plain.ok());
  return plain.ok() ? "" : plain.error().message;
}
inline bool mentions(const std::string& message, const std::string& part) {
  const bool found = message.find(part) != std::string::npos;
  if (!found) MESSAGE(message);
  return found;
}

/// Seeded values.
class Values {
 public:
  explicit Values(uint32_t seed) : random_(seed) {}
  Tensor normal(Dims dims) {
    std::normal_distribution<float> normal;
    std::vector<float> values(static_cast<size_t>(count_of(dims)));
    for (float& v : values) v = normal(random_);
    return Tensor::from<float>(std::move(dims), values);
  }
  template <class T>
  Tensor integers(Dims dims) {
    std::uniform_int_distribution<int> any(std::numeric_limits<T>::min(),
                                           std::numeric_limits<T>::max());
    std::vector<T> values(static_cast<size_t>(count_of(dims)));
    for (T& v : values) v = static_cast<T>(any(random_));
    return Tensor::from<T>(std::move(dims), values);
  }

 private:
  std::mt19937 random_;
};

template <class T>
std::vector<double> doubles(const Tensor& t) {
  const auto values = t.values<T>();
  return {values.begin(), values.end()};
}

/// A sum of `terms` products of standard normal factors is of size sqrt(terms), and each addition
/// rounds by 2^-24 of that: some sqrt(terms) such roundings, of which five are allowed.
inline void check_sums(const Tensor& actual, const std::vector<double>& expected, int64_t terms) {
  REQUIRE(actual.count() == static_cast<int64_t>(expected.size()));
  const double bound = 5 * 0x1p-24 * static_cast<double>(std::max<int64_t>(terms, 4));
  const auto values = actual.values<float>();
  double worst = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double d = std::abs(static_cast<double>(values[i]) - expected[i]);
    worst = d <= worst ? worst : d;
  }
  CHECK(worst <= bound);
}

}  // namespace onnxtool::testing
