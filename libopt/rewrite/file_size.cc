#include "libopt/rewrite/file_size.h"

#include "libopt/io/encode.h"

namespace onnxtool {
namespace {

void add(FileSize& sum, const FileSize& size) {
  sum.nodes += size.nodes;
  sum.bytes += size.bytes;
}

}  // namespace

FileSize size_in_file(const Graph& graph) {
  FileSize size;
  for (const Node& n : graph.nodes()) {
    add(size, {1, static_cast<int64_t>(encode_node(n, /*with_subgraphs=*/false).size())});
    n.for_each_subgraph([&](Graph& sub) { add(size, size_in_file(sub)); });
  }
  for (const Value* v : graph.initializers())
    if (!v->unused() || v->is_graph_input())
      size.bytes += static_cast<int64_t>(encode_tensor(v->name(), *v->initializer()).size());
  return size;
}

FileSize size_in_file(const Model& model) {
  FileSize size = size_in_file(model.graph());
  for (const Function& f : model.functions) add(size, size_in_file(*f.body));
  return size;
}

}  // namespace onnxtool
