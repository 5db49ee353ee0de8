// Latency of one model in our executor.
//
// usage: infer MODEL THREADS RUNS [KERNELS] [--profile]     inputs: seeded normal values, dynamic extents 1
// Prints the median, and with --profile the slowest steps.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "calib/data/source.h"
#include "calib/exec/folder.h"
#include "calib/exec/modules.h"
#include "calib/exec/plan.h"
#include "libopt/analysis/seam.h"
#include "libopt/io/load.h"
#include "libopt/rewrite/driver.h"
#include "passes/pass.h"

namespace {

using namespace onnxtool;

Status run(int argc, char** argv) {
  const int threads = std::atoi(argv[2]), runs = std::atoi(argv[3]);
  ONNXTOOL_ASSIGN(std::unique_ptr<Model> model, load_model(argv[1]));
  std::vector<InputSpec> specs;
  for (Value* v : model->graph().inputs()) {
    if (v->initializer()) continue;
    std::vector<int64_t> dims;
    for (const Dim& d : *v->type().shape) dims.push_back(d.value.value_or(1));
    v->set_type(ValueType::tensor(v->type().dtype, dims));
    specs.push_back({v->name(), v->type().dtype, dims, true});
  }
  const auto folder = make_folder();
  PassContext context;
  context.folder = folder.get();
  ONNXTOOL_TRY(infer_graph(model->graph()));
  run_passes(*model, preparation_pipeline(), context);
  ONNXTOOL_TRY(infer_graph(model->graph()));
  ONNXTOOL_ASSIGN(auto source, open_random(1, 1, specs, {}));
  ONNXTOOL_ASSIGN(const Sample sample, source->read(0));
  ONNXTOOL_ASSIGN(KernelSets sets, load_kernel_sets(argc > 4 ? argv[4] : "auto"));
  PlanOptions options;
  options.kernel_sets = sets.sets;
  options.threads = threads;
  ONNXTOOL_ASSIGN(auto plan, Plan::compile(model->graph(), options));
  RunContext run_context(plan);
  const bool profile = std::string(argv[argc - 1]) == "--profile";
  for (int i = 0; i < 3; ++i) ONNXTOOL_TRY(run_context.run(sample.inputs, nullptr));
  if (profile) run_context.enable_profile();
  std::vector<double> ms;
  for (int i = 0; i < runs; ++i) {
    const auto start = std::chrono::steady_clock::now();
    ONNXTOOL_TRY(run_context.run(sample.inputs, nullptr));
    ms.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
  }
  std::sort(ms.begin(), ms.end());
  std::printf("%.3f ms median of %d, %.3f minimum; %s\n", ms[ms.size() / 2], runs, ms[0], plan->describe_kernels().c_str());
  auto steps = run_context.profile();
  std::sort(steps.begin(), steps.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  for (size_t i = 0; i < std::min<size_t>(steps.size(), 25); ++i) std::printf("%9.3f ms  %s\n", steps[i].second / runs, steps[i].first.c_str());
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: infer MODEL THREADS RUNS [KERNELS] [--profile]\n");
    return 2;
  }
  const onnxtool::Status s = run(argc, argv);
  if (s.ok()) return 0;
  std::fprintf(stderr, "error: %s\n", s.error().message.c_str());
  return s.error().exit_code();
}
