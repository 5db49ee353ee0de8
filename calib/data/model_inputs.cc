#include "calib/data/model_inputs.h"

#include "libopt/ir/symbols.h"
#include "libopt/support/ascii.h"

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

std::optional<IntegerBounds> range_of_type(DataType dtype) {
  switch (dtype) {
    case DataType::kInt8: return IntegerBounds{INT8_MIN, INT8_MAX};
    case DataType::kUint8: return IntegerBounds{0, UINT8_MAX};
    case DataType::kInt16: return IntegerBounds{INT16_MIN, INT16_MAX};
    case DataType::kUint16: return IntegerBounds{0, UINT16_MAX};
    case DataType::kInt32: return IntegerBounds{INT32_MIN, INT32_MAX};
    case DataType::kUint32: return IntegerBounds{0, UINT32_MAX};
    case DataType::kInt64: return IntegerBounds{INT64_MIN, INT64_MAX};
    case DataType::kUint64: return IntegerBounds{0, INT64_MAX};
    default: return std::nullopt;
  }
}

bool names_a_mask(std::string_view name) {
  return to_lower(name).find("mask") != std::string::npos;
}

}  // namespace onnxtool
