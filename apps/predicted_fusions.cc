#include "apps/predicted_fusions.h"

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "apps/inspect_walk.h"
#include "libopt/rewrite/driver.h"
#include "passes/pass.h"

namespace onnxtool {
namespace {

// Those that fusions write although they are the standard's.
bool is_fused(const Node& n) {
  return n.domain() == "com.microsoft" || n.op_type().starts_with("QLinear") ||
         n.op_type().ends_with("LayerNormalization") || n.is("Gelu");
}

void count(const Graph& graph, std::map<std::string, int64_t>& counts) {
  for_each_node(graph, [&](const Node& n) {
    if (is_fused(n)) ++counts[n.op_type()];
  });
}

}  // namespace

Section predicted_fusions(const Model& model, const PassContext& context) {
  Section s{"predicted", "Predicted in ONNX Runtime on a CPU", {}, {}, {}, false};
  const std::unique_ptr<Model> loaded = model.clone();
  PassContext runtime;
  runtime.folder = context.folder;
  runtime.ort_cpu = true;
  runtime.asked_for = true;
  // What onnxruntime does at load, fast or slow; it hardly ever finds an EmbedLayerNormalization.
  std::vector<const PassInfo*> passes = optimization_pipeline(Level::kExtended);
  std::erase(passes, &kAvoidSkipLayerNorm);
  std::erase(passes, &kFuseEmbedLayerNorm);
  run_passes(*loaded, passes, runtime);
  std::map<std::string, int64_t> written, fused;
  count(model.graph(), written);
  count(loaded->graph(), fused);
  Table t{"operators",
          "",
          {{"op", "operator", ""}, {"written", "in the file", ""}, {"loaded", "once loaded", ""}},
          {},
          0};
  for (const auto& [op, n] : fused) t.rows.push_back({op, written[op], n});
  if (t.rows.empty())
    s.notes.push_back("no operators are fused");
  else
    s.tables.push_back(std::move(t));
  return s;
}

}  // namespace onnxtool
