// JSON Schema of the report's JSON form. render_json() is what it describes; a test holds the
// reports against it.
#include <nlohmann/json.hpp>

#include "apps/report/schema.h"

namespace onnxtool {
namespace {

using Json = nlohmann::ordered_json;

Json ref(const char* name) { return {{"$ref", std::string("#/$defs/") + name}}; }
Json text() { return {{"type", "string"}}; }
Json list_of(Json items) { return {{"type", "array"}, {"items", std::move(items)}}; }

Json finding() {
  return {{"type", "object"},
          {"required", {"code", "severity", "place", "message", "hint"}},
          {"properties",
           {{"code", {{"type", "string"}, {"pattern", "^[a-z0-9]+(-[a-z0-9]+)*$"}}},
            {"severity", {{"enum", {"error", "warning", "info", "note"}}}},
            {"place", text()},
            {"message", text()},
            {"hint", text()},
            {"file", text()},
            {"byte_offset", {{"type", "integer"}, {"minimum", 0}}}}},
          {"additionalProperties", false}};
}

Json definitions() {
  return {{"scalar",
           {{"description",
             "A number that is not finite is null, and KEY_is beside it says nan, infinity or "
             "-infinity."},
            {"type", {"string", "number", "boolean", "null"}}}},
          {"row", {{"type", "object"}, {"additionalProperties", ref("scalar")}}},
          {"section",
           {{"type", "object"},
            {"properties", {{"notes", list_of(text())}}},
            {"additionalProperties", {{"anyOf", {ref("scalar"), list_of(ref("row"))}}}}}},
          {"finding", finding()}};
}

}  // namespace

std::string report_schema(const std::vector<std::string>& commands) {
  Json root = {
      {"$schema", "https://json-schema.org/draft/2020-12/schema"},
      {"title", "onnxtool report"},
      {"type", "object"},
      {"required", {"schema", "tool_version", "command", "inputs", "status", "exit_code"}}};
  root["properties"] = {{"schema", {{"const", kReportSchema}}},
                        {"tool_version", text()},
                        {"command", {{"enum", commands}}},
                        {"inputs", list_of(text())},
                        {"status", {{"enum", {"ok", "negative", "no-answer"}}}},
                        {"exit_code", {{"enum", {0, 1, 2}}}},
                        {"findings", list_of(ref("finding"))}};
  // Several of one kind are a list.
  root["additionalProperties"] = {{"anyOf", {ref("section"), list_of(ref("section"))}}};
  root["$defs"] = definitions();
  return root.dump(2) + "\n";
}

}  // namespace onnxtool
