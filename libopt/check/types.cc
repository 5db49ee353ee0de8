// Findings about types and shapes, by inference over the graph.
#include "libopt/analysis/seam.h"
#include "libopt/check/family.h"

namespace onnxtool::check {

void check_types(Model& model, Findings& out) {
  infer_strictly(model.graph(), [&](const Node& node, const Error& error, bool certain) {
    const std::string place = node.describe();
    if (out.at_fault(place)) return;
    std::string message = error.message;
    if (message.starts_with(place + ": ")) message.erase(0, place.size() + 2);
    out.add(certain ? RuleId::kTypeConflict : RuleId::kPossibleTypeConflict, place,
            std::move(message));
  });
}

}  // namespace onnxtool::check
