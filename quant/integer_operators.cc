#include "quant/integer_operators.h"

#include <algorithm>

#include "libopt/ir/model.h"

namespace onnxtool {
namespace {

constexpr std::string_view kMicrosoft = "com.microsoft";

const std::vector<IntegerOperator>& entries() {
  static const std::vector<IntegerOperator> kEntries = {
      {"QLinearConv", "", "Conv", {0, 3}, 6, 8, 0},
      {"QLinearMatMul", "", "MatMul", {0, 3}, 6, kNoInput, kNoInput},
      {"QGemm", kMicrosoft, "Gemm", {0, 3}, 7, 6, kNoInput},
      {"QLinearAdd", kMicrosoft, "Add", {0, 3}, 6, kNoInput, kNoInput},
      {"QLinearMul", kMicrosoft, "Mul", {0, 3}, 6, kNoInput, kNoInput},
      {"QLinearSigmoid", kMicrosoft, "Sigmoid", {0}, 3, kNoInput, kNoInput},
      {"QLinearLeakyRelu", kMicrosoft, "LeakyRelu", {0}, 3, kNoInput, kNoInput},
      {"QLinearAveragePool", kMicrosoft, "AveragePool", {0}, 3, kNoInput, kNoInput},
      {"QLinearGlobalAveragePool", kMicrosoft, "GlobalAveragePool", {0}, 3, kNoInput, kNoInput},
      {"QLinearSoftmax", kMicrosoft, "Softmax", {0}, 3, kNoInput, kNoInput},
  };
  return kEntries;
}

// Operators whose results are elements of their first input.
constexpr std::string_view kMovers[] = {
    "MaxPool", "Reshape", "Flatten",        "Transpose", "Squeeze",      "Unsqueeze",
    "Split",   "Slice",   "Gather",         "Resize",    "DepthToSpace", "SpaceToDepth",
    "Expand",  "Tile",    "GatherElements", "Identity",  "ReduceMax",    "ReduceMin"};

}  // namespace

const IntegerOperator* find_integer_operator(const Node& n) {
  for (const IntegerOperator& e : entries())
    if (n.is(e.op, e.domain)) return &e;
  return nullptr;
}

bool has_float_form(const Node& n) {
  if (n.attr<int64_t>("channels_last", 0)) return false;
  if (!n.is("QLinearSoftmax", kMicrosoft)) return true;
  // Before opset 13 everything from the axis on was one row.
  constexpr int kFirstOneAxis = 13;
  const bool one_axis = n.attr<int64_t>("opset", kFirstOneAxis) >= kFirstOneAxis;
  const Model& model = n.graph().model();
  if (one_axis == (model.opset("") >= kFirstOneAxis)) return true;
  const auto rank = n.input(0).type().rank();
  const int64_t axis = n.attr<int64_t>("axis", -1);
  return rank && (axis == -1 || axis == *rank - 1);
}

bool is_mover(const Node& n) {
  return n.domain().empty() && std::ranges::count(kMovers, n.op_type()) > 0;
}

bool has_vector_scale(const Graph& graph) {
  bool found = false;
  for (const Node& n : graph.nodes()) {
    n.for_each_subgraph([&](Graph& g) { found = found || has_vector_scale(g); });
    const bool product = n.is("QLinearConv") || n.is("QLinearMatMul") || n.is("QGemm", kMicrosoft);
    const int index = product ? 4 : n.is("MatMulIntegerToFloat", kMicrosoft) ? 3 : kNoInput;
    if (index == kNoInput || !n.has_input(index)) continue;
    const Tensor* scale = n.input(index).constant();
    found = found || (scale && scale->count() > 1);
  }
  return found;
}

}  // namespace onnxtool
