// What every way of quantizing a model gives: the new model, and what a report says of it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "calib/compare/layers.h"
#include "libopt/ir/model.h"
#include "quant/placement.h"

namespace onnxtool {

struct QuantizedModel {
  std::unique_ptr<Model> model;
  /// The float model after preparation, to which `decisions` and `layers` refer.
  std::shared_ptr<const Model> reference;
  /// Nodes of `reference`: what became of each, and why the others stay as they are.
  std::vector<NodeDecision> decisions;
  /// Values of `reference` and of `model` that stand for each other, for per-layer errors.
  std::vector<LayerPair> layers;
  /// What `layers` refer to where `model` keeps no floats to compare: the same in QDQ form.
  std::shared_ptr<const Model> by_layer;
};

}  // namespace onnxtool
