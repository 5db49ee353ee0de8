#include "quant/prepare.h"

#include "calib/exec/folder.h"
#include "libopt/analysis/seam.h"
#include "libopt/convert/convert_opset.h"
#include "libopt/rewrite/driver.h"
#include "passes/pass.h"

namespace onnxtool {

Result<Preparation> prepare_model(Model& model, const QuantizeOptions& options) {
  Preparation p;
  p.opset_before = model.opset("");
  p.ir_before = model.ir_version;
  p.nodes_before = model.graph().num_nodes();
  if (const int promoted = promote_initializers(model))
    p.notes.push_back(std::to_string(promoted) + " initializers are constants now, no longer graph inputs (IR < 4 had to list them)");
  const int needed = options.per_channel && !options.no_opset_change ? kPerChannelOpset : kPerTensorOpset;
  if (model.opset("") < needed) {
    if (options.no_opset_change)
      return Error{ErrorCode::kUnsupported, "opset " + std::to_string(model.opset("")) + " has no QuantizeLinear, which needs " + std::to_string(needed),
                   "leave out --no-opset-change"};
    ONNXTOOL_ASSIGN(const ConversionReport converted, convert_opset(model, needed));
    for (const std::string& change : converted.changes) p.notes.push_back("opset " + std::to_string(needed) + ": " + change);
  }
  ONNXTOOL_TRY(infer_graph(model.graph()));
  const auto folder = make_folder();
  PassContext context;
  context.folder = folder.get();
  run_passes(model, preparation_pipeline(), context);
  // Rewrites leave new values behind whose types placement and kernels want to know.
  ONNXTOOL_TRY(infer_graph(model.graph()));
  p.opset_after = model.opset("");
  p.ir_after = model.ir_version;
  p.nodes_after = model.graph().num_nodes();
  return p;
}

}  // namespace onnxtool
