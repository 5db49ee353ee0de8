// Nodes that no pass may touch.
#pragma once

#include <string>

#include "libopt/ir/model.h"
#include "libopt/ir/selector.h"

namespace onnxtool {

/// While it lives, the selected nodes pose as operators of a domain that nobody knows: no rule
/// matches them, nothing folds them, and they count as having effects, so they stay even where
/// nobody reads them. Types of their outputs should have been inferred before, since nothing infers
/// them now.
class Pins {
 public:
  Pins(Model& model, const Selector& selector);
  ~Pins();
  Pins(const Pins&) = delete;
  Pins& operator=(const Pins&) = delete;

  /// Why ai.onnx cannot be raised to `target` with the selected nodes as they are: they would mean
  /// something else there. Empty: it can.
  std::string raise_obstacle(int target) const;

 private:
  Model& model_;
  bool any_;  // whether any node may be disguised
};

}  // namespace onnxtool
