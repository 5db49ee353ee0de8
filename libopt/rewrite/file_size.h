// What a model's graphs take in a file, for decisions that weigh it.
#pragma once

#include <cstdint>

#include "libopt/ir/model.h"

namespace onnxtool {

struct FileSize {
  int64_t nodes = 0, bytes = 0;
};

/// Nodes and the constants that something reads, subgraphs included.
FileSize size_in_file(const Graph& graph);
/// Of the main graph and the functions.
FileSize size_in_file(const Model& model);

}  // namespace onnxtool
