#include "apps/optimize_inputs.h"

#include <fmt/format.h>

#include <map>
#include <vector>

#include "libopt/analysis/assumptions.h"

namespace onnxtool {

Status freeze_dims(Model& model, const DataFlags& flags) {
  std::vector<std::vector<Dim>> declared;
  for (const Value* v : model.graph().inputs())
    declared.push_back(v->type().shape.value_or(std::vector<Dim>()));
  ONNXTOOL_TRY(apply_shapes(model, flags));
  std::map<std::string, int64_t> settled;
  for (size_t i = 0; i < declared.size(); ++i) {
    const auto& now = model.graph().inputs()[i]->type().shape;
    for (size_t axis = 0; axis < declared[i].size(); ++axis) {
      const std::string& symbol = declared[i][axis].symbol;
      if (symbol.empty() || declared[i][axis].value || !(*now)[axis].value) continue;
      const auto [it, fresh] = settled.emplace(symbol, *(*now)[axis].value);
      if (!fresh && it->second != *(*now)[axis].value)
        return Error{ErrorCode::kMismatch,
                     fmt::format("dimension '{}' is {} and {} by different flags", symbol,
                                 it->second, *(*now)[axis].value),
                     "a name stands for one extent: give it with --dim"};
    }
  }
  for (const auto& [symbol, extent] : settled)
    ONNXTOOL_TRY(check_assumed(model, "--dim or --input-shape", symbol, {extent, extent}));
  const auto settle = [&](const auto& self, Graph& graph) -> void {
    for (Value* v : graph.values()) {
      ValueType type = v->type();
      if (!type.shape) continue;
      for (Dim& d : *type.shape)
        if (const auto it = settled.find(d.symbol); !d.value && it != settled.end())
          d = Dim::of(it->second);
      v->set_type(std::move(type));
    }
    for (Node& n : graph.nodes()) n.for_each_subgraph([&](Graph& sub) { self(self, sub); });
  };
  if (!settled.empty()) settle(settle, model.graph());
  return {};
}

int freeze_inputs(Graph& graph) {
  int count = 0;
  for (Value* v : graph.initializers())
    if (v->is_graph_input()) {
      graph.remove_input(*v);
      ++count;
    }
  return count;
}

}  // namespace onnxtool
