#include "libopt/ir/types.h"

#include "libopt/ir/symbols.h"

namespace onnxtool {

std::optional<std::vector<int64_t>> ValueType::static_dims() const {
  if (!shape) return std::nullopt;
  std::vector<int64_t> dims;
  for (const Dim& d : *shape) {
    if (!d.value) return std::nullopt;
    dims.push_back(*d.value);
  }
  return dims;
}

namespace {

// Names that could be taken for something else stand in quotes.
std::string symbol_text(const std::string& symbol) {
  const bool is_number = symbol.find_first_not_of("-0123456789") == std::string::npos;
  if (!is_number && symbol != "?" && symbol.find_first_of(",[]'\\") == std::string::npos &&
      symbol.front() != ' ' && symbol.back() != ' ')
    return symbol;
  std::string out = "'";
  for (const char c : symbol) {
    if (c == '\'' || c == '\\') out += '\\';
    out += c;
  }
  return out + "'";
}

}  // namespace

std::string format_type(const ValueType& type) {
  const auto element = [&] { return type.element ? format_type(*type.element) : std::string("?"); };
  switch (type.kind) {
    case ValueType::Kind::kUnknown: return "unknown";
    case ValueType::Kind::kSequence: return "seq(" + element() + ")";
    case ValueType::Kind::kOptional: return "optional(" + element() + ")";
    case ValueType::Kind::kMap:
      return "map(" + std::string(name(type.dtype)) + ", " + element() + ")";
    case ValueType::Kind::kOpaque:
      return "opaque(" + type.opaque_domain + "," + type.opaque_name + ")";
    case ValueType::Kind::kTensor:
    case ValueType::Kind::kSparseTensor: break;
  }
  std::string s = type.kind == ValueType::Kind::kSparseTensor ? "sparse " : "";
  s += name(type.dtype);
  if (!type.shape) return s + "[...]";
  s += "[";
  for (size_t i = 0; i < type.shape->size(); ++i) {
    const Dim& d = (*type.shape)[i];
    s += (i ? ", " : "") + (d.value ? std::to_string(*d.value)
                            : d.symbol.empty() || d.symbol.starts_with(kInventedDim)
                                ? "?"
                                : symbol_text(d.symbol));
  }
  return s + "]";
}

}  // namespace onnxtool
