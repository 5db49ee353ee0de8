#include "calib/compare/runnable.h"

#include <set>

#include "calib/compare/cut_out.h"
#include "calib/kernels/cpu/cpu_kernels.h"
#include "libopt/analysis/seam.h"

namespace onnxtool {
namespace {

// What two runs cannot be compared by: no kernel, or random.
bool stands_in_the_way(const Node& n) {
  if (n.is("Dropout") && n.num_inputs() < 3) return false;  // random in training only
  const auto schema = find_schema(n.op_type(), n.domain(), n.opset());
  return schema && !schema->deterministic;
}

}  // namespace

PlanOptions comparison_plan(int threads, bool portable) {
  PlanOptions o;
  o.kernel_sets = {portable ? &cpu_kernel_set_portable() : &cpu_kernel_set()};
  o.threads = threads;
  o.fuse = false;      // fused or not, a node rounds the same
  o.integers = false;  // a step of a code would hide what a rewrite did
  return o;
}

Runnable make_runnable(const Model& model, const PlanOptions& options) {
  Runnable r{model.clone(), 0, {}, nullptr};
  [[maybe_unused]] const Status typed = infer_graph(r.model->graph());
  std::set<const Node*> chosen;
  for (const Node& n : r.model->graph().nodes())
    if (stands_in_the_way(n)) chosen.insert(&n);
  auto plan = Plan::compile(r.model->graph(), options);
  if (!plan.ok())
    for (const Node* n : Plan::nodes_in_the_way(r.model->graph(), options)) chosen.insert(n);
  if (chosen.empty()) {
    if (plan.ok()) r.plan = *std::move(plan);
    return r;
  }
  const auto cut = cut_out(*r.model, [&](const Node& n) { return chosen.contains(&n); });
  if (cut.ok())
    r.cut = *cut;
  else
    r.obstacle = cut.error().message;
  return r;
}

}  // namespace onnxtool
