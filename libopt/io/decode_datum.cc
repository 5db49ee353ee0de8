#include "libopt/io/decode_datum.h"

#include "libopt/io/wire.h"

namespace onnxtool {
namespace {

using wire::Bytes;
using wire::Field;

// Containers nest; a hostile file may pretend to do so without end.
constexpr int kMaxDepth = 32;

Error bad(std::string message) { return Error{ErrorCode::kBadData, std::move(message), {}}; }

class DatumDecoder {
 public:
  explicit DatumDecoder(const DecodeSource& source) : source_(source) {}

  Result<Datum> tensor(Bytes message) const {
    ONNXTOOL_ASSIGN(NamedTensor t, decode_tensor({message, source_.owner, nullptr}));
    return Datum(std::move(t.tensor));
  }

  // The fields of elements have one number more in an OptionalProto's single ones: 3 tensor,
  // 5 sequence, 6 map, 7 optional in both messages.
  Result<Datum> element(const Field& f, int depth) const {
    if (f.type != wire::WireType::kBytes) return bad("an element has the wrong wire type");
    switch (f.number) {
      case 3: return tensor(f.bytes);
      case 5: return sequence(f.bytes, depth + 1);
      case 6: return map(f.bytes, depth + 1);
      case 7: return optional(f.bytes, depth + 1);
      default: return bad("sparse tensors in sequences and optionals are not supported");
    }
  }

  Result<Datum> sequence(Bytes message, int depth) const {
    std::vector<Datum> items;
    ONNXTOOL_TRY(for_each_element(message, depth, [&](Datum d) { items.push_back(std::move(d)); }));
    return Datum::sequence(std::move(items));
  }

  Result<Datum> optional(Bytes message, int depth) const {
    Datum value;
    ONNXTOOL_TRY(for_each_element(message, depth, [&](Datum d) { value = std::move(d); }));
    return value;
  }

  Result<Datum> map(Bytes message, int depth) const {
    std::vector<int64_t> ints;
    std::vector<std::string> strings;
    Datum values;
    for (wire::Reader reader(message); !reader.done();) {
      ONNXTOOL_ASSIGN(const Field f, reader.next());
      if (f.number == 3) ONNXTOOL_TRY(wire::append_ints(f, ints));
      if (f.number == 4) strings.push_back(f.string());
      if (f.number == 5) {
        ONNXTOOL_ASSIGN(values, sequence(f.bytes, depth + 1));
      }
    }
    const auto count = static_cast<int64_t>(strings.empty() ? ints.size() : strings.size());
    Tensor keys = strings.empty() ? Tensor::from<int64_t>({count}, ints)
                                  : Tensor::from_strings({count}, std::move(strings));
    ONNXTOOL_ASSIGN(Tensor joined, join(values, count));
    return Datum::map(std::move(keys), std::move(joined));
  }

 private:
  template <class F>
  Status for_each_element(Bytes message, int depth, F&& take) const {
    if (depth > kMaxDepth)
      return bad("values are nested more than " + std::to_string(kMaxDepth) + " deep");
    for (wire::Reader reader(message); !reader.done();) {
      ONNXTOOL_ASSIGN(const Field f, reader.next());
      if (f.number < 3) continue;  // name, elem_type
      ONNXTOOL_ASSIGN(Datum d, element(f, depth));
      take(std::move(d));
    }
    return {};
  }

  // A map's values, scalars or one vector, as one vector.
  static Result<Tensor> join(const Datum& values, int64_t count) {
    if (!values.is_sequence()) return bad("a map has no values");
    const std::vector<Datum>& items = values.items();
    if (items.size() == 1 && items[0].is_tensor() && items[0].tensor().count() == count)
      return items[0].tensor().reshaped({count});
    if (static_cast<int64_t>(items.size()) != count)
      return bad("a map has " + std::to_string(count) + " keys and " +
                 std::to_string(items.size()) + " values");
    if (items.empty()) return Tensor::from<float>({0}, std::vector<float>());
    const DataType dtype = items[0].tensor().dtype();
    std::vector<std::byte> bytes;
    std::vector<std::string> strings;
    for (const Datum& d : items) {
      if (!d.is_tensor() || d.tensor().count() != 1 || d.tensor().dtype() != dtype ||
          (dtype != DataType::kString && bits_of(dtype) < 8))
        return bad("a map's values are not scalars of one type");
      if (dtype == DataType::kString)
        strings.push_back(d.tensor().strings()[0]);
      else
        bytes.insert(bytes.end(), d.tensor().bytes().begin(), d.tensor().bytes().end());
    }
    return dtype == DataType::kString ? Tensor::from_strings({count}, std::move(strings))
                                      : Tensor::from_bytes(dtype, {count}, std::move(bytes));
  }

  const DecodeSource& source_;
};

}  // namespace

Result<Datum> decode_datum(const DecodeSource& source, const ValueType& type) {
  const DatumDecoder decoder(source);
  switch (type.kind) {
    case ValueType::Kind::kSequence: return decoder.sequence(source.bytes, 0);
    case ValueType::Kind::kMap: return decoder.map(source.bytes, 0);
    case ValueType::Kind::kOptional: return decoder.optional(source.bytes, 0);
    default: return decoder.tensor(source.bytes);
  }
}

}  // namespace onnxtool
