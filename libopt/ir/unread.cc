#include "libopt/ir/unread.h"

#include <fmt/format.h>

#include <algorithm>

#include "libopt/ir/model.h"

namespace onnxtool {
namespace {

void add(const Tensor& t, UnreadTensors& out) {
  const UnreadData* data = unread_data(t);
  if (!data) return;
  ++out.count;
  const auto at = std::ranges::lower_bound(out.locations, data->location);
  if (at == out.locations.end() || *at != data->location) out.locations.insert(at, data->location);
}

void add(const Graph& graph, UnreadTensors& out) {
  for (const Value* v : graph.initializers()) add(*v->initializer(), out);
  for (const Node& n : graph.nodes()) {
    for (const Attribute& a : n.attributes()) {
      if (const auto* t = a.get<NamedTensor>()) add(t->tensor, out);
      if (const auto* list = a.get<std::vector<NamedTensor>>())
        for (const NamedTensor& t : *list) add(t.tensor, out);
    }
    n.for_each_subgraph([&](const Graph& sub) { add(sub, out); });
  }
}

}  // namespace

const Tensor* stored_constant(const Value& value) {
  if (value.initializer()) return value.is_graph_input() ? nullptr : value.initializer();
  const Node* maker = value.producer();
  const Attribute* a = maker && maker->is("Constant") ? maker->attribute("value") : nullptr;
  const auto* held = a ? a->get<NamedTensor>() : nullptr;
  return held ? &held->tensor : nullptr;
}

UnreadTensors unread_tensors(const Model& model) {
  UnreadTensors out;
  add(model.graph(), out);
  for (const Function& f : model.functions) add(*f.body, out);
  return out;
}

std::string not_there(const UnreadTensors& unread) {
  constexpr size_t kNamed = 3;
  std::string files;
  for (size_t i = 0; i < std::min(kNamed, unread.locations.size()); ++i)
    files += fmt::format("{}'{}'", i ? ", " : "", unread.locations[i]);
  if (unread.locations.size() > kNamed)
    files += fmt::format(" and {} more", unread.locations.size() - kNamed);
  return fmt::format("external data {} {} not there", files,
                     unread.locations.size() == 1 ? "is" : "are");
}

}  // namespace onnxtool
