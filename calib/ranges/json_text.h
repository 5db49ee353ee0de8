// JSON as range files write it, and its reading without exceptions.
#pragma once

#include <array>
#include <charconv>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "libopt/support/status.h"

namespace onnxtool {

/// A JSON string. Names that are not UTF-8 lose the offending bytes: JSON cannot hold them.
inline std::string json_string(std::string_view text) {
  using Json = nlohmann::json;
  return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
}

/// Shortest text that reads back as the same double; a float is exact in it.
inline std::string json_number(double value) {
  std::array<char, 40> buffer;
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value).ptr;
  return {buffer.data(), end};
}

/// Errors (kBadData): it is none.
inline Result<nlohmann::json> parse_json(std::string_view text) {
  auto json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return Error{ErrorCode::kBadData, "is not JSON", {}};
  return json;
}

}  // namespace onnxtool
