#include "libopt/analysis/merge_types.h"

#include <memory>
#include <utility>

#include "libopt/ir/symbols.h"

namespace onnxtool {

bool is_invented(const std::string& symbol) { return symbol.starts_with(kInventedDim); }

bool merge_types(ValueType& declared, const ValueType& inferred, const MergeRules& rules) {
  if (inferred.kind == ValueType::Kind::kUnknown) return true;
  if (declared.kind == ValueType::Kind::kUnknown) {
    std::string denotation = std::move(declared.denotation);
    declared = inferred;
    declared.denotation = std::move(denotation);
    return true;
  }
  if (declared.kind != inferred.kind) return false;
  if (inferred.dtype != DataType::kUndefined) {
    if (declared.dtype == DataType::kUndefined) declared.dtype = inferred.dtype;
    if (declared.dtype != inferred.dtype) return false;
  }
  if (inferred.element) {
    ValueType element = declared.element ? *declared.element : ValueType();
    if (!merge_types(element, *inferred.element, rules)) return false;
    declared.element = std::make_shared<const ValueType>(std::move(element));
  }
  if (!inferred.shape) return true;
  if (!declared.shape) {
    declared.shape = inferred.shape;
    return true;
  }
  if (declared.shape->size() != inferred.shape->size()) return false;
  for (size_t i = 0; i < declared.shape->size(); ++i) {
    Dim& d = (*declared.shape)[i];
    const Dim& other = (*inferred.shape)[i];
    if (d.value) {
      if (other.value && *other.value != *d.value && !(rules.zero_is_unknown && *d.value == 0))
        return false;
      if (other.value) d.value = other.value;
    } else if (d.symbol.empty() || is_invented(d.symbol) || (other.value && !rules.keep_symbols)) {
      d.value = other.value;
      d.symbol = other.symbol;
    }
  }
  return true;
}

}  // namespace onnxtool
