// What of a model can be run twice and compared.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "calib/exec/plan.h"
#include "libopt/ir/model.h"

namespace onnxtool {

/// How models are run for comparing them: every node by itself, in floats. `portable`: on kernels
/// that give the same bits on every machine.
PlanOptions comparison_plan(int threads, bool portable);

/// A copy without the nodes that the executor cannot run, and without random ones (cut_out.h),
/// types inferred.
struct Runnable {
  std::unique_ptr<Model> model;
  int64_t cut = 0;       // nodes that went
  std::string obstacle;  // why they could not be cut out; empty: they could
  /// Ready to run with the options it was made for; nullptr: nodes went, so that none is made yet.
  std::shared_ptr<const Plan> plan;
};
Runnable make_runnable(const Model& model, const PlanOptions& options);

}  // namespace onnxtool
