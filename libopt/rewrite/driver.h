// Runs passes over every graph of a model until nothing changes.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "libopt/rewrite/rule.h"

namespace onnxtool {

struct PassReport {
  std::string_view pass;
  int fired = 0;
  double time_ms = 0;
};

/// Subgraphs are visited before the node that holds them. Passes run in the given order, repeatedly
/// while one fires, with types inferred before each round; each rule must make progress by itself
/// (fewer nodes, or a canonical form), and a bound on sweeps turns a pair of rules that undo each other
/// into an InternalError.
std::vector<PassReport> run_passes(Model& model, std::span<const PassInfo* const> passes, const PassContext& context);

/// Erases initializers and values that nothing reads (never graph inputs or outputs).
void remove_unused_values(Graph& graph);

}  // namespace onnxtool
