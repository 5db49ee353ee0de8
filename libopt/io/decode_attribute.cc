// Attributes of nodes and functions: AttributeProto.
#include "libopt/io/decoder.h"

namespace onnxtool::decoding {

Result<Attribute> Decoder::attribute(Bytes message, Graph* owner, int depth) {
  Attribute a;
  int64_t declared = 0;
  float f32 = 0;
  int64_t i64 = 0;
  std::string s;
  std::vector<float> floats;
  std::vector<int64_t> ints;
  std::vector<std::string> strings;
  std::vector<NamedTensor> tensors;
  std::vector<std::unique_ptr<Graph>> graphs;
  std::vector<SparseTensor> sparse;
  std::vector<ValueType> types;
  AttributeKind seen = AttributeKind::kUndefined;
  ONNXTOOL_TRY(for_each_field(message, [&](const Field& f) -> Status {
    switch (f.number) {
      case 1: a.name = f.string(); return {};
      case 2:
        f32 = f.float32();
        seen = AttributeKind::kFloat;
        return {};
      case 3:
        i64 = f.int64();
        seen = AttributeKind::kInt;
        return {};
      case 4:
        s = f.string();
        seen = AttributeKind::kString;
        return {};
      case 5:
      case 10: {
        ONNXTOOL_ASSIGN(NamedTensor t, tensors_.tensor(f.bytes));
        tensors.push_back(std::move(t));
        seen = f.number == 5 ? AttributeKind::kTensor : AttributeKind::kTensors;
        return {};
      }
      case 6:
      case 11: {
        if (!owner) return bad("a subgraph stands where none is allowed");
        auto g = std::make_unique<Graph>(&owner->model(), owner);
        ONNXTOOL_TRY(graph_into(f.bytes, *g, depth + 1));
        graphs.push_back(std::move(g));
        seen = f.number == 6 ? AttributeKind::kGraph : AttributeKind::kGraphs;
        return {};
      }
      case 7: seen = AttributeKind::kFloats; return wire::append_floats(f, floats);
      case 8: seen = AttributeKind::kInts; return wire::append_ints(f, ints);
      case 9:
        strings.push_back(f.string());
        seen = AttributeKind::kStrings;
        return {};
      case 13: a.doc = f.string(); return {};
      case 14:
      case 15: {
        ONNXTOOL_ASSIGN(ValueType t, decode_type(f.bytes, 0));
        types.push_back(std::move(t));
        seen = f.number == 14 ? AttributeKind::kType : AttributeKind::kTypes;
        return {};
      }
      case 20: declared = f.int64(); return {};
      case 21: a.ref = f.string(); return {};
      case 22:
      case 23: {
        ONNXTOOL_ASSIGN(SparseTensor t, tensors_.sparse_tensor(f.bytes));
        sparse.push_back(std::move(t));
        seen = f.number == 22 ? AttributeKind::kSparseTensor : AttributeKind::kSparseTensors;
        return {};
      }
      default: keep(a.unknown_fields, f); return {};
    }
  }));
  if (declared < 0 || declared > 14)
    return bad("attribute '" + a.name + "' has unknown type " + std::to_string(declared));
  // IR 1 files lack the type; an empty list has no field at all, so the declared type wins.
  a.kind = declared ? static_cast<AttributeKind>(declared) : seen;
  // Outside of functions there is nothing to stand for: the value counts.
  if (!in_function_ && seen != AttributeKind::kUndefined) a.ref.clear();
  if (!a.ref.empty()) return a;
  const auto one = [&](auto& list) -> Status {
    if (list.size() != 1)
      return bad("attribute '" + a.name + "' has " + std::to_string(list.size()) +
                 " values, expected 1");
    a.value = std::move(list[0]);
    return {};
  };
  switch (a.kind) {
    case AttributeKind::kUndefined: break;
    case AttributeKind::kFloat: a.value = f32; break;
    case AttributeKind::kInt: a.value = i64; break;
    case AttributeKind::kString: a.value = std::move(s); break;
    case AttributeKind::kTensor: ONNXTOOL_TRY(one(tensors)); break;
    case AttributeKind::kGraph: ONNXTOOL_TRY(one(graphs)); break;
    case AttributeKind::kFloats: a.value = std::move(floats); break;
    case AttributeKind::kInts: a.value = std::move(ints); break;
    case AttributeKind::kStrings: a.value = std::move(strings); break;
    case AttributeKind::kTensors: a.value = std::move(tensors); break;
    case AttributeKind::kGraphs: a.value = std::move(graphs); break;
    case AttributeKind::kSparseTensor: ONNXTOOL_TRY(one(sparse)); break;
    case AttributeKind::kSparseTensors: a.value = std::move(sparse); break;
    case AttributeKind::kType: ONNXTOOL_TRY(one(types)); break;
    case AttributeKind::kTypes: a.value = std::move(types); break;
  }
  return a;
}

}  // namespace onnxtool::decoding
