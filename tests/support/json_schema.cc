#include "tests/support/json_schema.h"

#include <algorithm>
#include <regex>
#include <set>

namespace onnxtool::testing {
namespace {

using Json = nlohmann::json;

class Validator {
 public:
  explicit Validator(const Json& root) : root_(root) {}

  void check(const Json& schema, const Json& value, const std::string& place) {
    static const std::set<std::string> kAnnotations = {"$schema", "$defs", "title", "description",
                                                       "additionalProperties"};
    for (const auto& [keyword, wanted] : schema.items()) {
      if (kAnnotations.contains(keyword)) continue;
      if (!apply(keyword, wanted, value, place)) fault(place, "unknown keyword " + keyword);
    }
    if (value.is_object() && schema.contains("additionalProperties"))
      check_others(schema, value, place);
  }

  std::vector<std::string> faults;

 private:
  void fault(const std::string& place, const std::string& what) {
    faults.push_back((place.empty() ? "/" : place) + ": " + what);
  }

  bool apply(const std::string& keyword, const Json& wanted, const Json& value,
             const std::string& place) {
    if (keyword == "$ref") {
      check(root_.at(Json::json_pointer(wanted.get<std::string>().substr(1))), value, place);
    } else if (keyword == "type") {
      const std::vector<Json> types =
          wanted.is_array() ? wanted.get<std::vector<Json>>() : std::vector<Json>{wanted};
      if (std::none_of(types.begin(), types.end(), [&](const Json& t) { return is(value, t); }))
        fault(place, "is " + std::string(value.type_name()) + ", expected " + wanted.dump());
    } else if (keyword == "const") {
      if (value != wanted) fault(place, "is " + value.dump() + ", expected " + wanted.dump());
    } else if (keyword == "enum") {
      if (std::find(wanted.begin(), wanted.end(), value) == wanted.end())
        fault(place, value.dump() + " is none of " + wanted.dump());
    } else if (keyword == "minimum") {
      if (value.is_number() && value < wanted) fault(place, value.dump() + " is too small");
    } else if (keyword == "pattern") {
      if (value.is_string() &&
          !std::regex_search(value.get<std::string>(), std::regex(wanted.get<std::string>())))
        fault(place, value.dump() + " does not match " + wanted.dump());
    } else if (keyword == "required") {
      for (const Json& key : wanted)
        if (value.is_object() && !value.contains(key.get<std::string>()))
          fault(place, "has no " + key.dump());
    } else if (keyword == "properties") {
      for (const auto& [key, inner] : wanted.items())
        if (value.is_object() && value.contains(key)) check(inner, value[key], place + "/" + key);
    } else if (keyword == "items") {
      for (size_t i = 0; value.is_array() && i < value.size(); ++i)
        check(wanted, value[i], place + "/" + std::to_string(i));
    } else if (keyword == "minItems") {
      if (value.is_array() && value.size() < wanted.get<size_t>())
        fault(place, "has too few items");
    } else if (keyword == "anyOf") {
      const bool any = std::any_of(wanted.begin(), wanted.end(), [&](const Json& one) {
        Validator inner(root_);
        inner.check(one, value, place);
        return inner.faults.empty();
      });
      if (!any) fault(place, "is nothing of " + wanted.dump());
    } else {
      return false;
    }
    return true;
  }

  void check_others(const Json& schema, const Json& value, const std::string& place) {
    const Json& others = schema["additionalProperties"];
    for (const auto& [key, inner] : value.items()) {
      if (schema.contains("properties") && schema["properties"].contains(key)) continue;
      if (others.is_boolean() && !others.get<bool>())
        fault(place, "has the unexpected key '" + key + "'");
      else if (others.is_object())
        check(others, inner, place + "/" + key);
    }
  }

  static bool is(const Json& value, const std::string& type) {
    return type == "object"    ? value.is_object()
           : type == "array"   ? value.is_array()
           : type == "string"  ? value.is_string()
           : type == "boolean" ? value.is_boolean()
           : type == "integer" ? value.is_number_integer()
           : type == "number"  ? value.is_number()
                               : type == "null" && value.is_null();
  }

  const Json& root_;
};

}  // namespace

std::vector<std::string> schema_faults(const Json& schema, const Json& value) {
  Validator v(schema);
  v.check(schema, value, "");
  return std::move(v.faults);
}

}  // namespace onnxtool::testing
