// See cpu_kernel.h. A kernel matches as the runtime matches it: by the version range, and for every
// type string by the first argument that is there.

#include "libopt/ort/cpu_kernel.h"

#include <algorithm>
#include <utility>

#include "libopt/ort/since_version.h"

namespace onnxtool {
namespace {

struct Kernel {
  std::string_view domain, op;
  int first, last;  // last 0: matches its first version alone, as what comes after is not known
  std::string_view types;
};

constexpr Kernel kKernels[] = {
#define KERNEL(domain, op, first, last, types) {domain, op, first, last, types},
#include "libopt/ort/kernels.def"
#undef KERNEL
};

bool contains(std::string_view list, std::string_view type) {
  for (size_t at = 0; (at = list.find(type, at)) != std::string_view::npos; at += type.size()) {
    const size_t end = at + type.size();
    if ((at == 0 || list[at - 1] == '|') && (end == list.size() || list[end] == '|')) return true;
  }
  return false;
}

/// The first argument that is there; nullptr when there is none.
const Value* first_argument(const Node& node, const OrtTypeArgs& args) {
  for (const int i : args.inputs)
    if (node.has_input(i)) return &node.input(i);
  for (const int i : args.outputs)
    if (node.has_output(i)) return &node.output(i);
  return nullptr;
}

using TypeOf = std::function<ValueType(const Value&)>;

/// `constraint` is `T=float|double`.
bool fits(const Node& node, const TypeOf& type_of, const std::vector<OrtTypeArgs>& args,
          std::string_view constraint) {
  const size_t equals = constraint.find('=');
  const auto entry = std::ranges::find(args, constraint.substr(0, equals), &OrtTypeArgs::name);
  if (entry == args.end()) return true;
  const Value* value = first_argument(node, *entry);
  if (!value || value->type().kind == ValueType::Kind::kUnknown) return true;
  return contains(constraint.substr(equals + 1), schema_type_name(type_of(*value)));
}

bool fits_all(const Node& node, const TypeOf& type_of, const std::vector<OrtTypeArgs>& args,
              std::string_view types) {
  while (!types.empty()) {
    const size_t end = std::min(types.find(';'), types.size());
    if (!fits(node, type_of, args, types.substr(0, end))) return false;
    types.remove_prefix(std::min(end + 1, types.size()));
  }
  return true;
}

}  // namespace

CpuKernel find_cpu_kernel(const Node& node) {
  return find_cpu_kernel(node, [](const Value& v) { return v.type(); });
}

CpuKernel find_cpu_kernel(const Node& node, const TypeOf& type_of) {
  const OrtSchema* schema = find_ort_schema(node.domain(), node.op_type(), node.opset());
  if (!schema) return CpuKernel::kNoOperator;
  const std::vector<OrtTypeArgs> args = ort_type_args(*schema);
  const auto key = [](const Kernel& k) { return std::pair(k.domain, k.op); };
  bool covered = false;
  for (const Kernel& k :
       std::ranges::equal_range(kKernels, std::pair(schema->domain, schema->op), {}, key)) {
    const int last = k.last ? k.last : k.first;
    if (schema->since_version < k.first || schema->since_version > last) continue;
    if (fits_all(node, type_of, args, k.types)) return CpuKernel::kRuns;
    covered = true;
  }
  return covered ? CpuKernel::kOtherTypes : CpuKernel::kNone;
}

Status require_cpu_kernel(const Node& node) {
  constexpr std::string_view kOwnDomains[] = {"", "ai.onnx.ml", "com.microsoft"};
  if (std::ranges::find(kOwnDomains, node.domain()) == std::end(kOwnDomains)) return {};
  const std::string op = (node.domain().empty() ? "ai.onnx" : node.domain()) + "." + node.op_type();
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
  std::string types;
  for (const Value* v : node.inputs())
    types += (types.empty() ? "" : ", ") + (v ? schema_type_name(v->type()) : std::string("none"));
  return Error{ErrorCode::kUnsupported,
               node.describe() + ": ONNX Runtime has no CPU kernel of " + op +
                   " for inputs of types (" + types + ")",
               {}};
}

std::string schema_type_name(const ValueType& type) {
  const auto nested = [](const ValueType& t) {
    const std::string text = schema_type_name(t);
    return t.is_tensor() ? "tensor(" + text + ")" : text;
  };
  const std::string element = type.element ? nested(*type.element) : "";
  switch (type.kind) {
    case ValueType::Kind::kTensor: return std::string(name(type.dtype));
    case ValueType::Kind::kSparseTensor:
      return "sparse_tensor(" + std::string(name(type.dtype)) + ")";
    case ValueType::Kind::kSequence: return "seq(" + element + ")";
    case ValueType::Kind::kOptional: return "optional(" + element + ")";
    case ValueType::Kind::kMap: return "map(" + std::string(name(type.dtype)) + "," + element + ")";
    default: return "unknown";
  }
}

}  // namespace onnxtool
