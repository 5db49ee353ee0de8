// Nodes, and where their floats are.

#include <algorithm>

#include "libopt/analysis/formal_types.h"
#include "libopt/ir/walk.h"
#include "quant/half.h"

namespace onnxtool {
namespace {

// com.microsoft's operators whose floats are all of one type.
constexpr std::string_view kForeign[] = {"Gelu",
                                         "FastGelu",
                                         "BiasGelu",
                                         "QuickGelu",
                                         "FusedMatMul",
                                         "FusedConv",
                                         "FusedGemm",
                                         "SkipLayerNormalization",
                                         "SkipSimplifiedLayerNormalization",
                                         "EmbedLayerNormalization",
                                         "Attention",
                                         "MultiHeadAttention",
                                         "RotaryEmbedding",
                                         "GroupQueryAttention"};

}  // namespace

std::vector<Node*> all_nodes(const Graph& graph) {
  std::vector<Node*> out;
  for_each_node(graph, [&](Node& n) { out.push_back(&n); });
  return out;
}

HalfPlaces half_places(const Node& n, DataType type) {
  HalfPlaces out;
  const bool standard = n.domain().empty();
  const FormalTypes formal = standard ? formal_types(n, type) : FormalTypes{};
  const bool foreign = n.domain() == "com.microsoft" &&
                       std::ranges::find(kForeign, n.op_type()) != std::end(kForeign);
  out.known = standard ? !formal.inputs.empty() || !formal.outputs.empty() : foreign;
  const auto place = [&](const Value* v, int i, const std::vector<FormalType>& formals,
                         std::vector<int>& free, std::vector<int>& fixed) {
    if (!v || !is_float_tensor(*v)) return;
    const auto at = static_cast<size_t>(i);
    const bool admits = foreign || (at < formals.size() && formals[at].admits);
    (admits ? free : fixed).push_back(i);
  };
  // Any type goes in, and the result's is its own.
  const bool takes_any = n.is("Cast") || n.is("Shape") || n.is("Size");
  // The factors and regions of a Resize are no data.
  const int inputs = takes_any ? 0 : n.num_inputs();
  for (int i = 0; i < inputs; ++i)
    place(n.inputs()[static_cast<size_t>(i)], i, formal.inputs,
          (n.is("Resize") || n.is("Upsample")) && i > 0 ? out.fixed_inputs : out.inputs,
          out.fixed_inputs);
  for (int i = 0; i < n.num_outputs(); ++i)
    place(n.outputs()[static_cast<size_t>(i)], i, formal.outputs, out.outputs, out.fixed_outputs);
  return out;
}

}  // namespace onnxtool
