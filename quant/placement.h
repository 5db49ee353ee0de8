// Where Q and DQ go: which nodes run on integers, which tensors are quantized, and why the rest
// stays.
#pragma once

#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "libopt/ir/model.h"
#include "quant/ops/handler.h"
#include "quant/scheme.h"

namespace onnxtool {

/// A node that runs on integers.
struct IntegerNode {
  Node* node = nullptr;
  const OpHandler* handler = nullptr;
  /// Relu or Clip behind it, expressed by its output's range; nullptr: none.
  Node* activation = nullptr;
  /// Whether its result is quantized; false: the integer kernel gives floats.
  bool quantized_output = true;
  std::string_view kernel;  // what the target is predicted to run
  /// Its result: the activation's, where there is one.
  Value& result() const { return activation ? activation->output(0) : node->output(0); }
};

/// A node of the main graph and what happens to it.
struct NodeDecision {
  const Node* node = nullptr;
  bool integer = false;
  std::string_view kernel;  // the integer kernel; "absorbed" for activations
  const char* reason = "";  // why it stays float
};

/// A tensor whose integer form exists.
struct QuantizedTensor {
  Value* value = nullptr;
  /// Whose range it has: itself, or the input of the pass-through operators that made it.
  Value* range_owner = nullptr;
  bool unit_range = false;              // [0, 1] whatever was observed: Softmax under ort-compat
  bool one_sided = false;               // behind Relu: the zero point is qmin
  double low = -3.4e38, high = 3.4e38;  // bounds of a Clip behind which it stands
};

/// The reason of what was weighed and stays in float.
inline constexpr const char* kNoGain = "would not run faster on integers";

struct Placement {
  std::vector<IntegerNode> nodes;        // in graph order
  std::vector<NodeDecision> decisions;   // every node of the main graph, in graph order
  std::vector<QuantizedTensor> tensors;  // activations, in order of value id
  /// Values to observe: range owners but those of a unit range.
  std::vector<const Value*> watched;

  /// Of `nodes`.
  std::set<const Node*> integer_nodes() const;
};

/// The reason of what would run on integers with codes of another type.
inline constexpr const char* kNotFused = "the target does not fuse it with Q and DQ of these types";

/// Relu and Clip: a quantized range can express them.
bool is_activation(const Node& node);
/// [low, high] of a Relu or Clip; nullopt where the bounds are not constant or shut out zero, which
/// a quantized range always holds.
std::optional<std::pair<double, double>> activation_bounds(const Node& node);

/// Shapes of values by name, all extents known.
using TypicalShapes = std::unordered_map<std::string, std::vector<int64_t>>;

/// What inference makes of the options' input shapes; a value that it cannot settle is left out.
TypicalShapes typical_shapes(const Model& model, const QuantizeOptions& options);

/// What weighing goes by; values by name.
struct Weighing {
  TypicalShapes shapes;
  std::set<std::string> in_float;  // results that have been weighed, and stay float
  std::set<std::string> unfused;   // results of what the target was predicted not to fuse
  std::set<std::string> reshaped;  // results of Reshapes that only products on integers need
  /// Results of Gemms that were products and sums: what the selections say was asked of those.
  std::set<std::string> selected;
};

/// Decides on the prepared graph: what the target fuses, less what would run slower on integers, as
/// far as a guess from typical shapes goes. Layers that --include names are not weighed, nor is
/// anything for ort_compat. Nothing to quantize is not an error here: nodes is empty then.
Placement place(const Model& model, const QuantizeOptions& options, const Weighing& weighing);

}  // namespace onnxtool
