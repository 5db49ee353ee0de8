// A float32 model in 16-bit floats: which nodes compute in them, and the model with the Casts that
// this takes.
#pragma once

#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "calib/ranges/calibrator.h"
#include "calib/ranges/collect.h"
#include "libopt/ir/model.h"
#include "libopt/target/target.h"
#include "quant/placement.h"
#include "quant/prepare.h"
#include "quant/selection.h"

namespace onnxtool {

struct HalfOptions {
  DataType type = DataType::kFloat16;  // or kBfloat16
  const Target* target = &kOrtCpu;
  bool keep_io_types = false;  // inputs and outputs stay float32
  bool no_opset_change = false;
  Selection include, exclude;
};

/// What values held while samples ran, by name.
using MeasuredRanges = std::unordered_map<std::string, Range>;

/// Of every float32 value of the main graph. Errors: samples that cannot be read or run.
Result<MeasuredRanges> measure_ranges(const Model& model, const SampleSource& source,
                                      const RunOptions& run);

/// Constants in the 16-bit type, each converted once. Threads share the work, not the result.
class HalfConstants {
 public:
  explicit HalfConstants(DataType type) : type_(type) {}

  struct Entry {
    Tensor tensor, source;   // the source keeps its bytes, which are the key
    bool overflows = false;  // a finite element becomes infinite
    bool vanishes = false;  // loses more than rounding does: elements below the type's normal range
    bool fits() const { return !overflows && !vanishes; }
  };
  /// `mask`: what shuts positions out of attention, -3.4e38 and the like, becomes -32768, which
  /// does the same and leaves room to add scores.
  const Entry& of(const Tensor& tensor, bool mask);
  int masks() const { return masks_; }

 private:
  DataType type_;
  std::map<std::pair<const std::byte*, bool>, Entry> entries_;  // by bytes and `mask`
  int masks_ = 0;
};

/// Decisions on a prepared model. Its nodes are numbered as all_nodes() gives them, so that a plan
/// holds for a clone.
struct HalfPlan {
  std::vector<bool> half;               // by node
  std::vector<bool> inputs, outputs;    // of the main graph, by position: become 16-bit
  std::vector<NodeDecision> decisions;  // nodes with float data; integer: computes in 16 bits
};

/// Nodes of the main graph and of all bodies within, a node before those of its bodies.
std::vector<Node*> all_nodes(const Graph& graph);

/// Weights out of the inputs of old files, functions inlined, constants folded, BatchNormalization
/// into the layer before it; the opset raised to what the type needs.
Result<Preparation> prepare_for_half(std::unique_ptr<Model>& model, const HalfOptions& options);

/// Every node that the standard admits in 16 bits computes in them, unless its numbers do not fit,
/// as far as `ranges` (nullptr: none were measured), constants and the operator tell, or a Cast
/// costs more than it gains: the number of Casts is the least.
HalfPlan plan_half(const Model& model, const HalfOptions& options, const MeasuredRanges* ranges,
                   HalfConstants& constants);

struct HalfReport {
  int casts = 0;                // inserted
  int64_t converted_bytes = 0;  // of float32 constants that are 16-bit now
};

/// `model` is the planned one or a clone of it. Inputs, outputs and values keep their names.
HalfReport apply_half(Model& model, const HalfPlan& plan, const HalfOptions& options,
                      HalfConstants& constants);

/// Only the weights in 16 bits, each behind a Cast: for targets that do not compute in the type.
HalfReport store_half(Model& model, HalfConstants& constants);

// --- shared by the files of this part ---

/// Inputs and outputs of float32 whose type changes with the node's, and those that are always
/// float32. Places that take any type (Shape, the input of Cast) are in neither.
struct HalfPlaces {
  std::vector<int> inputs, outputs, fixed_inputs, fixed_outputs;
  bool known = true;  // false: nobody knows what the operator admits
};
HalfPlaces half_places(const Node& node, DataType type);

/// A tensor of float32.
inline bool is_float_tensor(const Value& v) {
  return v.type().is_tensor() && v.type().dtype == DataType::kFloat;
}

}  // namespace onnxtool
