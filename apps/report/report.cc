#include "apps/report/report.h"

#include <fmt/format.h>

#include <cmath>

namespace onnxtool {

Result<ReportTarget> parse_report_target(const std::string& text) {
  const size_t equals = text.find('=');
  ReportTarget target{text.substr(0, equals), equals == std::string::npos ? "" : text.substr(equals + 1)};
  if (target.format != "text" && target.format != "json")
    return Error{ErrorCode::kUsage, "--report: unknown format '" + target.format + "'", "known: text, json"};
  if (equals != std::string::npos && target.path.empty()) return Error{ErrorCode::kUsage, "--report " + text + ": the path is empty", {}};
  return target;
}

std::string printable(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto u = static_cast<unsigned char>(c);
    if (u < 0x20 || u == 0x7f) out += fmt::format("\\x{:02x}", u);
    else out += c;
  }
  return out;
}

std::string format_scalar(const Scalar& value, const std::string& unit) {
  struct Formatter {
    const std::string& unit;
    std::string operator()(std::monostate) const { return "-"; }
    std::string operator()(bool b) const { return b ? "yes" : "no"; }
    std::string operator()(int64_t i) const {
      std::string digits = std::to_string(i < 0 ? -i : i), out;
      for (size_t k = 0; k < digits.size(); ++k) {
        if (k && (digits.size() - k) % 3 == 0) out += ',';
        out += digits[k];
      }
      return (i < 0 ? "-" : "") + out;
    }
    std::string operator()(double d) const {
      if (std::isnan(d)) return "-";
      if (std::isinf(d)) return unit == "dB" && d > 0 ? "identical" : d > 0 ? "inf" : "-inf";
      if (unit == "dB" || unit == "%" || unit == "s") return fmt::format("{:.2f}", d);
      return fmt::format("{:.5g}", d);
    }
    std::string operator()(const std::string& s) const { return printable(s); }
  };
  return std::visit(Formatter{unit}, value);
}

std::string render(const Report& report, const std::string& format, const RenderOptions& options) {
  return format == "json" ? render_json(report, options) : render_text(report, options);
}

}  // namespace onnxtool
