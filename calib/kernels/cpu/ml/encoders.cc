// Operators of ai.onnx.ml that map values to values: LabelEncoder, CategoryMapper, OneHotEncoder.

#include <bit>
#include <cmath>
#include <unordered_map>

#include "calib/kernels/cpu/convert.h"
#include "calib/kernels/cpu/ml/models.h"

namespace onnxtool {
namespace {

// Keys of one type, each with its position. Numbers are found by their value as double, which holds
// every float, int32 and int16; int64 keys are kept as they are. All NaNs are one key.
class KeyIndex {
 public:
  void add(std::string_view key) { strings_.emplace(std::string(key), size_++); }
  void add(int64_t key) { ints_.emplace(key, size_++); }
  void add(double key) { floats_.emplace(bits_of_value(key), size_++); }
  size_t size() const { return size_; }

  std::optional<size_t> find(const ConstView& x, int64_t i) const {
    const auto at = static_cast<size_t>(i);
    switch (x.dtype) {
      case DataType::kString: return found(strings_, x.as<std::string>()[at]);
      case DataType::kInt64: return found(ints_, x.as<int64_t>()[at]);
      case DataType::kInt32: return found(ints_, int64_t{x.as<int32_t>()[at]});
      case DataType::kInt16: return found(ints_, int64_t{x.as<int16_t>()[at]});
      case DataType::kFloat:
        return found(floats_, bits_of_value(static_cast<double>(x.as<float>()[at])));
      case DataType::kDouble: return found(floats_, bits_of_value(x.as<double>()[at]));
      default: return std::nullopt;
    }
  }

 private:
  static uint64_t bits_of_value(double v) {
    if (std::isnan(v)) v = std::numeric_limits<double>::quiet_NaN();
    return std::bit_cast<uint64_t>(v == 0 ? 0.0 : v);
  }
  template <class Map, class Key>
  static std::optional<size_t> found(const Map& map, const Key& key) {
    const auto it = map.find(key);
    return it == map.end() ? std::nullopt : std::optional(it->second);
  }

  std::unordered_map<std::string, size_t> strings_;
  std::unordered_map<int64_t, size_t> ints_;
  std::unordered_map<uint64_t, size_t> floats_;
  size_t size_ = 0;
};

constexpr std::initializer_list<DataType> kEncoderTypes = {DataType::kString, DataType::kInt64,
                                                           DataType::kFloat,  DataType::kInt32,
                                                           DataType::kInt16,  DataType::kDouble};

bool is_encodable(DataType type) {
  return std::find(kEncoderTypes.begin(), kEncoderTypes.end(), type) != kEncoderTypes.end();
}

// Values to choose from: elements [0, count) for keys, the one behind them where no key fits.
struct Values {
  DataType dtype = DataType::kUndefined;
  std::vector<std::string> strings;
  std::vector<std::byte> bytes;
  size_t count = 0;

