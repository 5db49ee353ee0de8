// What differs between two models, names of nodes and inner values ignored: nodes added, removed
// and changed, attributes and constants by value, and what users of the model see.
#pragma once

#include <string>
#include <vector>

#include "libopt/ir/model.h"

namespace onnxtool {

struct Difference {
  enum class Kind : uint8_t { kAdded, kRemoved, kChanged };
  Kind kind = Kind::kChanged;
  std::string
      place;  // "node 'conv1' (Conv)", "input 'x'", "opset ''"; of the test model where it has it
  std::string what;  // "attribute 'pads': [0, 0] -> [1, 1]"; empty for added and removed nodes
};

/// Header and interface first, then nodes in the order of the graphs. Nodes are paired by what they
/// compute (operator, attributes, inputs down to constants' bytes), the rest by operator and paired
/// inputs, then by operator and paired users, then in order. A Constant node is the same as an
/// initializer. Inner graphs count with all their nodes, functions by their names with the number
/// of inputs and outputs, attributes, opsets and all nodes of the body. Not looked at: producer,
/// documentation, order of nodes, types of inner values, and where data is stored. Constants of `a`
/// and `b` that differ are described by shape, digest and, for floats of equal shape, SQNR. Unread
/// ones (ir/unread.h) count as equal to all of their type and dims.
std::vector<Difference> model_differences(const Model& a, const Model& b);

/// One line per fact, in the order of the file, for line-based tools such as git's textconv:
/// header, inputs, outputs, constants by type and digest, unread ones by type and place, nodes.
std::string outline(const Model& model);

}  // namespace onnxtool
