// Advice about quantized layers: biases that a runtime reads in another unit than they are written
// in.
#include "libopt/check/family.h"
#include "libopt/target/bias_fault.h"

namespace onnxtool::check {
namespace {

struct Faults {
  size_t convolutions = 0, products = 0;
  std::string convolution, product;  // the first of each
};

void walk(const Graph& graph, Faults& faults) {
  for (Node& n : graph.nodes()) {
    if (n.is("Conv") || n.is("Gemm")) {
      const std::string fault = bias_fault(n);
      size_t& count = n.is("Conv") ? faults.convolutions : faults.products;
      if (!fault.empty() && count++ == 0)
        (n.is("Conv") ? faults.convolution : faults.product) = n.describe() + ": " + fault;
    }
    n.for_each_subgraph([&](const Graph& g) { walk(g, faults); });
  }
}

std::string in_nodes(size_t n) { return std::to_string(n) + (n == 1 ? " node" : " nodes"); }

}  // namespace

void check_quantization(const Model& model, Findings& out) {
  Faults faults;
  walk(model.graph(), faults);
  if (faults.convolutions)
    out.add(RuleId::kBiasScale, "",
            "biases keep " + in_nodes(faults.convolutions) + " from running on integers, first " +
                faults.convolution);
  if (faults.products)
    out.add(RuleId::kBiasScale, "",
            "biases of " + in_nodes(faults.products) +
                " keep them from running on integers or become others there, first " +
                faults.product);
}

}  // namespace onnxtool::check
