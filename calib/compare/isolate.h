// One layer of the test model as a model of its own, with what the reference feeds it: all that is
// needed to look at an error without the two models.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "calib/compare/layers.h"
#include "libopt/ir/attribute.h"
#include "libopt/ir/model.h"

namespace onnxtool {

struct IsolatedLayer {
  /// From the layers before it, under the test model's names, to the layer.
  std::unique_ptr<Model> model;
  std::vector<NamedTensor> inputs;  // the reference's values, in the types of the test model
  NamedTensor expected;             // the reference's result, likewise
  std::string sample;
  double sqnr_db = 0;  // of the model on `inputs` against `expected`; as LayerError's
};

/// The layer `pairs[which]` on the sample, of the source's first 64, on which it is furthest from
/// the reference. `run` is how the reference is run, `test_run` how the layer is. Errors: a model that does not run; kMismatch where no sample shows the layer.
Result<IsolatedLayer> isolate_layer(const Model& test, const Graph& reference,
                                    std::span<const LayerPair> pairs, size_t which,
                                    const InputPairing& inputs, const SampleSource& source,
                                    const RunOptions& run, const RunOptions& test_run);

}  // namespace onnxtool
