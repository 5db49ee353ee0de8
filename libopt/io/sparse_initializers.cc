#include "libopt/io/sparse_initializers.h"

#include <span>

#include "libopt/io/decode.h"
#include "libopt/io/wire.h"

namespace onnxtool {

Result<std::optional<SparseTensor>> sparse_initializer(const std::string& opaque_field) {
  constexpr uint32_t kSparseInitializer = 15, kSparseTensorOfAttribute = 22;
  wire::Reader reader(std::as_bytes(std::span(opaque_field)));
  ONNXTOOL_ASSIGN(const wire::Field f, reader.next());
  if (f.number != kSparseInitializer) return std::optional<SparseTensor>();
  wire::Rope attribute;
  attribute.string_field(kSparseTensorOfAttribute, wire::text(f.bytes));
  ONNXTOOL_ASSIGN(Attribute decoded, decode_attribute(attribute.flatten()));
  auto* sparse = std::get_if<SparseTensor>(&decoded.value);
  ONNXTOOL_CHECK(sparse != nullptr);
  return std::optional(std::move(*sparse));
}

void type_sparse_initializers(Graph& graph) {
  for_each_sparse_initializer(graph, [&](const SparseTensor& sparse) {
    Value* v = graph.find(sparse.values.name);
    if (v && !v->producer() && !v->is_graph_input())
      v->set_type(ValueType::tensor(sparse.values.tensor.dtype(), sparse.dims));
  });
  for (Node& n : graph.nodes()) n.for_each_subgraph(type_sparse_initializers);
}

}  // namespace onnxtool
