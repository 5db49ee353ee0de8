// What a runtime may fuse when it loads a .ort file, written down for it: the format's runtime
// optimizations.
#pragma once

#include <string_view>
#include <vector>

#include "libopt/ir/graph.h"

namespace onnxtool {

/// One rewrite that an optimizer of the runtime does again, by the names that both have there.
struct OrtFusionRecord {
  std::string_view optimizer, action;
  /// What is before the node that is rewritten (`inputs` of them; nullptr: an optional one that is
  /// absent), that node, and what is behind it.
  std::vector<const Node*> nodes;
  int inputs = 0, outputs = 0;
  bool variadic = false;  // the inputs are of one parameter
  /// The operator that is made; none where the node itself stays.
  std::string_view domain = {}, op_type = {};
  int since_version = 1;

  const Graph& graph() const { return nodes[static_cast<size_t>(inputs)]->graph(); }
};

/// A Conv and the activation behind it, which become one FusedConv of com.microsoft: those of the
/// graph and its subgraphs.
std::vector<OrtFusionRecord> find_ort_fusions(const Graph& graph);

}  // namespace onnxtool
