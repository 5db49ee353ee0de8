// Types of values: TypeProto.
#include "libopt/io/decoder.h"

namespace onnxtool::decoding {
namespace {

Result<std::vector<Dim>> decode_shape(Bytes message) {
  std::vector<Dim> shape;
  ONNXTOOL_TRY(for_each_field(message, [&](const Field& f) -> Status {
    if (f.number != 1) return {};
    ONNXTOOL_TRY(expect_bytes(f, "a shape"));
    Dim d;
    ONNXTOOL_TRY(for_each_field(f.bytes, [&](const Field& g) -> Status {
      if (g.number == 1) d.value = g.int64(), d.symbol.clear();
      if (g.number == 2) d.symbol = g.string(), d.value.reset();
      if (g.number == 3) d.denotation = g.string();
      return {};
    }));
    // Exporters write 0 or a negative extent for "unknown"; zero can be meant, negative cannot.
    if (d.value && *d.value < 0) d.value.reset();
    shape.push_back(std::move(d));
    return {};
  }));
  return shape;
}

}  // namespace

Result<ValueType> decode_type(Bytes message, int depth) {
  if (depth > kMaxDepth)
    return bad("types are nested more than " + std::to_string(kMaxDepth) + " deep");
  ValueType t;
  const auto inner = [&](Bytes m, ValueType::Kind kind, uint32_t key_field,
                         uint32_t element_field) -> Status {
    t.kind = kind;
    return for_each_field(m, [&](const Field& g) -> Status {
      if (g.number == key_field) t.dtype = static_cast<DataType>(g.int64());
      if (g.number == element_field && g.type == WireType::kBytes) {
        ONNXTOOL_ASSIGN(ValueType element, decode_type(g.bytes, depth + 1));
        t.element = std::make_shared<const ValueType>(std::move(element));
      }
      return {};
    });
  };
  ONNXTOOL_TRY(for_each_field(message, [&](const Field& f) -> Status {
    if (f.type != WireType::kBytes) return {};
    switch (f.number) {
      case 1:
      case 8:
        t.kind = f.number == 1 ? ValueType::Kind::kTensor : ValueType::Kind::kSparseTensor;
        return for_each_field(f.bytes, [&](const Field& g) -> Status {
          if (g.number == 1) t.dtype = static_cast<DataType>(g.int64());
          if (g.number == 2) {
            ONNXTOOL_TRY(expect_bytes(g, "a tensor type"));
            ONNXTOOL_ASSIGN(t.shape, decode_shape(g.bytes));
          }
          return {};
        });
      case 4: return inner(f.bytes, ValueType::Kind::kSequence, 0, 1);
      case 5: return inner(f.bytes, ValueType::Kind::kMap, 1, 2);
      case 9: return inner(f.bytes, ValueType::Kind::kOptional, 0, 1);
      case 6: t.denotation = f.string(); return {};
      case 7:
        t.kind = ValueType::Kind::kOpaque;
        return for_each_field(f.bytes, [&](const Field& g) -> Status {
          if (g.number == 1) t.opaque_domain = g.string();
          if (g.number == 2) t.opaque_name = g.string();
          return {};
        });
      default: return {};
    }
  }));
  return t;
}

}  // namespace onnxtool::decoding
