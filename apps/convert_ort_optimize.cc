#include "apps/convert_ort_optimize.h"

#include <fmt/format.h>

#include "apps/verification.h"
#include "calib/exec/folder.h"
#include "libopt/analysis/seam.h"
#include "libopt/convert/convert_opset.h"
#include "libopt/target/target.h"
#include "passes/pass.h"
#include "quant/qdq_records.h"
#include "quant/qoperator.h"

namespace onnxtool {
namespace {

std::vector<const PassInfo*> chosen_passes(const OrtOptimizeOptions& o) {
  const Level level = o.level == "all"        ? Level::kAll
                      : o.level == "extended" ? Level::kExtended
                                              : Level::kBasic;
  std::vector<const PassInfo*> passes = optimization_pipeline(level);
  // Here lower_for_ort() does it, which no verifier judges.
  std::erase(passes, &kFuseQdq);
  if (o.arch != "amd64") std::erase(passes, &kMakeCodesUnsigned);
  if (o.keep_recorded)
    std::erase_if(
        passes, [](const PassInfo* p) { return p == &kFuseConvActivation || p == &kFuseConvAdd; });
  return passes;
}

}  // namespace

bool writes_ort_operators(std::string_view level) { return level == "extended" || level == "all"; }

Result<int> lower_for_ort(Model& model) {
  ONNXTOOL_TRY(infer_graph(model.graph()));
  int nodes = 0;
  for (const auto& [op, count] : lower_to_qoperator(model, kOrtCpu).rewritten) nodes += count;
  if (nodes) ONNXTOOL_TRY(infer_graph(model.graph()));
  return nodes;
}

std::vector<OrtFusionRecord> ort_records(const Model& model) {
  std::vector<OrtFusionRecord> records = find_ort_fusions(model.graph());
  for (OrtFusionRecord& r : find_qdq_records(model.graph(), kOrtCpu))
    records.push_back(std::move(r));
  return records;
}

Result<OrtOptimized> optimize_for_ort(std::unique_ptr<Model>& model, const OrtOptimizeOptions& o) {
  promote_initializers(*model);
  OrtOptimized out;
  if (o.level == "disable") return out;
  ONNXTOOL_TRY(infer_graph(model->graph()));  // passes rely on what it refuses
  std::unique_ptr<Verifier> verifier;
  if (o.verify != "off") verifier = make_chosen_verifier(*model, o.verify, o.threads);
  const std::unique_ptr<Folder> folder = make_folder();
  PassContext context;
  context.folder = folder.get();
  context.ort_cpu = writes_ort_operators(o.level);
  VerifiedRun run = run_verified(model, chosen_passes(o), context, verifier.get());
  if (run.breach)
    return Error{ErrorCode::kNegative,
                 fmt::format("{} at {} changes what the model computes: {}", run.breach->pass,
                             run.breach->node, run.breach->difference),
                 "nothing was written; convert with --level disable, and please report this model"};
  out.verification = std::move(run.verification);
  out.dropped = std::move(run.dropped);
  if (o.keep_recorded) {
    ONNXTOOL_TRY(infer_graph(model->graph()));
    prepare_qdq_records(model->graph());
  } else if (writes_ort_operators(o.level)) {
    // What integers round is no matter of a bound: one step in each result, which later layers
    // spread. The runtime makes the same of the graph when it loads an .onnx file.
    ONNXTOOL_ASSIGN(out.integer_nodes, lower_for_ort(*model));
    if (out.integer_nodes && o.verify == "strict")
      return Error{ErrorCode::kNegative,
                   fmt::format("cannot be proved to be equal where nodes compute on integers that "
                               "computed on floats, as {} of them would",
                               out.integer_nodes),
                   "nothing was written; --verify full accepts that, --level basic avoids it"};
  }
  if (fails_strict(o.verify, out.verification))
    return unverified_error(out.verification->unverified_nodes);
  return out;
}

}  // namespace onnxtool
