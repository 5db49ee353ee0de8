// What running a model costs, by its types alone: multiply-accumulate operations, and memory of
// activations.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "libopt/ir/model.h"

namespace onnxtool {

/// Multiply-accumulate operations of one run of the node: convolutions, matrix products,
/// recurrences and attention; 0 for every other operator, nullopt where an extent that counts is
/// not known, and for calls of the model's functions. Subgraphs are not included.
std::optional<int64_t> macs_of(const Node& node);

/// Whether the node's operator is one of those that multiply, where no function of the model takes
/// its place.
bool is_counted(const Node& node);

/// Bytes of a value; nullopt where its type has no fixed size.
std::optional<int64_t> bytes_of(const ValueType& type);

/// Activations that are alive while a node runs: inputs and outputs of the graph and of nodes, from
/// where they are made to where they are read last. Constants are not included; a runtime that
/// works in place, or frees late, differs.
struct MemoryStep {
  const Node* node;
  int64_t live_bytes;
};
struct ActivationMemory {
  std::vector<MemoryStep> steps;  // in the order of the nodes
  int64_t peak_bytes = 0;
  const Node* peak = nullptr;  // nullptr in a graph without nodes
  int64_t total_bytes = 0;     // of all activations together
  int64_t unknown = 0;         // values without fixed size, counted as nothing
};
ActivationMemory activation_memory(const Graph& graph);

}  // namespace onnxtool
