#include "libopt/analysis/settled_extents.h"

#include <limits>
#include <optional>

#include "libopt/analysis/seam.h"

namespace onnxtool {
namespace {

// An axis of one of a node's inputs; negative ones count from the end.
struct Place {
  int input, axis;
};

const Dim* dim_at(const Node& n, Place p) {
  const auto rank = n.has_input(p.input) ? n.input(p.input).type().rank() : std::nullopt;
  const int64_t axis = p.axis < 0 && rank ? *rank + p.axis : p.axis;
  if (!rank || axis < 0 || axis >= *rank) return nullptr;
  return &(*n.input(p.input).type().shape)[static_cast<size_t>(axis)];
}

class Settled {
 public:
  explicit Settled(const Graph& graph) {
    for (const Node& n : graph.nodes())
      if (n.domain().empty()) look_at(n);
  }
  std::optional<int64_t> of(const std::string& symbol) const {
    const auto at = by_symbol_.find(symbol);
    return at == by_symbol_.end() ? std::nullopt : std::optional(at->second);
  }

 private:
  void look_at(const Node& n) {
    if (n.is("Conv")) {
      same(n, {0, 1}, {1, 1}, n.attr<int64_t>("group", 1));
    } else if (n.is("ConvTranspose")) {
      same(n, {0, 1}, {1, 0});
    } else if (n.is("BatchNormalization") || n.is("InstanceNormalization")) {
      same(n, {0, 1}, {1, 0});
    } else if (n.is("LSTM") || n.is("GRU") || n.is("RNN")) {
      same(n, {0, 2}, {1, 2});
    } else if (n.is("Gemm")) {
      same(n, {0, n.attr<int64_t>("transA", 0) ? 0 : 1}, {1, n.attr<int64_t>("transB", 0) ? 1 : 0});
    } else if (n.is("MatMul")) {
      const bool column = n.has_input(1) && n.input(1).type().rank() == 1;
      same(n, {0, -1}, {1, column ? 0 : -2});
    }
  }

  // The first layer that says something counts.
  void same(const Node& n, Place a, Place b, int64_t factor = 1) {
    const Dim *x = dim_at(n, a), *y = dim_at(n, b);
    if (!x || !y) return;
    if (!x->value && y->value && *y->value > 0 && factor > 0 &&
        *y->value <= std::numeric_limits<int64_t>::max() / factor)
      by_symbol_.emplace(x->symbol, *y->value * factor);
    else if (!y->value && x->value && *x->value > 0 && factor == 1)
      by_symbol_.emplace(y->symbol, *x->value);
  }

  std::map<std::string, int64_t> by_symbol_;
};

}  // namespace

std::map<std::pair<std::string, int>, int64_t> settled_extents(const Model& model) {
  std::map<std::pair<std::string, int>, int64_t> out;
  const auto named = model.clone();
  [[maybe_unused]] const bool consistent = infer_graph_naming_dims(named->graph()).ok();
  const Settled settled(named->graph());
  for (const Value* v : named->graph().inputs())
    for (int axis = 0; axis < v->type().rank().value_or(0); ++axis) {
      const Dim& d = (*v->type().shape)[static_cast<size_t>(axis)];
      if (const auto extent = d.value ? std::nullopt : settled.of(d.symbol))
        out.emplace(std::pair(v->name(), axis), *extent);
    }
  return out;
}

}  // namespace onnxtool
