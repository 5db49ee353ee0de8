#include "libopt/ort/write_parts.h"

#include <algorithm>
#include <map>

#include "libopt/ir/symbols.h"

namespace onnxtool::ort_writing {
namespace {

// Leaves room below the 2 GiB that offsets can span.
constexpr uint64_t kMaxTableBytes = (uint64_t{1} << 31) - (uint64_t{1} << 20);

Offset<fb::Shape> write_shape(Builder& b, const std::vector<Dim>& shape, int depth) {
  std::vector<Offset<fb::Dimension>> dims;
  b.count(1, depth + 1);
  for (const Dim& d : shape) {
    Offset<fb::DimensionValue> value;
    const bool named = !d.value && !d.symbol.empty() && !d.symbol.starts_with(kInventedDim);
    if (d.value || named) {
      b.count(1, depth + 3);
      value = d.value ? fb::CreateDimensionValue(b.fbb, fb::DimensionValueType::VALUE, *d.value)
                      : fb::CreateDimensionValue(b.fbb, fb::DimensionValueType::PARAM, 0,
                                                 b.string(d.symbol));
    }
    b.count(1, depth + 2);
    dims.push_back(fb::CreateDimension(
        b.fbb, value,
        d.denotation.empty() ? Offset<flatbuffers::String>() : b.string(d.denotation)));
  }
  return fb::CreateShape(b.fbb, b.fbb.CreateVector(dims));
}

// What every release loads: 1.28 and later refuse all others.
bool can_hold(DataType type) {
  const auto number = static_cast<int32_t>(type);
  return number >= static_cast<int32_t>(DataType::kFloat) &&
         number <= static_cast<int32_t>(DataType::kFloat8E5M2FNUZ) &&
         type != DataType::kComplex64 && type != DataType::kComplex128;
}

}  // namespace

bool Builder::reserve(uint64_t bytes) {
  full_ |= bytes > kMaxTableBytes || fbb.GetSize() > kMaxTableBytes - bytes;
  return !full_;
}

void Builder::count(int tables, int depth) {
  tables_ += tables;
  depth_ = std::max(depth_, depth);
}

Offset<flatbuffers::String> Builder::string(std::string_view s) {
  return reserve(s.size() + 16) ? fbb.CreateSharedString(s.data(), s.size())
                                : Offset<flatbuffers::String>();
}

Offset<flatbuffers::Vector<Offset<flatbuffers::String>>> Builder::strings(
    const std::vector<std::string>& list) {
  std::vector<Offset<flatbuffers::String>> offsets;
  for (const std::string& s : list) offsets.push_back(string(s));
  return reserve(list.size() * 4) ? fbb.CreateVector(offsets)
                                  : Offset<flatbuffers::Vector<Offset<flatbuffers::String>>>();
}

Result<Offset<fb::TypeInfo>> write_type(Builder& b, const ValueType& type, bool with_shape,
                                        int depth, const std::string& at) {
  const auto unsupported = [&](const std::string& what) {
    return Error{
        ErrorCode::kUnsupported, at + " is " + what + ", which the .ort format cannot hold", {}};
  };
  b.count(2, depth + 2);
  fb::TypeInfoValue kind = fb::TypeInfoValue::tensor_type;
  Offset<void> value;
  const auto element = [&]() -> Result<Offset<fb::TypeInfo>> {
    return write_type(b, type.element ? *type.element : ValueType(), with_shape, depth + 2,
                      at + "'s element");
  };
  switch (type.kind) {
    case ValueType::Kind::kTensor: {
      if (type.dtype == DataType::kUndefined)
        return Error{ErrorCode::kUnsupported, at + " has no known element type", {}};
      Offset<fb::Shape> shape;
      if (type.shape && with_shape) shape = write_shape(b, *type.shape, depth + 2);
      value =
          fb::CreateTensorTypeAndShape(b.fbb, static_cast<fb::TensorDataType>(type.dtype), shape)
              .Union();
      break;
    }
    case ValueType::Kind::kSequence: {
      ONNXTOOL_ASSIGN(const auto inner, element());
      kind = fb::TypeInfoValue::sequence_type;
      value = fb::CreateSequenceType(b.fbb, inner).Union();
      break;
    }
    case ValueType::Kind::kMap: {
      ONNXTOOL_ASSIGN(const auto inner, element());
      kind = fb::TypeInfoValue::map_type;
      value = fb::CreateMapType(b.fbb, static_cast<fb::TensorDataType>(type.dtype), inner).Union();
      break;
    }
    case ValueType::Kind::kOptional: return unsupported("an optional");
    case ValueType::Kind::kSparseTensor: return unsupported("a sparse tensor");
    case ValueType::Kind::kOpaque: return unsupported("of an opaque type");
    case ValueType::Kind::kUnknown:
      return Error{
          ErrorCode::kUnsupported, at + " has no known type",
          "a model can state it in value_info; outputs of custom operators must be stated there"};
  }
  return fb::CreateTypeInfo(
      b.fbb, type.denotation.empty() ? Offset<flatbuffers::String>() : b.string(type.denotation),
      kind, value);
}

Result<Offset<fb::Tensor>> write_tensor(Builder& b, std::string_view name, const Tensor& tensor,
                                        int depth, const std::string& at) {
  if (!can_hold(tensor.dtype()))
    return Error{ErrorCode::kUnsupported,
                 at + ": has elements of type " + std::string(onnxtool::name(tensor.dtype())) +
                     ", which onnxruntime does not load from a .ort file",
                 bits_of(tensor.dtype()) < 8 ? "quantize to 8 bits, or to 4 with MatMulNBits" : ""};
  b.count(1, depth + 1);
  const auto dims = b.numbers(tensor.dims());
  const auto shown = b.string(name), doc = b.string("");
  const auto type = static_cast<fb::TensorDataType>(tensor.dtype());
  if (tensor.dtype() == DataType::kString)
    return fb::CreateTensor(b.fbb, shown, doc, dims, type, 0, b.strings(tensor.strings()));
  if (tensor.size_bytes() > kMaxInlinePayload) {
    fb::TensorBuilder table(b.fbb);
    table.add_name(shown);
    table.add_doc_string(doc);
    table.add_dims(dims);
    table.add_data_type(type);
    b.fbb.AddElement<flatbuffers::uoffset_t>(fb::Tensor::VT_RAW_DATA, 1,
                                             0);  // set by place_payloads()
    const Offset<fb::Tensor> out = table.Finish();
    b.deferred.push_back({out, &tensor});
    return out;
  }
  b.fbb.ForceVectorAlignment(tensor.size_bytes(), 1, 16);
  const auto raw = b.fbb.CreateVector(reinterpret_cast<const uint8_t*>(tensor.bytes().data()),
                                      tensor.size_bytes());
  return fb::CreateTensor(b.fbb, shown, doc, dims, type, raw);
}

namespace {

Offset<fb::RuntimeOptimizationRecord> write_record(Builder& b, const OrtFusionRecord& f, int depth,
                                                   const Indices& indices) {
  constexpr uint32_t kNoNode = 0xFFFFFFFF;
  std::vector<uint32_t> nodes;
  for (const Node* n : f.nodes) nodes.push_back(n ? indices.at(n) : kNoNode);
  const auto numbers = b.numbers(nodes);
  const auto inputs = static_cast<uint32_t>(f.inputs), outputs = static_cast<uint32_t>(f.outputs);
  const auto which =
      fb::CreateNodesToOptimizeIndices(b.fbb, numbers, f.variadic ? 1 : inputs, outputs, f.variadic,
                                       false, f.variadic ? inputs : 0, 0);
  std::vector<std::string> ids;
  if (!f.op_type.empty())
    ids.push_back(std::string(f.domain) + ":" + std::string(f.op_type) + ":" +
                  std::to_string(f.since_version));
  const auto action = b.string(f.action);
  const auto produced = b.strings(ids);
  b.count(2, depth + 4);
  return fb::CreateRuntimeOptimizationRecord(b.fbb, action, which, produced);
}

}  // namespace

Offset<fb::RuntimeOptimizations> write_fusions(Builder& b, const Graph& graph,
                                               std::span<const OrtFusionRecord> all, int depth,
                                               const Indices& indices) {
  std::map<std::string_view, std::vector<Offset<fb::RuntimeOptimizationRecord>>> by_optimizer;
  for (const OrtFusionRecord& f : all)
    if (&f.graph() == &graph)
      by_optimizer[f.optimizer].push_back(write_record(b, f, depth, indices));
  if (by_optimizer.empty()) return {};
  std::vector<Offset<fb::RuntimeOptimizationRecordContainerEntry>> entries;
  for (const auto& [optimizer, records] : by_optimizer) {
    b.count(1, depth + 2);
    const auto name = b.string(optimizer);
    entries.push_back(fb::CreateRuntimeOptimizationRecordContainerEntry(
        b.fbb, name, b.fbb.CreateVector(records)));
  }
  b.count(1, depth + 1);
  return fb::CreateRuntimeOptimizations(b.fbb, b.fbb.CreateVector(entries));
}

std::vector<PlacedPayload> place_payloads(Builder& b, uint64_t& size) {
  std::vector<PlacedPayload> out;
  std::map<std::pair<const std::byte*, size_t>, uint64_t>
      placed;  // equal tensors share a payload; never iterated
  uint8_t* start = b.fbb.GetBufferPointer();
  const uint64_t tables = b.fbb.GetSize();
  size = tables;
  for (const Builder::Deferred& d : b.deferred) {
    const auto [it, fresh] =
        placed.emplace(std::pair(d.tensor->bytes().data(), d.tensor->size_bytes()), 0);
    if (fresh) {
      const uint64_t data =
          (size + sizeof(uint32_t) + kPayloadAlignment - 1) / kPayloadAlignment * kPayloadAlignment;
      it->second = data - sizeof(uint32_t);
      size = data + d.tensor->size_bytes();
      out.push_back({it->second, d.tensor});
    }
    auto* table = reinterpret_cast<flatbuffers::Table*>(start + tables - d.table.o);
    uint8_t* field = table->GetAddressOf(fb::Tensor::VT_RAW_DATA);
    flatbuffers::WriteScalar(field, static_cast<flatbuffers::uoffset_t>(
                                        it->second - static_cast<uint64_t>(field - start)));
  }
  return out;
}

}  // namespace onnxtool::ort_writing
