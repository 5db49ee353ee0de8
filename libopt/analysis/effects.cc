#include "libopt/analysis/effects.h"

#include <algorithm>
#include <array>

#include "libopt/analysis/seam.h"
#include "libopt/ir/model.h"

namespace onnxtool {
namespace {

// Functions may not call themselves, but a hostile file can say so.
constexpr int kMaxCallDepth = 16;

constexpr std::array<std::string_view, 5> kPureDomains = {"", "ai.onnx.ml", "ai.onnx.preview", "ai.onnx.preview.training",
                                                          "com.microsoft"};

const Function* function_of(const Node& node) {
  for (const Function& f : node.graph().model().functions)
    if (f.name == node.op_type() && f.domain == node.domain() && f.overload == node.overload()) return &f;
  return nullptr;
}

// Whether `holds` is true of the node, of the body of the function that it calls, and of every node
// in its subgraphs.
template <class F> bool for_all(const Node& node, int depth, F&& holds) {
  if (depth > kMaxCallDepth) return false;
  if (const Function* f = function_of(node)) {
    for (const Node& n : f->body->nodes())
      if (!for_all(n, depth + 1, holds)) return false;
  } else if (!holds(node)) {
    return false;
  }
  bool all = true;
  node.for_each_subgraph([&](Graph& g) {
    for (const Node& n : g.nodes()) all = all && for_all(n, depth, holds);
  });
  return all;
}

}  // namespace

bool may_have_effects(const Node& node) {
  return !for_all(node, 0, [](const Node& n) { return std::ranges::find(kPureDomains, n.domain()) != kPureDomains.end(); });
}

bool is_deterministic(const Node& node) {
  return for_all(node, 0, [](const Node& n) {
    const auto schema = find_schema(n.op_type(), n.domain(), n.opset());
    return schema && schema->deterministic;
  });
}

}  // namespace onnxtool
