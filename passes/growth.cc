#include "passes/growth.h"

#include <algorithm>

#include "libopt/io/encode.h"

namespace onnxtool {

int64_t bytes_freed_with(const Node& node) {
  int64_t bytes = static_cast<int64_t>(encode_node(node, /*with_subgraphs=*/false).size());
  for (const Value* v : node.inputs()) {
    const Tensor* t = v ? v->constant() : nullptr;
    const bool only_here =
        t && !v->is_graph_output() &&
        std::ranges::all_of(v->uses(), [&](const Use& u) { return u.user == &node; });
    if (only_here) bytes += static_cast<int64_t>(encode_tensor(v->name(), *t).size());
  }
  return bytes;
}

bool may_grow(const PassContext& context, int64_t added_bytes, int64_t freed_bytes) {
  const int64_t excess = added_bytes - freed_bytes - kNegligibleGrowth;
  if (excess <= 0) return true;
  if (excess > context.max_growth_bytes - context.state->grown_bytes) {
    context.state->refused_growth = true;
    return false;
  }
  context.state->grown_bytes += excess;
  return true;
}

}  // namespace onnxtool
