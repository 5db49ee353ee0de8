// A part of a model's main graph as a model of its own.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "libopt/ir/model.h"

namespace onnxtool {

/// What `outputs` need as inputs where `inputs`, values of the main graph, are not computed: those
/// of the model's own inputs (the ones with a default apart, which becomes a constant) that the way
/// to them reads, and behind them those of `inputs`.
std::vector<const Value*> needed_inputs(const Model& model, std::span<const Value* const> inputs,
                                        std::span<const Value* const> outputs);

/// The nodes between, with what their subgraphs read and all functions. The new model has just
/// these inputs and outputs, in this order, under their names; an initializer among the inputs
/// loses its value, unless it was an input before. `inputs` hold all of needed_inputs().
std::unique_ptr<Model> extract(const Model& model, std::span<const Value* const> inputs,
                               std::span<const Value* const> outputs);

}  // namespace onnxtool
