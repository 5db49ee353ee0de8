// A graph cut into what an execution provider takes and what stays on the CPU, as ONNX Runtime cuts
// it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "libopt/ir/model.h"

namespace onnxtool {

/// A value that is made on one side and read on the other. One copy each, however many read it. One
/// that parts hand over on the CPU crosses twice.
struct Border {
  const Value* value;
  bool onto_provider;            // false: from the provider to the CPU
  std::optional<int64_t> bytes;  // nullopt: extents are not known
};

struct Partition {
  int nodes = 0, taken = 0;  // subgraphs included, Constant nodes not
  int nodes_in_subgraphs = 0;
  /// The nodes of each part that the provider takes, in the order in which it takes them.
  std::vector<std::vector<const Node*>> parts;
  /// In the order of the values. Inputs and outputs of the model, which the caller has on the CPU,
  /// count; constants, which are copied once, do not.
  std::vector<Border> borders;
};

/// Where a provider keeps values between its parts.
enum class PartMemory : uint8_t {
  kShared,   // on its device: nothing is copied from one part to another
  kCpuOnly,  // its parts are compiled each for itself, and hand values over on the CPU
};

/// Nodes are taken as their producers are done, and one that is left and reads from the open part
/// waits until that part is closed. `takes` is asked once for each node. Subgraphs are cut for
/// themselves; what they read of the graphs around them is no border.
Partition partition_graph(const Graph& graph, const std::function<bool(const Node&)>& takes,
                          PartMemory memory = PartMemory::kShared);

/// Nodes that compute: Constant nodes become initializers.
std::vector<const Node*> computing_nodes(const Graph& graph);
/// The computing nodes of `graph` that a node, or a subgraph of it, reads from.
std::vector<const Node*> producers_of(const Graph& graph, const Node& node);

}  // namespace onnxtool
