// The report as one file for a browser: it loads nothing, and its policy forbids that it could.
// What a model says (names, documentation) is text in it and never markup.
#include <fmt/format.h>

#include <algorithm>

#include "apps/report/html_figures.h"
#include "apps/report/page.h"
#include "apps/report/report.h"
#include "libopt/support/sha256.h"

namespace onnxtool {
namespace {

// Rows of one table beyond which a browser becomes slow.
constexpr size_t kMostRows = 5000;

// `'sha256-...'`, as a content security policy names a script or a style.
std::string policy_source(std::string_view text) {
  Sha256 digest;
  digest.add(text);
  const std::string hex = digest.hex();
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  // Three hex digits are two of base 64; 64 are 21 times three and one, which ends in four bits.
  const auto value = [&](size_t i) {
    return i < hex.size() ? static_cast<uint32_t>(hex[i] <= '9' ? hex[i] - '0' : hex[i] - 'a' + 10)
                          : 0u;
  };
  for (size_t i = 0; i < hex.size(); i += 3) {
    const uint32_t twelve = value(i) << 8 | value(i + 1) << 4 | value(i + 2);
    out += kDigits[twelve >> 6];
    if (i + 1 < hex.size()) out += kDigits[twelve & 63];
  }
  return "'sha256-" + out + "='";
}

std::string head(const Report& report) {
  std::string title = "onnxtool " + report.command;
  for (const std::string& input : report.inputs) title += " " + input;
  return fmt::format(
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src {}; "
      "style-src {}\">\n"
      "<meta name=\"viewport\" content=\"width=device-width\">\n<title>{}</title>\n"
      "<style>{}</style>\n</head>\n",
      policy_source(kPageScript), policy_source(kPageStyle), escape_markup(title), kPageStyle);
}

void append_findings(std::string& out, const Report& report) {
  if (report.findings.empty()) return;
  out += "<ul class=\"findings\">\n";
  for (const Finding& f : report.findings) {
    out += fmt::format("<li class=\"{}\"><code>{}[{}]</code> ", escape_markup(f.severity),
                       escape_markup(f.severity), escape_markup(f.code));
    if (!f.file.empty() && report.inputs.size() > 1) out += escape_markup(f.file) + ": ";
    if (!f.place.empty()) out += escape_markup(f.place) + ": ";
    out += escape_markup(f.message);
    if (!f.hint.empty()) out += "<br><span class=\"hint\">" + escape_markup(f.hint) + "</span>";
    out += "</li>\n";
  }
  out += "</ul>\n";
}

void append_rows(std::string& out, const Table& t, size_t from, size_t to) {
  out += "<table>\n<thead><tr>";
  for (size_t c = 0; c < t.columns.size(); ++c) {
    const bool number =
        std::ranges::any_of(t.rows, [c](const auto& row) { return is_number(row[c]); });
    const std::string unit = t.columns[c].unit.empty() ? "" : " " + t.columns[c].unit;
    out += (number ? "<th class=\"number\">" : "<th>") + escape_markup(t.columns[c].label + unit) +
           "</th>";
  }
  out += "</tr></thead>\n<tbody>\n";
  for (size_t r = from; r < to; ++r) {
    out += "<tr>";
    for (size_t c = 0; c < t.columns.size(); ++c)
      out += (is_number(t.rows[r][c]) ? "<td class=\"number\">" : "<td>") +
             escape_markup(format_scalar(t.rows[r][c], t.columns[c].unit)) + "</td>";
    out += "</tr>\n";
  }
  out += "</tbody>\n</table>\n";
}

void append_table(std::string& out, const Table& t) {
  if (t.rows.empty() || !t.for_people) return;
  const size_t all = t.rows.size();
  const size_t open = t.shown_rows ? std::min(t.shown_rows, all) : std::min(all, kMostRows);
  if (!t.title.empty()) out += "<h3>" + escape_markup(t.title) + "</h3>\n";
  append_rows(out, t, 0, open);
  const size_t end = std::min(all, kMostRows);
  if (open < end) {
    out += fmt::format("<details><summary>{} more</summary>\n", end - open);
    append_rows(out, t, open, end);
    out += "</details>\n";
  }
  if (end < all)
    out += fmt::format("<p class=\"note\">{} more rows are in the JSON report</p>\n", all - end);
}

void append_section(std::string& out, const Section& s, size_t& figure) {
  out += "<section id=\"" + escape_markup(s.key) + "\">\n";
  if (!s.title.empty()) out += "<h2>" + escape_markup(s.title) + "</h2>\n";
  std::string fields;
  for (const Field& f : s.fields)
    if (f.audience != Audience::kPrograms)
      fields += "<dt>" + escape_markup(f.label) + "</dt><dd>" +
                escape_markup(format_with_unit(f.value, f.unit)) + "</dd>\n";
  if (!fields.empty()) out += "<dl>\n" + fields + "</dl>\n";
  for (const std::string& n : s.notes) out += "<p class=\"note\">" + escape_markup(n) + "</p>\n";
  for (size_t i = 0; i < s.figures.size(); ++i)
    out += fmt::format("<figure data-figure=\"{}\"></figure>\n", figure++);
  for (const Table& t : s.tables) append_table(out, t);
  out += "</section>\n";
}

}  // namespace

std::string render_html(const Report& report, const RenderOptions& options) {
  std::string out = head(report) + "<body>\n<header><h1>onnxtool " + escape_markup(report.command);
  for (const std::string& input : report.inputs)
    out += " <small>" + escape_markup(input) + "</small>";
  out += "</h1>";
  if (report.answer != Answer::kYes)
    out += report.answer == Answer::kNo ? "<p class=\"no\">the answer is no</p>"
                                        : "<p class=\"no\">no answer</p>";
  out += "</header>\n<main>\n";
  append_findings(out, report);
  size_t figure = 0;
  for (const Section& s : report.sections)
    if (!s.timing || !options.reproducible) append_section(out, s, figure);
  out += "</main>\n<script type=\"application/json\" id=\"figures\">" +
         figures_json(report, options) + "</script>\n<script>";
  out += kPageScript;
  return out + "</script>\n</body>\n</html>\n";
}

}  // namespace onnxtool
