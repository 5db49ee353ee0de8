// Which kernels ONNX Runtime's providers have, release by release.
//
// Source: kernels.def, which says where its lines are from; scripts/generate_ort_kernels.py writes
// it.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "libopt/ir/graph.h"

namespace onnxtool {

enum class OrtProvider : uint8_t { kCpu, kCuda, kDirectMl };

struct OrtProviderInfo {
  OrtProvider id;
  std::string_view name;       // "cuda", as flags have it
  std::string_view full_name;  // "CUDAExecutionProvider"
  int oldest = 0, newest = 0;  // releases 1.N whose kernels are known
};
std::span<const OrtProviderInfo> ort_providers();
const OrtProviderInfo& ort_provider(OrtProvider provider);

/// What a provider has for a node.
enum class OrtKernel : uint8_t {
  kNoOperator,  // nothing of that name and opset is registered
  kNone,        // no kernel at the operator's version
  kOtherTypes,  // kernels for other types only
  kRuns,
};

using TypeOf = std::function<ValueType(const Value&)>;

/// In release 1.`release`, or the nearest that is known. By the types of the node's values, which
/// must be inferred: those that `type_of` gives them, else their own. A value of unknown type fits
/// every kernel.
OrtKernel find_ort_kernel(const Node& node, OrtProvider provider, int release,
                          const TypeOf& type_of = {});

/// Whether the CPU provider runs the node as the session runs it: what only lacks a float16 kernel
/// is computed in float, and an operator without a kernel by its definition where the node's opset
/// has one.
enum class OrtCpuRun : uint8_t { kNever, kKernel, kDefinition };
OrtCpuRun run_on_cpu(const Node& node, int release);

/// `float, int64`: the types of a node's inputs, for messages.
std::string input_type_names(const Node& node);

/// As onnx's schemas spell types: tensor(float), seq(tensor(int64)), map(string,tensor(float)),
/// without the outer tensor(): `float`.
std::string schema_type_name(const ValueType& type);

}  // namespace onnxtool