  void add(std::string_view s) { dtype = DataType::kString, strings.emplace_back(s), ++count; }
  template <class T>
  void add(T v) {
    dtype = dtype_of<T>;
    const auto* b = reinterpret_cast<const std::byte*>(&v);
    bytes.insert(bytes.end(), b, b + sizeof v);
    ++count;
  }
  void add_all(const ConstView& t) {
    dtype = t.dtype;
    count += static_cast<size_t>(t.count);
    if (dtype == DataType::kString) {
      const auto s = t.as<std::string>();
      strings.insert(strings.end(), s.begin(), s.end());
    } else {
      const auto* b = static_cast<const std::byte*>(t.data);
      bytes.insert(bytes.end(), b, b + size_bytes_of(dtype, static_cast<uint64_t>(t.count)));
    }
  }
  const void* data() const {
    return dtype == DataType::kString ? static_cast<const void*>(strings.data()) : bytes.data();
  }
};

struct EncoderState final : KernelState {
  KeyIndex keys;
  Values values;  // one more than keys: the default
  DataType key_type = DataType::kUndefined;
};

template <class T>
void add_keys(EncoderState& s, const T& keys, DataType type) {
  s.key_type = type;
  for (const auto& k : keys) {
    if constexpr (std::is_same_v<std::decay_t<decltype(k)>, float>)
      s.keys.add(static_cast<double>(k));
    else
      s.keys.add(k);
  }
}

Status add_key_tensor(EncoderState& s, const ConstView& t) {
  if (!is_encodable(t.dtype)) return unsupported_type(t.dtype, "keys_tensor");
  s.key_type = t.dtype;
  if (t.dtype == DataType::kString) {
    for (const std::string& k : t.as<std::string>()) s.keys.add(k);
  } else if (is_float(t.dtype)) {
    std::vector<double> keys(static_cast<size_t>(t.count));
    convert_elements(t.dtype, t.data, DataType::kDouble, keys.data(), 0, t.count);
    for (const double k : keys) s.keys.add(k);
  } else {
    std::vector<int64_t> keys(static_cast<size_t>(t.count));
    convert_elements(t.dtype, t.data, DataType::kInt64, keys.data(), 0, t.count);
    for (const int64_t k : keys) s.keys.add(k);
  }
  return {};
}

Status read_keys(const NodeView& node, EncoderState& s) {
  if (const ConstView* t = node.attr_tensor("keys_tensor")) return add_key_tensor(s, *t);
  if (node.has_attribute("keys_strings"))
    add_keys(s, node.attr_strings("keys_strings"), DataType::kString);
  else if (node.has_attribute("keys_int64s"))
    add_keys(s, node.attr_ints("keys_int64s"), DataType::kInt64);
  else if (node.has_attribute("keys_floats"))
    add_keys(s, node.attr_floats("keys_floats"), DataType::kFloat);
  else
    return bad_model("there is no attribute with keys");
  return {};
}

Status read_values(const NodeView& node, EncoderState& s) {
  if (const ConstView* t = node.attr_tensor("values_tensor")) {
    if (!is_encodable(t->dtype)) return unsupported_type(t->dtype, "values_tensor");
    s.values.add_all(*t);
  } else if (node.has_attribute("values_strings")) {
    for (const auto v : node.attr_strings("values_strings")) s.values.add(v);
  } else if (node.has_attribute("values_int64s")) {
    for (const int64_t v : node.attr_ints("values_int64s")) s.values.add(v);
  } else if (node.has_attribute("values_floats")) {
    for (const float v : node.attr_floats("values_floats")) s.values.add(v);
  } else {
    return bad_model("there is no attribute with values");
  }
  if (s.values.count != s.keys.size() || s.values.count == 0)
    return bad_model("there are " + std::to_string(s.keys.size()) + " keys and " +
                     std::to_string(s.values.count) + " values");
  return {};
}

Status add_default(const NodeView& node, EncoderState& s) {
  if (const ConstView* t = node.attr_tensor("default_tensor")) {
    if (t->dtype != s.values.dtype || t->count != 1)
      return bad_model("default_tensor is " + std::string(name(t->dtype)) + format_dims(t->dims) +
                       ", expected one " + std::string(name(s.values.dtype)));
    s.values.add_all(*t);
    return {};
  }
  switch (s.values.dtype) {
    case DataType::kString: s.values.add(node.attr_string("default_string", "_Unused")); break;
    case DataType::kInt64: s.values.add(node.attr_int("default_int64", -1)); break;
    case DataType::kInt32:
      s.values.add(static_cast<int32_t>(node.attr_int("default_int64", -1)));
      break;
    case DataType::kInt16:
      s.values.add(static_cast<int16_t>(node.attr_int("default_int64", -1)));
      break;
    case DataType::kDouble:
      s.values.add(static_cast<double>(node.attr_float("default_float", -0.0f)));
      break;
    default: s.values.add(node.attr_float("default_float", -0.0f));
  }
  return {};
}

Result<std::unique_ptr<KernelState>> prepare_label_encoder(const NodeView& node) {
  ONNXTOOL_TRY(require_inputs(node, {0}));
  auto s = std::make_unique<EncoderState>();
  ONNXTOOL_TRY(read_keys(node, *s));
  ONNXTOOL_TRY(read_values(node, *s));
  ONNXTOOL_TRY(add_default(node, *s));
  return {std::move(s)};
}

// Two lists that are keys and values in turn: strings for inputs of integers, and the other way
// round.
struct TwoWay final : KernelState {
  EncoderState to_int, to_string;
};

Result<std::unique_ptr<KernelState>> two_way(const NodeView& node,
                                             const std::vector<std::string_view>& strings,
                                             std::span<const int64_t> ints) {
  auto both = std::make_unique<TwoWay>();
  add_keys(both->to_int, strings, DataType::kString);
  add_keys(both->to_string, ints, DataType::kInt64);
  for (const int64_t v : ints) both->to_int.values.add(v);
  for (const auto v : strings) both->to_string.values.add(v);
  both->to_int.values.add(node.attr_int("default_int64", -1));
  both->to_string.values.add(node.attr_string("default_string", "_Unused"));
  return {std::move(both)};
}

Result<std::unique_ptr<KernelState>> prepare_label_encoder_1(const NodeView& node) {
  ONNXTOOL_TRY(require_inputs(node, {0}));
  const auto classes = node.attr_strings("classes_strings");
  Dims positions;
  for (size_t i = 0; i < classes.size(); ++i) positions.push_back(static_cast<int64_t>(i));
  return two_way(node, classes, positions);
}

Result<std::unique_ptr<KernelState>> prepare_category_mapper(const NodeView& node) {
  ONNXTOOL_TRY(require_inputs(node, {0}));
  const auto strings = node.attr_strings("cats_strings");
  const auto ints = node.attr_ints("cats_int64s");
  if (strings.size() != ints.size())
    return wrong_length("cats_strings", strings.size(), std::to_string(ints.size()));
  return two_way(node, strings, ints);
}

Status encode(KernelContext& ctx, const EncoderState& s) {
  const ConstView& x = ctx.input(0);
  if (x.dtype != s.key_type)
    return mismatch("input 0 is " + std::string(name(x.dtype)) + ", but the keys are " +
                    std::string(name(s.key_type)));
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, s.values.dtype, x.dims));
  dispatch_movement(s.values.dtype, [&]<class E>() {
    const E* values = static_cast<const E*>(s.values.data());
    E* out = static_cast<E*>(y.data);
    for (int64_t i = 0; i < x.count; ++i)
      out[i] = values[s.keys.find(x, i).value_or(s.keys.size())];
  });
  return {};
}

