#include "libopt/rewrite/pins.h"

#include <string>
#include <string_view>

#include "libopt/analysis/seam.h"
#include "libopt/convert/adapter.h"
#include "libopt/ir/walk.h"

namespace onnxtool {
namespace {

// In front of the node's own domain.
constexpr std::string_view kDisguise = "onnxtool.pinned/";

// Whether the node, of ai.onnx but for its disguise, means the same at both versions.
bool keeps_meaning(const Node& node, int from, int target) {
  if (!find_schema(node.op_type(), "", from)) return false;
  for (const convert::Adapter& a : convert::adapters()) {
    if (a.version <= from || a.version > target) continue;
    // The one change of every operator: an attribute went that some have.
    if (a.op.empty() ? node.attribute("consumed_inputs") != nullptr : a.op == node.op_type())
      return false;
  }
  return true;
}

}  // namespace

Pins::Pins(Model& model, const Selector& selector) : model_(model), any_(!selector.empty()) {
  if (!any_) return;
  for_each_node(model.graph(), [&](Node& n) {
    if (selector.matches(n)) n.graph().set_op(n, n.op_type(), std::string(kDisguise) + n.domain());
  });
}

// Looked for anew: a pinned node may have moved from a subgraph to the graph around it.
Pins::~Pins() {
  if (!any_) return;
  for_each_node(model_.graph(), [](Node& n) {
    if (n.domain().starts_with(kDisguise))
      n.graph().set_op(n, n.op_type(), n.domain().substr(kDisguise.size()));
  });
}

std::string Pins::raise_obstacle(int target) const {
  std::string changed;
  if (!any_) return changed;
  const int from = model_.opset("");
  for_each_node(model_.graph(), [&](Node& n) {
    if (n.domain() != kDisguise || keeps_meaning(n, from, target)) return;
    const std::string called = n.name().empty() ? "node #" + std::to_string(n.id()) : n.name();
    changed += (changed.empty() ? "" : ", ") + ("'" + called + "' (" + n.op_type() + ")");
  });
  if (changed.empty()) return changed;
  return "cannot raise ai.onnx from " + std::to_string(from) + " to " + std::to_string(target) +
         ": what is kept would mean something else: " + changed;
}

}  // namespace onnxtool
