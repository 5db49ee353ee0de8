// What inspect sums over the nodes and constants of a graph and its subgraphs.
#pragma once

#include <cstdint>
#include <limits>
#include <string>

#include "apps/inspect_report.h"
#include "libopt/analysis/seam.h"
#include "libopt/io/sparse_initializers.h"
#include "libopt/ir/walk.h"
#include "libopt/support/checked.h"

namespace onnxtool {

/// Sums of what hostile files say stop at the largest number.
inline int64_t plus(int64_t a, int64_t b) {
  return checked_add(a, b).value_or(std::numeric_limits<int64_t>::max());
}

/// Calls f(name, tensor, value) for initializers, and tensors in attributes; `value` is what holds
/// it, nullptr where there is none. Sparse ones are two tensors, as stored: values and indices,
/// which live as long as the call.
template <class F>
void for_each_constant(const Graph& graph, F&& f) {
  for (const Value* v : graph.initializers()) f(v->name(), *v->initializer(), v);
  const auto visit_sparse = [&](const std::string& name, const SparseTensor& s, const Value* v) {
    f(name, s.values.tensor, v);
    f(name + " (indices)", s.indices.tensor, static_cast<const Value*>(nullptr));
  };
  for_each_sparse_initializer(graph, [&](const SparseTensor& s) {
    visit_sparse(s.values.name, s, graph.find(s.values.name));
  });
  for (const Node& n : graph.nodes()) {
    const Value* result = n.num_outputs() && n.has_output(0) ? &n.output(0) : nullptr;
    for (const Attribute& a : n.attributes())
      if (const auto* t = a.get<NamedTensor>())
        f(shown_name(n), t->tensor, result);
      else if (const auto* sparse = a.get<SparseTensor>())
        visit_sparse(shown_name(n), *sparse, result);
    n.for_each_subgraph([&](Graph& g) { for_each_constant(g, f); });
  }
}

inline int64_t stored_bytes(const Tensor& t) {
  if (t.dtype() != DataType::kString) return static_cast<int64_t>(t.size_bytes());
  int64_t bytes = 0;
  for (const std::string& s : t.strings()) bytes += static_cast<int64_t>(s.size());
  return bytes;
}

}  // namespace onnxtool
