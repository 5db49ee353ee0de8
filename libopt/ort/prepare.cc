#include "libopt/ort/prepare.h"

#include <algorithm>

#include "libopt/analysis/census.h"
#include "libopt/analysis/seam.h"
#include "libopt/convert/convert_opset.h"
#include "libopt/ort/cpu_kernel.h"
#include "libopt/ort/half_casts.h"
#include "libopt/rewrite/driver.h"
#include "libopt/rewrite/inline_calls.h"
#include "libopt/rewrite/node_names.h"

namespace onnxtool {
namespace {

bool is_custom(const Node& n, std::span<const OrtCustomOperator> custom) {
  return std::ranges::any_of(custom, [&](const OrtCustomOperator& c) {
    return c.op_type == n.op_type() && c.domain == n.domain();
  });
}

template <class F>
Status for_each_node(Graph& graph, const F& f) {
  for (Node& n : graph.nodes()) {
    ONNXTOOL_TRY(f(n));
    Status status;
    n.for_each_subgraph([&](Graph& sub) {
      if (status.ok()) status = for_each_node(sub, f);
    });
    ONNXTOOL_TRY(std::move(status));
  }
  return {};
}

bool uses_domain(Graph& graph, std::string_view domain) {
  bool used = false;
  const Status all = for_each_node(graph, [&](Node& n) -> Status {
    used |= n.domain() == domain;
    return {};
  });
  return all.ok() && used;
}

Status check_opsets(Model& model, const RuntimeRelease& runtime) {
  const auto check = [&](std::string_view domain, int64_t newest) -> Status {
    const int64_t found = model.opset(domain);
    if (found <= newest) return {};
    return Error{ErrorCode::kUnsupported,
                 "the model has opset " + std::to_string(found) +
                     (domain.empty() ? "" : " of " + std::string(domain)) + ", and " +
                     std::string(runtime.name) + " knows up to " + std::to_string(newest),
                 "choose a newer --runtime, or export the model with an older opset"};
  };
  ONNXTOOL_TRY(check("", runtime.opset));
  // Exporters import domains that no node is of.
  if (!uses_domain(model.graph(), "ai.onnx.ml")) return {};
  return check("ai.onnx.ml", runtime.ml_opset);
}

// Calls of the model's functions, and operators that the runtime only knows by their definition.
Status expand(Model& model, std::span<const OrtCustomOperator> custom) {
  const auto has_no_kernel = [&](const Node& n) {
    const CpuKernel kernel = find_cpu_kernel(n);
    return !is_custom(n, custom) &&
           (kernel == CpuKernel::kNone || kernel == CpuKernel::kOtherTypes);
  };
  ONNXTOOL_TRY(inline_calls(model.graph(), has_no_kernel));
  model.functions.clear();
  return {};
}

// A subgraph's output that is a value of a graph around it: the runtime wants one of its own.
void own_outputs(Graph& graph) {
  for (Node& n : graph.nodes())
    n.for_each_subgraph([](Graph& sub) {
      for (size_t i = 0; i < sub.outputs().size(); ++i) {
        Value& outer = *sub.outputs()[i];
        if (&outer.graph() == &sub) continue;
        Value& own = sub.add_value("", outer.name());
        own.set_type(outer.type());
        sub.add_node("Identity", "", "", {&outer}, {&own});
        sub.set_output(i, own);
      }
      own_outputs(sub);
    });
}

void drop_unused(Graph& graph) {
  for (Node& n : graph.nodes()) n.for_each_subgraph([](Graph& sub) { drop_unused(sub); });
  remove_unused_values(graph);
}

Status check_kernels(Graph& graph, std::span<const OrtCustomOperator> custom) {
  return for_each_node(graph, [&](Node& n) -> Status {
    if (is_custom(n, custom)) return {};
    if (n.domain() == "com.microsoft.nchwc" || n.domain() == "com.ms.internal.nhwc")
      return Error{ErrorCode::kUnsupported,
                   n.describe() + ": stands in a layout for one kind of machine",
                   "convert the model from before it was optimized for a machine"};
    const std::string version = "opset " + std::to_string(n.opset());
    switch (find_cpu_kernel(n)) {
      case CpuKernel::kRuns: return {};
      case CpuKernel::kNoOperator:
        return Error{ErrorCode::kUnsupported,
                     n.describe() + ": onnxruntime has no such operator at " + version,
                     "a custom operator must be declared with --custom-ops"};
      case CpuKernel::kNone:
        return Error{ErrorCode::kUnsupported,
                     n.describe() + ": onnxruntime has no CPU kernel for " + version,
                     "export the model at a newer opset"};
      case CpuKernel::kOtherTypes: break;
    }
    std::string types;
    for (const Value* v : n.inputs())
      types += (types.empty() ? "" : ", ") + (v ? schema_type_name(v->type()) : "-");
    return Error{
        ErrorCode::kUnsupported,
        n.describe() + ": onnxruntime has no CPU kernel for inputs of " + types + " at " + version,
        {}};
  });
}

// What other values than the graph's own inputs and outputs are declared to be, where operators say
// it too.
void forget_declared_types(Graph& graph) {
  for (Node& n : graph.nodes()) {
    n.for_each_subgraph([](Graph& sub) { forget_declared_types(sub); });
    if (!find_schema(n.op_type(), n.domain(), n.opset())) continue;
    for (Value* v : n.outputs())
      if (v && !v->is_graph_output()) v->set_type({});
  }
}

// Tools leave stale declarations behind, which the runtime overrules with a warning.
Status infer_leniently(Graph& graph) {
  if (infer_graph(graph).ok()) return {};
  forget_declared_types(graph);
  return infer_graph(graph);
}

// Up to where float16 matters; how many initializers are no inputs any more.
Result<int> expand_operators(Model& model, std::span<const OrtCustomOperator> custom) {
  Graph& graph = model.graph();
  ONNXTOOL_TRY(lift_constants(graph));
  ONNXTOOL_TRY(infer_leniently(graph));
  ONNXTOOL_TRY(expand(model, custom));
  ONNXTOOL_TRY(lift_constants(graph));  // of the bodies
  const int promoted = promote_initializers(model);
  own_outputs(graph);
  ONNXTOOL_TRY(infer_graph(graph));
  return promoted;
}

}  // namespace

Status prepare_operators(Model& model) {
  ONNXTOOL_ASSIGN([[maybe_unused]] const int promoted, expand_operators(model, {}));
  insert_half_casts(model.graph());
  return {};
}

Result<std::vector<std::string>> prepare_for_ort(Model& model, const OrtPrepareOptions& options) {
  std::vector<std::string> notes;
  const auto counted = [&](int n, const std::string& one, const std::string& many) {
    if (n) notes.push_back(std::to_string(n) + " " + (n == 1 ? one : many));
  };
  Graph& graph = model.graph();
  ONNXTOOL_TRY(check_opsets(model, options.runtime ? *options.runtime : all_runtimes().back()));
  ONNXTOOL_ASSIGN(const int promoted, expand_operators(model, options.custom_operators));
  counted(promoted,
          "initializer is no longer listed as a graph input, as IR versions below 4 had to",
          "initializers are no longer listed as graph inputs, as IR versions below 4 had to");
  counted(widen_packed_weights(graph), "constant of less than 8 bits is stored with 8",
          "constants of less than 8 bits are stored with 8");
  const auto casts = count(model).by_operator["Cast"];
  insert_half_casts(graph);
  if (count(model).by_operator["Cast"] != casts)
    notes.push_back("nodes without a float16 kernel compute in float");
  if (options.widen_half_weights) widen_half_weights(graph);
  drop_unused(graph);
  make_node_names_unique(graph);
  ONNXTOOL_TRY(infer_graph(graph));
  ONNXTOOL_TRY(check_kernels(graph, options.custom_operators));
  return notes;
}

int ort_format_version(const RuntimeRelease* runtime) {
  if (!runtime) return 6;
  const int number = runtime->number();
  return number < 13 ? 0 : number < 16 ? 5 : 6;
}

}  // namespace onnxtool
