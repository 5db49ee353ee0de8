// See provider_kernel.h. A kernel matches as the runtime matches it: by the version range, and for
// every type string by the first argument that is there.

#include "libopt/ort/provider_kernel.h"

#include <algorithm>
#include <string>
#include <tuple>

#include "libopt/analysis/functions.h"
#include "libopt/ort/since_version.h"

namespace onnxtool {
namespace {

using enum OrtProvider;

struct Kernel {
  OrtProvider provider;
  std::string_view domain, op;
  int first, last;   // last 0: matches its first version alone, as what comes after is not known
  int since, until;  // releases; until 0: the newest that is listed still has it
  std::string_view types;
};

struct Listed {
  OrtProvider provider;
  int oldest, newest;
};

#define LISTED(provider, oldest, newest)
#define KERNEL(provider, domain, op, first, last, since, until, types) \
  {provider, domain, op, first, last, since, until, types},
constexpr Kernel kKernels[] = {
#include "libopt/ort/kernels.def"
};
#undef LISTED
#undef KERNEL

constexpr auto key_of(const Kernel& k) { return std::tuple(k.provider, k.domain, k.op); }
// Lines are found by bisection.
static_assert(std::ranges::is_sorted(kKernels, {}, key_of));

#define LISTED(provider, oldest, newest) {provider, oldest, newest},
#define KERNEL(...)
constexpr Listed kListed[] = {
#include "libopt/ort/kernels.def"
};
#undef LISTED
#undef KERNEL

constexpr OrtProviderInfo provider_info(OrtProvider id, std::string_view name,
                                        std::string_view full_name) {
  for (const Listed& l : kListed)
    if (l.provider == id) return {id, name, full_name, l.oldest, l.newest};
  return {id, name, full_name};
}

constexpr OrtProviderInfo kProviders[] = {
    provider_info(kCpu, "cpu", "CPUExecutionProvider"),
    provider_info(kCuda, "cuda", "CUDAExecutionProvider"),
    provider_info(kDirectMl, "dml", "DmlExecutionProvider"),
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

/// `constraint` is `T=float|double`.
bool fits(const Node& node, const TypeOf& type_of, const std::vector<OrtTypeArgs>& args,
          std::string_view constraint) {
  const size_t equals = constraint.find('=');
  const auto entry = std::ranges::find(args, constraint.substr(0, equals), &OrtTypeArgs::name);
  if (entry == args.end()) return true;
  const Value* value = first_argument(node, *entry);
  if (!value || value->type().kind == ValueType::Kind::kUnknown) return true;
  return contains(constraint.substr(equals + 1),
                  schema_type_name(type_of ? type_of(*value) : value->type()));
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

std::span<const OrtProviderInfo> ort_providers() { return kProviders; }

const OrtProviderInfo& ort_provider(OrtProvider provider) {
  return *std::ranges::find(kProviders, provider, &OrtProviderInfo::id);
}

OrtKernel find_ort_kernel(const Node& node, OrtProvider provider, int release,
                          const TypeOf& type_of) {
  const OrtSchema* schema = find_ort_schema(node.domain(), node.op_type(), node.opset());
  if (!schema) return OrtKernel::kNoOperator;
  const OrtProviderInfo& info = ort_provider(provider);
  release = std::clamp(release, info.oldest, info.newest);
  const std::vector<OrtTypeArgs> args = ort_type_args(*schema);
  bool covered = false;
  for (const Kernel& k : std::ranges::equal_range(
           kKernels, std::tuple(provider, schema->domain, schema->op), {}, key_of)) {
    if (release < k.since || (k.until && release > k.until)) continue;
    const int last = k.last ? k.last : k.first;
    if (schema->since_version < k.first || schema->since_version > last) continue;
    if (fits_all(node, type_of, args, k.types)) return OrtKernel::kRuns;
    covered = true;
  }
  return covered ? OrtKernel::kOtherTypes : OrtKernel::kNone;
}

OrtCpuRun run_on_cpu(const Node& node, int release) {
  const OrtKernel own = find_ort_kernel(node, kCpu, release);
  if (own == OrtKernel::kRuns) return OrtCpuRun::kKernel;
  if (own == OrtKernel::kNoOperator) return OrtCpuRun::kNever;
  const auto in_float = [](const Value& v) {
    ValueType type = v.type();
    if (type.is_tensor() && type.dtype == DataType::kFloat16) type.dtype = DataType::kFloat;
    return type;
  };
  if (find_ort_kernel(node, kCpu, release, in_float) == OrtKernel::kRuns) return OrtCpuRun::kKernel;
  const auto definition = runtime_function(node);
  return definition.ok() && *definition ? OrtCpuRun::kDefinition : OrtCpuRun::kNever;
}

std::string input_type_names(const Node& node) {
  std::string types;
  for (const Value* v : node.inputs())
    types += (types.empty() ? "" : ", ") + (v ? schema_type_name(v->type()) : std::string("none"));
  return types;
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
