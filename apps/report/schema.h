// The JSON Schema of reports.
#pragma once

#include <string>
#include <vector>

namespace onnxtool {

/// Name of the JSON form; raised when a reader of the old one would misread the new.
inline constexpr const char* kReportSchema = "onnxtool-report-1";
/// The JSON Schema (draft 2020-12) of the JSON form, for reports of these commands.
std::string report_schema(const std::vector<std::string>& commands);

}  // namespace onnxtool
