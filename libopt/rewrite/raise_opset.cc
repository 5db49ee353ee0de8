#include "libopt/rewrite/raise_opset.h"

#include <algorithm>

#include "libopt/convert/convert_opset.h"
#include "libopt/rewrite/file_size.h"

namespace onnxtool {
namespace {

// As for every other rewrite: a node less is worth a few bytes, which conversions add to others.
std::string growth_obstacle(const Model& model, const Model& raised, int wanted,
                            const PassContext& context) {
  const FileSize before = size_in_file(model), after = size_in_file(raised);
  const int64_t allowed =
      std::max<int64_t>(context.max_growth_bytes - context.state->grown_bytes, 0) +
      kNegligibleGrowth * std::max<int64_t>(before.nodes - after.nodes, 0);
  if (after.nodes <= before.nodes && after.bytes <= before.bytes + allowed) return {};
  return "at ai.onnx " + std::to_string(wanted) +
         " the model would be larger: " + std::to_string(after.nodes) + " nodes and " +
         std::to_string(after.bytes) + " bytes, not " + std::to_string(before.nodes) + " and " +
         std::to_string(before.bytes);
}

}  // namespace

bool raise_opset(Model& model, std::span<const PassInfo* const> passes, PassContext& context,
                 const Pins& pins) {
  PassState& state = *context.state;
  const int wanted = state.wanted_opset;
  if (wanted <= model.opset("")) return false;
  const std::string obstacle = [&] {
    if (std::string kept = pins.raise_obstacle(wanted); !kept.empty()) return kept;
    const std::unique_ptr<Model> raised = model.clone();
    PassState trial_state{.grown_bytes = state.grown_bytes};
    if (const auto converted = convert_opset(*raised, wanted); !converted.ok())
      return converted.error().message;
    PassContext trial = context;
    trial.state = &trial_state;
    trial.allowed_opset = 0;
    trial.keep = nullptr;  // the clone's pinned nodes are disguised already
    trial.max_rewrites = -1;
    trial.provenance = false;
    trial.on_rewrite = nullptr;
    trial.on_near_miss = nullptr;
    run_passes(*raised, passes, trial);
    return growth_obstacle(model, *raised, wanted, context);
  }();
  if (!obstacle.empty()) {
    if (state.opset_obstacle.empty()) state.opset_obstacle = obstacle;
    context.allowed_opset = wanted - 1;
    return context.allowed_opset > model.opset("");
  }
  // Again on the model itself: rewrites are counted one by one, for bisection.
  return convert_opset(model, wanted).ok();
}

}  // namespace onnxtool
