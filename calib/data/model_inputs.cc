#include "calib/data/model_inputs.h"

#include "libopt/ir/symbols.h"

namespace onnxtool {

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
      for (const Dim& d : *v->type().shape) {
        s.dims.push_back(d.value ? *d.value : -1);
        s.dim_names.push_back(d.symbol.starts_with(kInventedDim) ? "" : d.symbol);
      }
    specs.push_back(std::move(s));
  }
  return specs;
}

}  // namespace onnxtool
