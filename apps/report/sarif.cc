// The findings as SARIF 2.1.0, which code scanning services read.
//
// A model has no lines: a result's place is the file, its logical location (the node), and the byte
// offset where one is known. Source: OASIS, SARIF Version 2.1.0, sections 3.14 to 3.52.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "apps/report/report.h"

namespace onnxtool {
namespace {

using Json = nlohmann::ordered_json;

const char* level_of(const std::string& severity) {
  return severity == "error" ? "error" : severity == "warning" ? "warning" : "note";
}

std::string escape_uri(const std::string& path) {
  constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : path) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                       std::string_view("-._~/").find(c) != std::string_view::npos;
    if (plain)
      out += c;
    else
      (((out += '%') += kHex[static_cast<unsigned char>(c) >> 4]) += kHex[c & 15]);
  }
  return out;
}

Json rule_json(const ReportRule& r) {
  Json rule = {{"id", r.code}, {"shortDescription", {{"text", r.summary}}}};
  if (!r.explanation.empty()) rule["fullDescription"] = {{"text", r.explanation}};
  if (!r.fix.empty()) rule["help"] = {{"text", r.fix}};
  rule["defaultConfiguration"] = {{"level", level_of(r.severity)}};
  return rule;
}

Json result_json(const Finding& f, const Report& report) {
  Json result = {{"ruleId", f.code}, {"level", level_of(f.severity)}};
  const auto rule = std::ranges::find(report.rules, f.code, &ReportRule::code);
  if (rule != report.rules.end()) result["ruleIndex"] = rule - report.rules.begin();
  result["message"] = {{"text", f.message.empty() ? f.code : f.message}};
  const std::string file = file_of(f, report);
  Json location = Json::object();
  if (!file.empty()) {
    location["physicalLocation"] = {{"artifactLocation", {{"uri", escape_uri(file)}}}};
    if (f.byte_offset)
      location["physicalLocation"]["region"] = {{"byteOffset", *f.byte_offset}, {"byteLength", 0}};
  }
  if (!f.place.empty())
    location["logicalLocations"] = Json::array({{{"fullyQualifiedName", f.place}}});
  if (!location.empty()) result["locations"] = Json::array({std::move(location)});
  return result;
}

}  // namespace

std::string render_sarif(const Report& report, const RenderOptions&) {
  Json driver = {{"name", "onnxtool"}, {"version", ONNXTOOL_VERSION}, {"rules", Json::array()}};
  for (const ReportRule& r : report.rules) driver["rules"].push_back(rule_json(r));
  Json results = Json::array();
  for (const Finding& f : report.findings) results.push_back(result_json(f, report));
  Json run = {{"tool", {{"driver", std::move(driver)}}},
              {"invocations", Json::array({{{"executionSuccessful", report.exit_code() < 2},
                                            {"exitCode", report.exit_code()}}})},
              {"columnKind", "utf16CodeUnits"},
              {"results", std::move(results)}};
  const Json root = {{"$schema", "https://json.schemastore.org/sarif-2.1.0.json"},
                     {"version", "2.1.0"},
                     {"runs", Json::array({std::move(run)})}};
  return root.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace onnxtool
