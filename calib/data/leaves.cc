#include "calib/data/leaves.h"

#include <algorithm>
#include <numeric>

namespace onnxtool {
namespace {

// Elements of a vector of whole bytes or strings.
Tensor taken(const Tensor& vector, const std::vector<size_t>& places, std::vector<int64_t> dims) {
  if (vector.dtype() == DataType::kString) {
    std::vector<std::string> out;
    for (const size_t i : places) out.push_back(vector.strings()[i]);
    return Tensor::from_strings(std::move(dims), std::move(out));
  }
  const size_t unit =
      vector.size_bytes() / std::max<size_t>(static_cast<size_t>(vector.count()), 1);
  std::vector<std::byte> bytes(unit * places.size());
  for (size_t i = 0; i < places.size(); ++i)
    std::copy_n(vector.bytes().data() + places[i] * unit, unit, bytes.data() + i * unit);
  return Tensor::from_bytes(vector.dtype(), std::move(dims), std::move(bytes));
}

Leaf leaf_of_map(const std::string& path, const Datum& map) {
  const Tensor& keys = map.keys();
  std::vector<size_t> order(static_cast<size_t>(keys.count()));
  std::iota(order.begin(), order.end(), size_t{0});
  const auto sort = [&](const auto& values) {
    std::ranges::stable_sort(order, [&](size_t a, size_t b) { return values[a] < values[b]; });
  };
  if (keys.dtype() == DataType::kString)
    sort(keys.strings());
  else
    sort(keys.to_ints());
  if (std::ranges::is_sorted(order)) return {path, map.values(), keys};
  return {path, taken(map.values(), order, map.values().dims()), taken(keys, order, keys.dims())};
}

void add_leaves(const std::string& path, const Datum& value, std::vector<Leaf>& out) {
  switch (value.kind()) {
    case Datum::Kind::kTensor: out.push_back({path, value.tensor(), std::nullopt}); break;
    case Datum::Kind::kMap: out.push_back(leaf_of_map(path, value)); break;
    case Datum::Kind::kSequence:
      for (size_t i = 0; i < value.items().size(); ++i)
        add_leaves(path + "[" + std::to_string(i) + "]", value.items()[i], out);
      break;
    case Datum::Kind::kNone: break;
  }
}

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

}  // namespace

std::vector<Leaf> leaves_of(const std::string& name, const Datum& value) {
  std::vector<Leaf> out;
  add_leaves(name, value, out);
  return out;
}

std::string element_path(const Leaf& map, int64_t index) {
  const auto i = static_cast<size_t>(index);
  const Tensor& keys = *map.keys;
  return map.path + "[" +
         (keys.dtype() == DataType::kString ? quoted(keys.strings()[i])
                                            : std::to_string(keys.to_ints()[i])) +
         "]";
}

std::vector<NamedTensor> tensors_of(const std::string& name, const Datum& value) {
  std::vector<NamedTensor> out;
  for (const Leaf& leaf : leaves_of(name, value)) {
    if (!leaf.keys) {
      out.push_back({leaf.path, leaf.values});
      continue;
    }
    for (int64_t i = 0; i < leaf.keys->count(); ++i)
      out.push_back({element_path(leaf, i), taken(leaf.values, {static_cast<size_t>(i)}, {})});
  }
  return out;
}

std::vector<Datum> as_data(std::span<const Tensor> tensors) {
  return {tensors.begin(), tensors.end()};
}

DataType leaf_type(const ValueType& type) {
  const ValueType* t = &type;
  while (!t->is_tensor() && t->element) t = t->element.get();
  return t->dtype;
}

bool is_container(const ValueType& type) {
  return type.kind == ValueType::Kind::kSequence || type.kind == ValueType::Kind::kMap ||
         type.kind == ValueType::Kind::kOptional;
}

}  // namespace onnxtool
