#include "libopt/analysis/cost.h"

#include <vector>

#include "libopt/support/checked.h"

namespace onnxtool {
namespace {

// Values of `graph` that the node reads, in its subgraphs too.
void collect_reads(const Node& node, const Graph& graph, std::vector<const Value*>& out) {
  for (const Value* v : node.inputs())
    if (v && &v->graph() == &graph) out.push_back(v);
  node.for_each_subgraph([&](Graph& sub) {
    for (const Node& n : sub.nodes()) collect_reads(n, graph, out);
    for (const Value* v : sub.outputs())
      if (&v->graph() == &graph) out.push_back(v);
  });
}

}  // namespace

std::optional<int64_t> bytes_of(const ValueType& type) {
  const auto dims = type.is_tensor() ? type.static_dims() : std::nullopt;
  const auto count = dims ? checked_product(*dims) : std::nullopt;
  if (!count || bits_of(type.dtype) == 0 || *count > (int64_t{1} << 56)) return std::nullopt;
  return static_cast<int64_t>(size_bytes_of(type.dtype, static_cast<uint64_t>(*count)));
}

ActivationMemory activation_memory(const Graph& graph) {
  ActivationMemory out;
  std::vector<const Node*> nodes;
  for (const Node& n : graph.nodes()) nodes.push_back(&n);
  const auto bound = static_cast<size_t>(graph.value_id_bound());
  std::vector<int64_t> size(bound, -1);       // of values that are alive at some time
  std::vector<size_t> last(bound, SIZE_MAX);  // step of the last read
  std::vector<std::vector<const Value*>> reads(nodes.size());
  for (size_t i = 0; i < nodes.size(); ++i) {
    collect_reads(*nodes[i], graph, reads[i]);
    for (const Value* v : reads[i]) last[static_cast<size_t>(v->id())] = i;
  }
  // Larger ones are not meant; and no sum of them can overflow.
  constexpr int64_t kLargest = int64_t{1} << 40;
  int64_t live = 0;
  const auto begin = [&](const Value& v) {
    auto bytes = bytes_of(v.type());
    if (bytes > kLargest) bytes.reset();
    if (!bytes) ++out.unknown;
    size[static_cast<size_t>(v.id())] = bytes.value_or(0);
    live += bytes.value_or(0);
    out.total_bytes += bytes.value_or(0);
  };
  const auto end = [&](const Value& v, size_t step) {
    int64_t& bytes = size[static_cast<size_t>(v.id())];
    const size_t read = last[static_cast<size_t>(v.id())];
    if (bytes < 0 || v.is_graph_output() || (read != SIZE_MAX && read > step)) return;
    live -= bytes;
    bytes = -1;
  };
  for (const Value* v : graph.inputs())
    if (!v->initializer()) begin(*v);
  for (size_t i = 0; i < nodes.size(); ++i) {
    // Constants are stored, as initializers or as nodes.
    for (const Value* v : nodes[i]->outputs())
      if (v && (!nodes[i]->is("Constant") || v->is_graph_output())) begin(*v);
    out.steps.push_back({nodes[i], live});
    if (!out.peak || live > out.peak_bytes) out.peak = nodes[i], out.peak_bytes = live;
    for (const Value* v : reads[i]) end(*v, i);
    for (const Value* v : nodes[i]->outputs())
      if (v) end(*v, i);
  }
  return out;
}

}  // namespace onnxtool
