// What a model must be before it is stored as .ort: nothing is rewritten when the runtime loads
// one.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "libopt/ir/model.h"
#include "libopt/ort/operators.h"
#include "libopt/support/status.h"
#include "libopt/target/runtime.h"

namespace onnxtool {

struct OrtPrepareOptions {
  const RuntimeRelease* runtime = nullptr;  // that must load the file; nullptr: the newest known
  std::vector<OrtCustomOperator> custom_operators;
  /// Weights that float16 would have to be cast from at every run become float. Otherwise a Cast
  /// stands before each, as the runtime puts it there, and the file keeps its size.
  bool widen_half_weights = true;
};

/// Brings the model into the form that the runtime gives it when it loads an .onnx file, with
/// nothing optimized: calls of functions are replaced by their bodies, and so are operators of the
/// standard that have no kernel but a body; constants of all forms become initializers; float16 is
/// computed in float where there is no other kernel; 4-bit weights are widened; names are unique;
/// unused initializers go. The result computes the same bits as the runtime does with optimizations
/// disabled. Returns what users should know. Errors name the node: an opset that the release does
/// not know, an operator without a kernel.
Result<std::vector<std::string>> prepare_for_ort(Model& model, const OrtPrepareOptions& options);

/// As far as that goes for the operators alone, whatever runtime and kernels there are: calls,
/// constants and float16 as above.
Status prepare_operators(Model& model);

// --- the steps, each on a graph and its subgraphs
// ------------------------------------------------------

/// Constant nodes and sparse initializers become initializers.
Status lift_constants(Graph& graph);
/// A Cast of a float16 weight to float becomes a float weight.
void widen_half_weights(Graph& graph);
/// Weights of 4 and 2 bits that only DequantizeLinear reads become 8-bit ones, with their zero
/// points. Returns how many.
int widen_packed_weights(Graph& graph);

/// 0 where the release is too old to read any version of the format; nullptr: the newest.
int ort_format_version(const RuntimeRelease* runtime);

}  // namespace onnxtool
