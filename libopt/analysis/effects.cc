#include "libopt/analysis/effects.h"

#include <algorithm>
#include <array>
#include <map>

#include "libopt/analysis/functions.h"
#include "libopt/analysis/seam.h"
#include "libopt/ir/model.h"

namespace onnxtool {
namespace {

// Functions may not call themselves, but a hostile file can say so, or nest calls without end.
constexpr size_t kMaxCallDepth = 64;

constexpr std::array<std::string_view, 5> kPureDomains = {
    "", "ai.onnx.ml", "ai.onnx.preview", "ai.onnx.preview.training", "com.microsoft"};

// Whether something is true of a node, of the body of the function that it calls, and of every node
// in its subgraphs. Each function is looked into once, however often it is called.
template <class F>
class ForAll {
 public:
  explicit ForAll(F holds) : holds_(holds) {}

  bool operator()(const Node& node) {
    const Function* f = called_function(node);
    bool all = f ? in_body(*f) : holds_(node);
    node.for_each_subgraph([&](Graph& g) { all = all && in_graph(g); });
    return all;
  }

 private:
  bool in_graph(const Graph& g) {
    for (const Node& n : g.nodes())
      if (!(*this)(n)) return false;
    return true;
  }
  bool in_body(const Function& f) {
    // What is being looked into already calls itself: nothing is known of it.
    const auto [it, fresh] = known_.emplace(&f, false);
    if (!fresh || depth_ == kMaxCallDepth) return it->second;
    ++depth_;
    const bool all = in_graph(*f.body);
    --depth_;
    return known_[&f] = all;
  }

  F holds_;
  std::map<const Function*, bool> known_;
  size_t depth_ = 0;
};

}  // namespace

bool may_have_effects(const Node& node) {
  return !ForAll([](const Node& n) {
    return std::ranges::find(kPureDomains, n.domain()) != kPureDomains.end();
  })(node);
}

bool is_deterministic(const Node& node) {
  return ForAll([](const Node& n) {
    const auto schema = find_schema(n.op_type(), n.domain(), n.opset());
    return schema && schema->deterministic;
  })(node);
}

}  // namespace onnxtool
