// What a model consists of, in numbers.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "libopt/ir/model.h"

namespace onnxtool {

struct Census {
  int64_t nodes = 0;           // of the main graph and of subgraphs at any depth, not of functions
  int64_t subgraph_nodes = 0;  // of them, those in subgraphs
  int64_t parameters = 0;      // elements of initializers and of constants in attributes; of sparse
                               // ones those that are stored
  /// Nodes by operator; other domains than ai.onnx in front, as in `com.microsoft.Gelu`.
  std::map<std::string, int64_t> by_operator;
};

Census count(const Model& model);

}  // namespace onnxtool
