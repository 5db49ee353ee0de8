// JSON Schema (draft 2020-12), as much of it as the schemas of this repository use.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace onnxtool::testing {

/// What of `value` the schema does not allow, with its place; empty: it is valid. Keywords that are
/// not known here are faults, too.
std::vector<std::string> schema_faults(const nlohmann::json& schema, const nlohmann::json& value);

}  // namespace onnxtool::testing
