// Where two models part: the error of every layer, either as it has grown up to there (cumulative)
// or as the layer makes it when it is fed the reference's values (local).
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "calib/compare/energy.h"
#include "calib/compare/side.h"
#include "libopt/analysis/align.h"

namespace onnxtool {

/// A value of the reference and the value of the test model that stands for it.
struct LayerPair {
  const Value* reference;
  const Value* test;
  CodeParams codes = {};  // of a test value that holds 8-bit codes; scale 0: it does not
};

/// One layer over all samples.
struct LayerError {
  std::string name;         // of the reference's value
  double sqnr_db = 0;       // 10 log10(sum r^2 / sum e^2); +inf: no error; NaN: nothing compared
  double max_abs = 0;       // of the finite pairs
  uint64_t compared = 0;    // elements
  uint64_t non_finite = 0;  // elements that are NaN or infinite on one side, or unequal infinities
  int64_t skipped_samples = 0;  // where shapes or types differ
};

enum class LayerMode : uint8_t { kCumulative, kLocal };

struct LayerOptions {
  LayerMode mode = LayerMode::kCumulative;
  int64_t max_samples = -1;  // from the start; negative: all
  /// What the reference may be ahead of the test model in each sample that is run: the two take
  /// turns. Few enough to be in some cache still when they are compared. More where the models
  /// compute their layers in different orders.
  uint64_t budget_bytes = uint64_t{8} << 20;
  /// Those that the test model runs on; empty: those of the run.
  std::vector<const KernelSet*> test_kernel_sets = {};
};

/// In the order of `pairs`, which must be that of the reference's graph. Floating values only:
/// others stay NaN. Local: every test value of `pairs` is replaced by the reference's once it is
/// compared, so that what follows is fed the reference's values. The result does not depend on
/// threads; memory neither on samples nor on the number of layers.
Result<std::vector<LayerError>> compare_layers(const Graph& reference, const Graph& test,
                                               std::span<const LayerPair> pairs,
                                               const InputPairing* inputs,
                                               const SampleSource& source, const RunOptions& run,
                                               const LayerOptions& options);

/// A value that outlives the run it was seen in.
Tensor tensor_of(const ConstView& view);

/// A layer's value of the reference as the test model keeps it, 8-bit codes as QuantizeLinear gives
/// them (that of NaN is the lowest); nullopt: it cannot.
std::optional<Tensor> as_type(const Tensor& value, DataType type, const CodeParams& codes);

}  // namespace onnxtool
