// One side of a comparison: whatever gives outputs for a sample.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "calib/data/source.h"
#include "calib/exec/plan.h"
#include "calib/ranges/collect.h"
#include "libopt/ir/datum.h"

namespace onnxtool {

struct OutputInfo {
  std::string name;
  DataType dtype = DataType::kUndefined;  // of its tensors; kUndefined: not known before running
  bool container = false;                 // a sequence, map or optional
};

class Side {
 public:
  virtual ~Side() = default;
  virtual const std::vector<OutputInfo>& outputs() const = 0;
  /// The outputs of sample `index`, in order. No two calls with the same worker overlap.
  virtual Status run(int worker, int64_t index, const Sample& sample, std::vector<Datum>* outputs,
                     Observer* observer) = 0;
};

struct InputInfo {
  std::string name;
  ValueType type;
};
/// What samples for a model hold: its inputs without a default, in order.
std::vector<InputInfo> inputs_of(const Graph& graph);

/// Which array of a sample fills each input of a second model.
struct InputPairing {
  std::vector<size_t> sample_input;  // by input of the second model, its defaults left out
  std::vector<DataType> convert_to;  // kUndefined: as it is
  std::vector<std::string> notes;    // what names alone did not tell
};
/// By name, else by position where the numbers of inputs and their types agree. Errors (kMismatch)
/// list both sides.
Result<InputPairing> pair_inputs(const std::vector<InputInfo>& reference, const Graph& test);
Result<InputPairing> pair_inputs(const Graph& reference, const Graph& test);

/// How many samples run at a time, and with how many threads in each.
struct Parallelism {
  int workers = 1, inside = 1;
  static Parallelism of(int64_t samples, int threads);
};

/// A model on samples that were made for it, or, with `inputs`, for the reference.
Result<std::unique_ptr<Side>> open_model_side(const Graph& graph, std::vector<const Value*> watched,
                                              const InputPairing* inputs, const RunOptions& run,
                                              Parallelism parallelism);

/// Outputs that stand for each other.
struct OutputPair {
  size_t reference = 0, test = 0;
};
struct OutputPairing {
  std::vector<OutputPair> pairs;     // in the reference's order
  std::vector<std::string> missing;  // of the reference, without counterpart
  std::vector<std::string> extra;    // of the test side, likewise
  std::vector<std::string> notes;    // pairs made by position
};
/// By name; what is left on both sides by position where as many are left and their types agree.
OutputPairing pair_outputs(std::span<const OutputInfo> reference, std::span<const OutputInfo> test);

ConstView view_of(const Tensor& tensor);

}  // namespace onnxtool
