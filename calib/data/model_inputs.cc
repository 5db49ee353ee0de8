#include "calib/data/model_inputs.h"

#include <algorithm>

namespace onnxtool {
namespace {

// The value follows its uses through operators that leave integers as they are.
void bound_uses(const Value& v, IntegerBounds& bounds, bool& found, int depth) {
  if (depth > 8) return;
  for (const Use& use : v.uses()) {
    const Node& n = *use.user;
    if (n.is("Gather") && use.index == 1 && n.has_input(0) && n.input(0).type().shape) {
      const auto& shape = *n.input(0).type().shape;
      int64_t axis = n.attr<int64_t>("axis", 0);
      if (axis < 0) axis += static_cast<int64_t>(shape.size());
      if (axis < 0 || axis >= static_cast<int64_t>(shape.size()) ||
          !shape[static_cast<size_t>(axis)].value)
        continue;
      const int64_t high = std::max<int64_t>(*shape[static_cast<size_t>(axis)].value - 1, 0);
      bounds.high = found ? std::min(bounds.high, high) : high;
      found = true;
    } else if (n.is("Identity") || n.is("Reshape") || n.is("Unsqueeze") || n.is("Squeeze") ||
               n.is("Cast") || n.is("Transpose") || n.is("Flatten")) {
      if (use.index == 0 && n.has_output(0)) bound_uses(n.output(0), bounds, found, depth + 1);
    }
  }
}

}  // namespace

Result<std::vector<InputSpec>> input_specs(const Model& model) {
  std::vector<InputSpec> specs;
  for (const Value* v : model.graph().inputs()) {
    if (v->initializer()) continue;
    if (!v->type().is_tensor())
      return Error{ErrorCode::kUnsupported,
                   "input '" + v->name() + "' is " + format_type(v->type()) + ", expected a tensor",
                   {}};
    InputSpec s;
    s.name = v->name();
    s.dtype = v->type().dtype;
    s.known_rank = v->type().shape.has_value();
    if (s.known_rank)
      for (const Dim& d : *v->type().shape) s.dims.push_back(d.value ? *d.value : -1);
    specs.push_back(std::move(s));
  }
  return specs;
}

std::map<std::string, IntegerBounds> integer_bounds(const Model& model) {
  std::map<std::string, IntegerBounds> out;
  for (const Value* v : model.graph().inputs()) {
    IntegerBounds b;
    bool found = false;
    bound_uses(*v, b, found, 0);
    if (found) out[v->name()] = b;
  }
  return out;
}

}  // namespace onnxtool