Status label_encoder(KernelContext& ctx) {
  return encode(ctx, *static_cast<const EncoderState*>(ctx.state()));
}

Status encode_either_way(KernelContext& ctx) {
  const auto& both = *static_cast<const TwoWay*>(ctx.state());
  return encode(ctx, ctx.input(0).dtype == DataType::kString ? both.to_int : both.to_string);
}

struct OneHotState final : KernelState {
  KeyIndex categories;
  bool strings = false, unknown_is_zero = true;
};

Result<std::unique_ptr<KernelState>> prepare_one_hot(const NodeView& node) {
  ONNXTOOL_TRY(require_inputs(node, {0}));
  auto s = std::make_unique<OneHotState>();
  const auto strings = node.attr_strings("cats_strings");
  for (const auto c : strings) s->categories.add(c);
  if (strings.empty())
    for (const int64_t c : node.attr_ints("cats_int64s")) s->categories.add(c);
  if (s->categories.size() == 0)
    return bad_model("neither cats_strings nor cats_int64s has a category");
  s->strings = !strings.empty();
  s->unknown_is_zero = node.attr_int("zeros", 1) != 0;
  return {std::move(s)};
}

// A new last axis with a 1 at the category's place. Numbers are taken as integers.
Status one_hot_encoder(KernelContext& ctx) {
  const auto& s = *static_cast<const OneHotState*>(ctx.state());
  ConstView x = ctx.input(0);
  if ((x.dtype == DataType::kString) != s.strings)
    return mismatch("input 0 is " + std::string(name(x.dtype)) + ", but the categories are " +
                    (s.strings ? "strings" : "integers"));
  if (!s.strings) {
    ONNXTOOL_ASSIGN(x, converted(ctx, x, DataType::kInt64));
  }
  const auto width = static_cast<int64_t>(s.categories.size());
  Dims dims = to_dims(x.dims);
  dims.push_back(width);
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, DataType::kFloat, dims));
  const auto out = y.as<float>();
  std::fill(out.begin(), out.end(), 0.0f);
  for (int64_t i = 0; i < x.count; ++i) {
    const auto at = s.categories.find(x, i);
    if (at)
      out[static_cast<size_t>(i * width) + *at] = 1;
    else if (!s.unknown_is_zero)
      return mismatch("element " + std::to_string(i) + " is in no category");
  }
  return {};
}

}  // namespace

constinit const KernelInfo kLabelEncoder1{.domain = "ai.onnx.ml",
                                          .op = "LabelEncoder",
                                          .until = 1,
                                          .types = {DataType::kString, DataType::kInt64},
                                          .prepare = prepare_label_encoder_1,
                                          .run = encode_either_way};
constinit const KernelInfo kLabelEncoder{.domain = "ai.onnx.ml",
                                         .op = "LabelEncoder",
                                         .since = 2,
                                         .types = kEncoderTypes,
                                         .prepare = prepare_label_encoder,
                                         .run = label_encoder};
constinit const KernelInfo kCategoryMapper{.domain = "ai.onnx.ml",
                                           .op = "CategoryMapper",
                                           .types = {DataType::kString, DataType::kInt64},
                                           .prepare = prepare_category_mapper,
                                           .run = encode_either_way};
constinit const KernelInfo kOneHotEncoder{
    .domain = "ai.onnx.ml",
    .op = "OneHotEncoder",
    .types = {DataType::kString, DataType::kInt64, DataType::kInt32, DataType::kFloat,
              DataType::kDouble},
    .prepare = prepare_one_hot,
    .run = one_hot_encoder};

}  // namespace onnxtool
