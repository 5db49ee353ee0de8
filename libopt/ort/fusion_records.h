// What a runtime may fuse when it loads a .ort file, written down for it: the format's runtime
// optimizations.
#pragma once

#include <string>
#include <vector>

#include "libopt/ir/graph.h"

namespace onnxtool {

/// A Conv and the activation behind it, which become one FusedConv of com.microsoft.
struct OrtFusionRecord {
  const Node* conv;
  const Node* activation;
};

/// Those of the graph and its subgraphs.
std::vector<OrtFusionRecord> find_ort_fusions(const Graph& graph);

}  // namespace onnxtool
