// Findings about what a release of ONNX Runtime makes of the nodes when it loads the model.
#include <algorithm>
#include <map>
#include <set>
#include <unordered_map>

#include "libopt/analysis/formal_types.h"
#include "libopt/analysis/functions.h"
#include "libopt/analysis/seam.h"
#include "libopt/check/family.h"
#include "libopt/ir/operator_name.h"

namespace onnxtool::check {
namespace {

bool is_own_domain(const std::string& domain) {
  return domain.empty() || domain.starts_with("ai.onnx.") || domain == "com.microsoft";
}

std::string input_types(const Node& n) {
  const std::string types = input_type_names(n);
  return types.empty() ? "no inputs" : "inputs of " + types;
}

// Whether inputs that must be of one type are of several.
bool mixes_types(const Node& n) {
  std::map<std::string, DataType> bound;
  for (int i = 0; i < n.num_inputs(); ++i) {
    if (!n.has_input(i) || !n.input(i).type().is_tensor()) continue;
    const DataType dtype = n.input(i).type().dtype;
    const FormalTypes formal = formal_types(n, dtype);
    if (dtype == DataType::kUndefined || formal.inputs.size() <= static_cast<size_t>(i)) continue;
    const auto at = bound.emplace(formal.inputs[static_cast<size_t>(i)].variable, dtype).first;
    if (at->second != dtype) return true;
  }
  return false;
}

// Definitions that call functions again; none goes deeper than two.
constexpr int kMaxDepth = 8;

// What the provider leaves to the CPU, by operator.
struct Left {
  size_t nodes = 0;
  std::string first;
};

class Kernels {
 public:
  Kernels(const Model& model, const CheckOptions& options, Findings& out)
      : runtime_(*options.runtime), provider_(options.provider), out_(out) {
    for (const Function& f : model.functions) functions_.emplace(f.domain, f.name);
  }

  void check(const Graph& graph) {
    std::unordered_map<std::string, size_t> names;
    for (const Node& n : graph.nodes()) {
      if (n.is("Constant")) continue;  // they become initializers first of all
      if (!n.name().empty() && ++names[n.name()] == 2)
        out_.add(RuleId::kRuntimeNodeName, n.describe(), "another node of the graph has this name");
      // Calls are expanded, and custom operators bring their kernels.
      if (is_own_domain(n.domain()) && !functions_.contains({n.domain(), n.op_type()}))
        check_node(n);
      n.for_each_subgraph([&](const Graph& g) { check(g); });
    }
  }

  void report_left() {
    const OrtProviderInfo& info = ort_provider(provider_);
    for (const auto& [op, left] : left_)
      out_.add(RuleId::kProviderFallback, "operator '" + op + "'",
               std::to_string(left.nodes) + (left.nodes == 1 ? " node" : " nodes") + ", first " +
                   left.first + ": " + std::string(info.full_name) + " of ort-1." +
                   std::to_string(std::clamp(runtime_.number(), info.oldest, info.newest)) +
                   " has no such kernel");
  }

 private:
  void check_node(const Node& n) {
    const OrtCpuRun run = run_on_cpu(n, runtime_.number());
    if (run == OrtCpuRun::kNever) {
      const bool covered =
          find_ort_kernel(n, OrtProvider::kCpu, runtime_.number()) == OrtKernel::kOtherTypes;
      if (runs_on_provider(n)) return;
      out_.add(RuleId::kRuntimeKernel, n.describe(),
               std::string(runtime_.name) + " has no kernel at opset " + std::to_string(n.opset()) +
                   (covered ? " for " + input_types(n) : ""));
      return;
    }
    if (run == OrtCpuRun::kDefinition && !runs_on_provider(n)) {
      if (const std::string missing = missing_in_definition(n, 0); !missing.empty())
        out_.add(RuleId::kRuntimeKernel, n.describe(),
                 std::string(runtime_.name) + " has no kernel, and none for " + missing +
                     " in its definition");
    }
    if (provider_ == OrtProvider::kCpu || runs_on_provider(n)) return;
    Left& left = left_[operator_name(n)];
    if (left.nodes++ == 0) left.first = n.describe();
  }

  // What the session has no kernel for when it puts the operator's definition in its place; empty:
  // nothing.
  std::string missing_in_definition(const Node& n, int depth) const {
    const auto standard = runtime_function(n);
    if (!standard.ok() || !*standard || depth == kMaxDepth) return {};
    Graph& body = *(*standard)->functions.front().body;
    for (size_t i = 0; i < std::min(body.inputs().size(), n.inputs().size()); ++i)
      if (n.inputs()[i]) body.inputs()[i]->set_type(n.inputs()[i]->type());
    for (Node& inner : body.nodes()) {
      (void)infer_node(inner);  // what is not known fits every kernel
      if (inner.is("Constant")) continue;
      // Some definitions hold for a part of the types that the operator takes.
      if (mixes_types(inner)) return inner.op_type() + " of " + input_types(inner);
      const OrtCpuRun run = run_on_cpu(inner, runtime_.number());
      if (run == OrtCpuRun::kNever) return inner.op_type() + " of " + input_types(inner);
      if (run == OrtCpuRun::kKernel) continue;
      if (std::string missing = missing_in_definition(inner, depth + 1); !missing.empty())
        return missing;
    }
    return {};
  }

  bool runs_on_provider(const Node& n) const {
    return provider_ != OrtProvider::kCpu &&
           find_ort_kernel(n, provider_, runtime_.number()) == OrtKernel::kRuns;
  }

  const RuntimeRelease& runtime_;
  OrtProvider provider_;
  Findings& out_;
  std::set<std::pair<std::string, std::string>> functions_;
  std::map<std::string, Left> left_;
};

}  // namespace

void check_kernels(const Model& model, const CheckOptions& options, Findings& out) {
  // A newer opset than the release knows is a finding of its own.
  if (model.opset("") > options.runtime->opset ||
      model.opset("ai.onnx.ml") > options.runtime->ml_opset)
    return;
  Kernels kernels(model, options, out);
  kernels.check(model.graph());
  kernels.report_left();
}

}  // namespace onnxtool::check
