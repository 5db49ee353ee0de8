// Runs passes over every graph of a model until nothing changes.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "libopt/rewrite/rule.h"
#include "libopt/rewrite/verifier.h"

namespace onnxtool {

struct PassReport {
  std::string_view pass;
  int fired = 0;
  double time_ms = 0;
};

/// Subgraphs are visited before the node that holds them. Passes run in the given order, repeatedly
/// while one fires, with types inferred before each round; each rule must make progress by itself
/// (fewer nodes, or a canonical form), and a bound on sweeps turns a pair of rules that undo each
/// other into an InternalError. Passes of level extended wait until the basic ones find nothing,
/// which do not know the operators that they write.
std::vector<PassReport> run_passes(Model& model, std::span<const PassInfo* const> passes,
                                   const PassContext& context);

/// The first rewrite after which the model computes something else.
struct Breach {
  std::string_view pass;   // empty: the model was another before the first rewrite
  std::string node;        // as it was called before the rewrite
  std::string difference;  // of the result with all rewrites
  int64_t number = 0;      // of the rewrite, from 1; 0 without a pass
};

struct VerifiedRun {
  std::vector<PassReport> passes;
  std::optional<Verification> verification;  // absent without a verifier
  std::optional<Breach> breach;
  /// Of a breach that a pass made, and the verifier found: the models before and after the rewrite,
  /// and inputs on which they differ.
  std::unique_ptr<Model> before_breach, after_breach;
  std::vector<NamedTensor> breach_inputs;
  /// Passes that were left out: one of their rewrites gave a model whose types contradict each
  /// other, or steps of integer codes (Exactness::kStep) went too far. `difference` is the reason.
  std::vector<Breach> dropped;
};

/// run_passes(), then a look at the types, then the verifier's judgement of the result. A pass that
/// brings a contradiction of types to light (a model may hide one that nobody runs into), or whose
/// steps of integer codes the verifier finds too far, is left out, and the rest is done again
/// without it. Nothing is judged where nothing fired, unless the
/// model was `changed` since the verifier saw the original. On a breach the culprit is found by
/// doing the first k rewrites only, for k by bisection.
VerifiedRun run_verified(std::unique_ptr<Model>& model, std::span<const PassInfo* const> passes,
                         const PassContext& context, Verifier* verifier, bool changed = false);

/// Erases initializers and values that nothing reads (never graph inputs or outputs).
void remove_unused_values(Graph& graph);

}  // namespace onnxtool
