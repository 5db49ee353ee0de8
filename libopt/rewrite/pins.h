// Nodes that no pass may touch.
#pragma once

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

 private:
  Model& model_;
};

}  // namespace onnxtool
