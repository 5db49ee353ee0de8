// What tests of conversions between opsets have in common.
#pragma once

#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <vector>

#include "calib/exec/plan.h"
#include "calib/kernels/cpu/cpu_kernels.h"
#include "libopt/analysis/seam.h"

// Names of its own: other headers of tests have a parse() that does something else.
namespace onnxtool::testing::inline conversion {

using Dims = std::vector<int64_t>;

inline std::unique_ptr<Model> parse_or_fail(const std::string& text) {
  auto model = parse_text(text);
  if (!model.ok()) {
    FAIL(model.error().message << "\n" << text);
    return nullptr;
  }
  return *std::move(model);
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

inline const Node* find_op(const Graph& graph, std::string_view op, int skip = 0) {
  for (const Node& n : graph.nodes())
    if (n.is(op) && skip-- == 0) return &n;
  return nullptr;
}

inline int count_op(const Graph& graph, std::string_view op) {
  int count = 0;
  for (const Node& n : graph.nodes()) count += n.is(op);
  return count;
}

// Every node as onnx's checker wants it at the model's opset.
inline void check_nodes(const Graph& graph) {
  for (const Node& n : graph.nodes()) {
    if (const Status s = check_node(n); !s.ok()) FAIL_CHECK(s.error().message);
    n.for_each_subgraph([](Graph& sub) { check_nodes(sub); });
  }
}

// Values in [-2, 2] without ties in any window of 37; integers count up, so that they index
// anything.
inline Tensor sample(const ValueType& type, const Dims& dims) {
  int64_t count = 1;
  for (const int64_t d : dims) count *= d;
  std::vector<float> floats;
  std::vector<double> doubles;
  std::vector<int64_t> ints;
  for (int64_t i = 0; i < count; ++i) {
    ints.push_back(i);
    doubles.push_back(static_cast<double>(i * 23 % 37) / 9.0 - 2);
    floats.push_back(static_cast<float>(doubles.back()));
  }
  if (type.dtype == DataType::kInt64) return Tensor::from(dims, ints);
  if (type.dtype == DataType::kDouble) return Tensor::from(dims, doubles);
  REQUIRE(type.dtype == DataType::kFloat);
  return Tensor::from(dims, floats);
}

inline Result<std::vector<Tensor>> run(Model& model, const std::vector<Tensor>& inputs) {
  ONNXTOOL_TRY(infer_graph(model.graph()));
  PlanOptions options;
  options.kernel_sets = {&cpu_kernel_set()};
  ONNXTOOL_ASSIGN(auto plan, Plan::compile(model.graph(), options));
  std::vector<Tensor> outputs;
  ONNXTOOL_TRY(RunContext(plan).run(inputs, &outputs));
  return outputs;
}

inline std::vector<Tensor> run_or_fail(Model& model, const std::vector<Tensor>& inputs,
                                       const std::string& what) {
  auto out = run(model, inputs);
  if (out.ok()) return *std::move(out);
  FAIL_CHECK(what << ": " << out.error().message);
  return {};
}

}  // namespace onnxtool::testing::inline conversion
