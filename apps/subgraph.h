// --inputs and --outputs: the part of a model between named values.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "libopt/ir/model.h"
#include "libopt/support/status.h"

namespace onnxtool {

struct SubgraphFlags {
  std::vector<std::string> inputs, outputs;
  bool given() const { return !inputs.empty() || !outputs.empty(); }
};

void add_subgraph_flags(CLI::App& command, SubgraphFlags& flags, const std::string& group);

/// The model between the named values of its main graph, in the order in which they are named.
/// Without --inputs these are the model's own, as far as they are read; without --outputs they are
/// the model's own. Types must be inferred: what becomes an input has its type from there. Notes
/// name inputs that nothing reads. Errors: unknown names, with close ones; outputs that no node
/// makes; inputs that do not suffice, with those that are missing.
Result<std::unique_ptr<Model>> subgraph_of(const Model& model, const SubgraphFlags& flags,
                                           std::vector<std::string>& notes);

}  // namespace onnxtool
