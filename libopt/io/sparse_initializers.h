// Sparse initializers, which a graph keeps as the bytes that they were.
#pragma once

#include <optional>
#include <string>

#include "libopt/ir/attribute.h"
#include "libopt/ir/graph.h"
#include "libopt/support/status.h"

namespace onnxtool {

/// What one of Graph::opaque_fields holds; nullopt: no sparse initializer.
Result<std::optional<SparseTensor>> sparse_initializer(const std::string& opaque_field);

/// Calls f(sparse) for each of the graph's own that can be decoded.
template <class F>
void for_each_sparse_initializer(const Graph& graph, F&& f) {
  for (const std::string& field : graph.opaque_fields)
    if (const auto sparse = sparse_initializer(field); sparse.ok() && *sparse) f(**sparse);
}

/// Gives the values that are sparse initializers, in subgraphs, too, the type that nodes read them
/// as: a dense tensor.
void type_sparse_initializers(Graph& graph);

}  // namespace onnxtool
