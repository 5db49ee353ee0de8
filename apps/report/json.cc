// The report for programs. Non-finite numbers are null, with `<key>_is` saying what they were.
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "apps/report/report.h"
#include "apps/report/schema.h"

namespace onnxtool {
namespace {

using Json = nlohmann::ordered_json;

void put(Json& object, const std::string& key, const Scalar& value) {
  if (const auto* b = std::get_if<bool>(&value))
    object[key] = *b;
  else if (const auto* i = std::get_if<int64_t>(&value))
    object[key] = *i;
  else if (const auto* s = std::get_if<std::string>(&value))
    object[key] = *s;
  else if (const auto* d = std::get_if<double>(&value); d && std::isfinite(*d))
    object[key] = *d;
  else {
    object[key] = nullptr;
    if (d) object[key + "_is"] = std::isnan(*d) ? "nan" : *d > 0 ? "infinity" : "-infinity";
  }
}

Json section_json(const Section& s) {
  Json object = Json::object();
  for (const Field& f : s.fields)
    if (f.audience != Audience::kPeople) put(object, f.key, f.value);
  if (!s.notes.empty()) object["notes"] = s.notes;
  for (const Table& t : s.tables) {
    if (!t.for_programs) continue;
    Json rows = Json::array();
    for (const auto& row : t.rows) {
      Json r = Json::object();
      for (size_t c = 0; c < t.columns.size(); ++c) put(r, t.columns[c].key, row[c]);
      rows.push_back(std::move(r));
    }
    object[t.key] = std::move(rows);
  }
  return object;
}

}  // namespace

std::string render_json(const Report& report, const RenderOptions& options) {
  Json root;
  root["schema"] = kReportSchema;
  root["tool_version"] = ONNXTOOL_VERSION;
  root["command"] = report.command;
  root["inputs"] = report.inputs;
  root["status"] = report.status();
  root["exit_code"] = report.exit_code();
  std::map<std::string, int> counts;
  for (const Section& s : report.sections)
    if (!s.timing) ++counts[s.key];
  for (const Section& s : report.sections) {
    if (s.timing) continue;
    if (counts[s.key] == 1)
      root[s.key] = section_json(s);
    else
      root[s.key].push_back(section_json(s));
  }
  if (!report.findings.empty()) {
    Json list = Json::array();
    for (const Finding& f : report.findings) {
      list.push_back({{"code", f.code},
                      {"severity", f.severity},
                      {"place", f.place},
                      {"message", f.message},
                      {"hint", f.hint}});
      if (!f.file.empty()) list.back()["file"] = f.file;
      if (f.byte_offset) list.back()["byte_offset"] = *f.byte_offset;
    }
    root["findings"] = std::move(list);
  }
  if (!options.reproducible)
    for (const Section& s : report.sections)
      if (s.timing) root["timing"] = section_json(s);
  // Names in a model need not be UTF-8; what is not is replaced, so that the output always parses.
  return root.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace onnxtool
