#include "libopt/ort/cpu_kernel.h"

#include <algorithm>

#include "libopt/ir/operator_name.h"

namespace onnxtool {

CpuKernel find_cpu_kernel(const Node& node, const TypeOf& type_of) {
  return find_ort_kernel(node, OrtProvider::kCpu, ort_provider(OrtProvider::kCpu).newest, type_of);
}

Status require_cpu_kernel(const Node& node) {
  constexpr std::string_view kOwnDomains[] = {"", "ai.onnx.ml", "com.microsoft"};
  if (std::ranges::find(kOwnDomains, node.domain()) == std::end(kOwnDomains)) return {};
  const std::string op = full_operator_name(node);
  const std::string opset = std::to_string(node.opset());
  const char* const hint = "change the model's opset (onnxtool optimize --opset N)";
  switch (find_cpu_kernel(node)) {
    case CpuKernel::kRuns: return {};
    case CpuKernel::kNoOperator:
      return Error{ErrorCode::kUnsupported,
                   node.describe() + ": ONNX Runtime has no operator " + op + " at opset " + opset,
                   hint};
    case CpuKernel::kNone:
      return Error{
          ErrorCode::kUnsupported,
          node.describe() + ": ONNX Runtime has no CPU kernel of " + op + " at opset " + opset,
          hint};
    case CpuKernel::kOtherTypes: break;
  }
  return Error{ErrorCode::kUnsupported,
               node.describe() + ": ONNX Runtime has no CPU kernel of " + op +
                   " for inputs of types (" + input_type_names(node) + ")",
               {}};
}

}  // namespace onnxtool
