// Whether ONNX Runtime's CPU provider can run a node as it is: nothing is rewritten when a .ort
// file is loaded, so a node without a kernel of its types must be expanded or cast before.
//
// It is the newest release that is asked.
#pragma once

#include "libopt/ir/graph.h"
#include "libopt/ort/provider_kernel.h"
#include "libopt/support/status.h"

namespace onnxtool {

using CpuKernel = OrtKernel;

/// By the types of the node's values, which must be inferred, or those that `type_of` gives them; a
/// value of unknown type fits every kernel.
CpuKernel find_cpu_kernel(const Node& node, const TypeOf& type_of = {});

/// The error of a node that it cannot run, naming the node and what there is instead. Custom
/// operators, whose domain is not the runtime's own, pass: a library brings their kernels.
Status require_cpu_kernel(const Node& node);

}  // namespace onnxtool
