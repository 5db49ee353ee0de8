#include "libopt/ir/constant.h"

#include "libopt/ir/attribute.h"
#include "libopt/ir/unread.h"

namespace onnxtool {

std::optional<Tensor> constant_of(const Node& node) {
  if (!node.is("Constant") || node.attributes().size() != 1) return std::nullopt;
  const Attribute& a = node.attributes()[0];
  if (const auto* v = a.get<NamedTensor>())
    return unread_data(v->tensor) ? std::nullopt : std::optional(v->tensor);
  if (const auto* v = a.get<float>()) return Tensor::scalar(*v);
  if (const auto* v = a.get<std::vector<float>>()) return Tensor::vector(*v);
  if (const auto* v = a.get<int64_t>()) return Tensor::scalar(*v);
  if (const auto* v = a.get<std::vector<int64_t>>()) return Tensor::vector(*v);
  if (const auto* v = a.get<std::string>()) return Tensor::from_strings({}, {*v});
  if (const auto* v = a.get<std::vector<std::string>>())
    return Tensor::from_strings({static_cast<int64_t>(v->size())}, *v);
  return std::nullopt;
}

void store_constants_as_tensors(Graph& graph) {
  for (Node& n : graph.nodes()) {
    n.for_each_subgraph([](Graph& sub) { store_constants_as_tensors(sub); });
    if (n.attribute("value")) continue;
    auto tensor = constant_of(n);
    if (!tensor) continue;
    const std::string form = n.attributes()[0].name;
    const std::string name = n.has_output(0) ? n.output(0).name() : "";
    n.set_attribute(Attribute::of("value", NamedTensor{name, *std::move(tensor)}));
    n.remove_attribute(form);
  }
}

}  // namespace onnxtool
