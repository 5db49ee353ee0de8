// Whether ONNX Runtime's CPU provider can run a node as it is: nothing is rewritten when a .ort
// file is loaded, so a node without a kernel of its types must be expanded or cast before.
//
// Source: the kernels of onnxruntime 1.31.1 (Linux, x86-64), listed by
// scripts/generate_ort_operators.py.
#pragma once

#include <functional>
#include <string>

#include "libopt/ir/graph.h"
#include "libopt/support/status.h"

namespace onnxtool {

enum class CpuKernel : uint8_t {
  kNoOperator,  // nothing of that name and opset is registered
  kNone,        // no kernel at the operator's version
  kOtherTypes,  // kernels for other types only
  kRuns,
};

/// By the types of the node's values, which must be inferred; a value of unknown type fits every
/// kernel.
CpuKernel find_cpu_kernel(const Node& node);
/// As if its values had the types that `type_of` gives them.
CpuKernel find_cpu_kernel(const Node& node, const std::function<ValueType(const Value&)>& type_of);

/// The error of a node that it cannot run, naming the node and what there is instead. Custom
/// operators, whose domain is not the runtime's own, pass: a library brings their kernels.
Status require_cpu_kernel(const Node& node);

/// As onnx's schemas spell types: tensor(float), seq(tensor(int64)), map(string,tensor(float)),
/// without the outer tensor(): `float`.
std::string schema_type_name(const ValueType& type);

}  // namespace onnxtool
