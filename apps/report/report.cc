#include "apps/report/report.h"

#include <fmt/format.h>

#include <cmath>

namespace onnxtool {
namespace {

struct Format {
  const char* name;
  std::string (*render)(const Report&, const RenderOptions&);
};
constexpr Format kFormats[] = {
    {"text", render_text},     {"json", render_json},   {"markdown", render_markdown},
    {"html", render_html},     {"junit", render_junit}, {"sarif", render_sarif},
    {"github", render_github},
};

const Format* find_format(const std::string& name) {
  for (const Format& f : kFormats)
    if (f.name == name) return &f;
  return nullptr;
}

}  // namespace

std::string report_formats() {
  std::string out;
  for (const Format& f : kFormats) out += (out.empty() ? "" : ", ") + std::string(f.name);
  return out;
}

const char* Report::status() const {
  return answer == Answer::kYes ? "ok" : answer == Answer::kNo ? "negative" : "no-answer";
}

int Report::exit_code() const {
  return answer == Answer::kYes ? 0 : answer == Answer::kNo ? (exit_zero ? 0 : 1) : 2;
}

Result<ReportTarget> parse_report_target(const std::string& text) {
  const size_t equals = text.find('=');
  ReportTarget target{text.substr(0, equals),
                      equals == std::string::npos ? "" : text.substr(equals + 1)};
  if (!find_format(target.format))
    return Error{ErrorCode::kUsage, "--report: unknown format '" + target.format + "'",
                 "known: " + report_formats()};
  if (equals != std::string::npos && target.path.empty())
    return Error{ErrorCode::kUsage, "--report " + text + ": the path is empty", {}};
  return target;
}

namespace {

// Length of the well-formed UTF-8 sequence at the start, and its code point; 0 where there is none.
size_t decode_utf8(std::string_view s, uint32_t& point) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(s[i]); };
  const size_t length = byte(0) < 0x80   ? 1
                        : byte(0) < 0xc2 ? 0
                        : byte(0) < 0xe0 ? 2
                        : byte(0) < 0xf0 ? 3
                        : byte(0) < 0xf5 ? 4
                                         : 0;
  if (length == 0 || s.size() < length) return 0;
  point = length == 1 ? byte(0) : byte(0) & (0x7fu >> length);
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
    point = point << 6 | (byte(i) & 0x3f);
  }
  if ((length == 3 && point < 0x800) || (length == 4 && (point < 0x10000 || point > 0x10ffff)) ||
      (point >= 0xd800 && point < 0xe000))
    return 0;
  return length;
}

// Moves the cursor, colours, reverses the text that follows, or is no character at all, which XML
// refuses.
bool is_control(uint32_t point) {
  const bool marks = point == 0x61c || point == 0x200e || point == 0x200f ||
                     (point >= 0x202a && point <= 0x202e) || (point >= 0x2066 && point <= 0x2069);
  const bool noncharacter = (point & 0xfffe) == 0xfffe || (point >= 0xfdd0 && point <= 0xfdef);
  return point < 0x20 || (point >= 0x7f && point < 0xa0) || marks || noncharacter;
}

}  // namespace

std::string file_of(const Finding& finding, const Report& report) {
  if (!finding.file.empty() || report.inputs.empty()) return finding.file;
  return report.inputs.back();
}

std::string printable(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    uint32_t point = 0;
    const size_t length = decode_utf8(text, point);
    const bool as_is = length && !is_control(point);
    const size_t take = std::max<size_t>(length, 1);
    for (const char c : text.substr(0, take))
      out += as_is ? std::string(1, c) : fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    text.remove_prefix(take);
  }
  return out;
}

std::string format_scalar(const Scalar& value, const std::string& unit) {
  struct Formatter {
    const std::string& unit;
    std::string operator()(std::monostate) const { return "-"; }
    std::string operator()(bool b) const { return b ? "yes" : "no"; }
    std::string operator()(int64_t i) const {
      std::string digits = std::to_string(i).substr(i < 0 ? 1 : 0), out;
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

std::string escape_markup(const std::string& text) {
  std::string out;
  for (const char c : printable(text)) {
    if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '&')
      out += "&amp;";
    else if (c == '"')
      out += "&quot;";
    else
      out += c;
  }
  return out;
}

bool is_number(const Scalar& value) {
  return std::holds_alternative<int64_t>(value) || std::holds_alternative<double>(value);
}

std::string format_with_unit(const Scalar& value, const std::string& unit) {
  std::string text = format_scalar(value, unit);
  if (is_number(value) && !unit.empty() && text != "-" && text != "identical") text += " " + unit;
  return text;
}

std::string render(const Report& report, const std::string& format, const RenderOptions& options) {
  const Format* known = find_format(format);
  ONNXTOOL_CHECK(known);
  return known->render(report, options);
}

}  // namespace onnxtool
