#include "quant/given_codes.h"

#include <cmath>

#include "libopt/ir/walk.h"

namespace onnxtool {
namespace {

Status check_codes(const Node& node) {
  const bool coded = node.op_type() == "QuantizeLinear" || node.op_type() == "DequantizeLinear";
  if (!coded || !node.has_input(0) || !node.has_input(1)) return {};
  const Tensor* scale = node.input(1).constant();
  if (!scale) return {};
  for (const double s : scale->to_doubles())
    if (!std::isfinite(s) || s == 0)
      return Error{ErrorCode::kBadData,
                   node.describe() + ": the scale holds " +
                       (s == 0          ? "zero"
                        : std::isnan(s) ? "NaN"
                                        : "infinity") +
                       ", expected finite values other than zero",
                   "give the float model that it was made from, or mend the scale"};
  const ValueType& type = node.input(0).type();
  if (scale->rank() == 0 || scale->count() == 1 || !type.shape) return {};
  const auto rank = static_cast<int64_t>(type.shape->size());
  const int64_t axis = node.attr<int64_t>("axis", 1);
  if (axis >= -rank && axis < rank) return {};
  return Error{ErrorCode::kBadData,
               node.describe() + ": axis is " + std::to_string(axis) + ", but '" +
                   node.input(0).name() + "' has rank " + std::to_string(rank),
               "`onnxtool check` lists what else is wrong"};
}

}  // namespace

Status check_given_codes(const Model& model) {
  Status first;
  for_each_node(model.graph(), [&](const Node& node) {
    if (first.ok()) first = check_codes(node);
  });
  return first;
}

}  // namespace onnxtool
