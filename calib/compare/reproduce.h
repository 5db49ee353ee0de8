// What one rewrite broke, alone: the smallest part of a model that it changed, before and after.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "libopt/ir/attribute.h"
#include "libopt/ir/model.h"
#include "libopt/support/status.h"

namespace onnxtool {

/// Two models of the same inputs and outputs.
struct Reproduction {
  std::unique_ptr<Model> original, rewritten;
  std::vector<NamedTensor> inputs;
  std::vector<NamedTensor> expected;  // what the original gives
  std::vector<NamedTensor> found;     // what the rewritten one gives; empty where it fails
  std::string failure;                // how it fails
};

/// `before` and `after` are a rewrite apart, and `inputs` are the model's (those that
/// make_runnable() gives it, too) on which they differ. The part is what both compute under names
/// that they share, from the nearest values that both compute alike; the output kept is the one
/// that is furthest off. Values that the rewrite leaves alone must keep their names. Where no part
/// shows a difference, the whole models do. Errors: a model that cannot be run.
Result<Reproduction> reproduce(const Model& before, const Model& after,
                               const std::vector<NamedTensor>& inputs, int threads);

}  // namespace onnxtool
