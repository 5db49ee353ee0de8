// What of a node an older version of its operator does not take.
#pragma once

#include <string>
#include <vector>

#include "libopt/ir/graph.h"

namespace onnxtool {

struct OlderForm {
  /// Attributes that the older version does not have, and that say what would hold without them.
  std::vector<std::string> redundant;
  /// Why the node has no place there, apart from these; empty: it has.
  std::string obstacle;
};

/// Whether the standard had no such operator before `version` of ai.onnx.
bool is_new(const Node& node, int version);

/// For a node of the standard that is valid in version `from` of ai.onnx: its form in version `to`.
/// Attributes, numbers of inputs and outputs and their types are looked at, not what the operator
/// computes. What has no known type is let through.
OlderForm older_form(const Node& node, int from, int to);

}  // namespace onnxtool
