// See since_version.h. The table is sorted by domain, operator and version.

#include "libopt/ort/since_version.h"

#include <algorithm>
#include <charconv>
#include <string>
#include <tuple>

#include "libopt/ir/graph.h"
#include "libopt/support/status.h"

namespace onnxtool {
namespace {

constexpr OrtSchema kSchemas[] = {
#define SCHEMA(domain, op, since, deprecated, formals, types, defaults) \
  {domain, op, since, deprecated, formals, types, defaults},
#include "libopt/ort/schemas.def"
#undef SCHEMA
};

/// Calls f for every part of `text` between separators; nothing for an empty text.
template <class F>
void for_each_part(std::string_view text, char separator, F f) {
  while (!text.empty()) {
    const size_t end = std::min(text.find(separator), text.size());
    f(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

int64_t parse_int(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  ONNXTOOL_CHECK(error == std::errc() && end == text.data() + text.size());
  return value;
}

/// `-0x1.8p-3`, as Python's float.hex writes it: exact.
float parse_float(std::string_view text) {
  const bool negative = text.starts_with('-');
  text.remove_prefix(negative ? 3 : 2);
  float value = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), value, std::chars_format::hex);
  ONNXTOOL_CHECK(error == std::errc() && end == text.data() + text.size());
  return negative ? -value : value;
}

Attribute parse_default(std::string_view text) {
  const size_t equals = text.find('=');
  std::string name(text.substr(0, equals));
  const char kind = text[equals + 1];
  const std::string_view value = text.substr(equals + 2);
  std::vector<int64_t> ints;
  std::vector<std::string> strings;
  switch (kind) {
    case 'i': return Attribute::of(std::move(name), parse_int(value));
    case 'f': return Attribute::of(std::move(name), parse_float(value));
    case 's': return Attribute::of(std::move(name), std::string(value));
    case 'I':
      for_each_part(value, ',', [&](std::string_view part) { ints.push_back(parse_int(part)); });
      return Attribute::of(std::move(name), std::move(ints));
    default:
      ONNXTOOL_CHECK(kind == 'S');
      for_each_part(value, ',', [&](std::string_view part) { strings.emplace_back(part); });
      return Attribute::of(std::move(name), std::move(strings));
  }
}

}  // namespace

const OrtSchema* find_ort_schema(std::string_view domain, std::string_view op, int64_t opset) {
  if (domain == "ai.onnx") domain = "";
  const auto after =
      std::ranges::upper_bound(kSchemas, std::tuple(domain, op, opset), {}, [](const OrtSchema& s) {
        return std::tuple(s.domain, s.op, static_cast<int64_t>(s.since_version));
      });
  if (after == std::begin(kSchemas)) return nullptr;
  const OrtSchema& schema = *std::prev(after);
  return schema.domain == domain && schema.op == op && !schema.deprecated ? &schema : nullptr;
}

std::optional<int> ort_since_version(std::string_view domain, std::string_view op, int64_t opset) {
  const OrtSchema* schema = find_ort_schema(domain, op, opset);
  return schema ? std::optional(schema->since_version) : std::nullopt;
}

std::vector<OrtTypeArgs> ort_type_args(const OrtSchema& schema) {
  std::vector<OrtTypeArgs> entries;
  for_each_part(schema.kernel_types, ';', [&](std::string_view entry) {
    const size_t colon = entry.find(':');
    OrtTypeArgs& args = entries.emplace_back(OrtTypeArgs{entry.substr(0, colon), {}, {}});
    for_each_part(entry.substr(colon + 1), ',', [&](std::string_view arg) {
      (arg[0] == 'i' ? args.inputs : args.outputs)
          .push_back(static_cast<int>(parse_int(arg.substr(1))));
    });
  });
  return entries;
}

std::vector<Attribute> ort_default_attributes(const OrtSchema& schema) {
  std::vector<Attribute> attributes;
  for_each_part(schema.defaults, ';',
                [&](std::string_view text) { attributes.push_back(parse_default(text)); });
  return attributes;
}

}  // namespace onnxtool
