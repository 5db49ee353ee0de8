// Constant nodes and sparse initializers become initializers: the runtime has no kernel for the
// former, and small builds of it skip the latter.

#include <optional>

#include "libopt/io/sparse_initializers.h"
#include "libopt/ir/constant.h"
#include "libopt/ir/sparse.h"
#include "libopt/ort/prepare.h"

namespace onnxtool {
namespace {

Result<Tensor> tensor_of(const Node& constant) {
  if (constant.attributes().size() != 1)
    return Error{ErrorCode::kBadModel,
                 "has " + std::to_string(constant.attributes().size()) +
                     " attributes, expected the value alone",
                 {}};
  const Attribute& a = constant.attributes()[0];
  if (const auto* v = a.get<SparseTensor>()) return densify(*v);
  if (auto tensor = constant_of(constant)) return *std::move(tensor);
  return Error{
      ErrorCode::kBadModel, "attribute '" + a.name + "' is of a kind that holds no constant", {}};
}

Status densify_initializers(Graph& graph) {
  std::vector<std::string> kept;
  for (const std::string& field : graph.opaque_fields) {
    ONNXTOOL_ASSIGN(const auto sparse, sparse_initializer(field));
    if (!sparse) {
      kept.push_back(field);
      continue;
    }
    ONNXTOOL_ASSIGN(Tensor dense, densify(*sparse));
    Value* v = graph.find(sparse->values.name);
    ONNXTOOL_CHECK(v != nullptr);
    graph.set_initializer(*v, std::move(dense));
  }
  graph.opaque_fields = std::move(kept);
  return {};
}

}  // namespace

Status lift_constants(Graph& graph) {
  ONNXTOOL_TRY(densify_initializers(graph));
  for (Node& n : graph.nodes()) {
    Status status;
    n.for_each_subgraph([&](Graph& sub) {
      if (status.ok()) status = lift_constants(sub);
    });
    ONNXTOOL_TRY(std::move(status));
    if (!n.is("Constant") || !n.has_output(0)) continue;
    auto tensor = tensor_of(n);
    if (!tensor.ok()) return std::move(tensor).error().at(n.describe());
    Value& value = n.output(0);
    graph.set_output_value(n, 0, nullptr);
    graph.remove_node(n);
    graph.set_initializer(value, *std::move(tensor));
  }
  return {};
}

}  // namespace onnxtool
