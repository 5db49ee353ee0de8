// Findings about what a target needs: shapes that are fixed, zero points that are 0.
#include "libopt/check/family.h"
#include "libopt/ir/walk.h"
#include "libopt/target/bias_fault.h"
#include "libopt/target/fixed_shapes.h"

namespace onnxtool::check {
namespace {

bool is_fixed(const Value& v) {
  return !v.type().is_tensor() || v.type().static_dims().has_value();
}

struct Found {
  size_t count = 0;
  std::string first;
};

void check_shapes(const Model& model, const Target& target, Findings& out) {
  bool inputs_vary = false;
  for (const Value* v : model.graph().inputs()) {
    if (v->initializer() || is_fixed(*v)) continue;
    inputs_vary = true;
    out.add(RuleId::kDynamicShape, "graph input '" + v->name() + "'",
            "the shape is " + format_type(v->type()) + ", " + std::string(target.name) +
                " needs numbers");
  }
  if (inputs_vary) return;  // the others may follow from it
  Found varying;
  for_each_node(model.graph(), [&](const Node& n) {
    for (const Value* v : n.outputs())
      if (v && !is_fixed(*v) && varying.count++ == 0)
        varying.first = "'" + v->name() + "' of " + n.describe();
  });
  if (varying.count)
    out.add(RuleId::kDynamicShape, "",
            std::to_string(varying.count) +
                (varying.count == 1 ? " value has a shape" : " values have shapes") +
                " that the inputs do not settle, first " + varying.first,
            {}, "Replace what depends on values, or leave these nodes to the CPU.");
}

void check_zero_points(const Model& model, const Target& target, Findings& out) {
  Found found;
  for_each_node(model.graph(), [&](const Node& n) {
    if ((n.is("QuantizeLinear") || n.is("DequantizeLinear")) && has_zero_point(n) &&
        found.count++ == 0)
      found.first = n.describe();
  });
  if (found.count)
    out.add(RuleId::kTargetZeroPoint, "",
            std::to_string(found.count) +
                (found.count == 1 ? " node has a zero point" : " nodes have zero points") +
                " other than 0, which " + std::string(target.name) + " refuses, first " +
                found.first);
}

}  // namespace

void check_target(const Model& model, const Target& target, Findings& out) {
  if (needs_fixed_shapes(target)) check_shapes(model, target, out);
  if (target.symmetric_data) check_zero_points(model, target, out);
}

}  // namespace onnxtool::check
