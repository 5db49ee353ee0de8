// Whether a no-op's readers can read what it reads.
#pragma once

#include "libopt/ir/graph.h"

namespace onnxtool {

/// Why the readers of `from` cannot read `to` instead, although both hold the same; nullptr: they
/// can.
inline const char* cannot_forward(const Value& from, const Value& to) {
  if (!from.is_graph_output()) return nullptr;
  // The output keeps its name, which `to` can only take when it has none of its own to keep.
  if (to.is_graph_output()) return "input and output are both graph outputs";
  if (!to.producer() || &to.graph() != &from.graph())
    return "graph output would have no node that makes it";
  return nullptr;
}

}  // namespace onnxtool
