// The report as GitHub-flavoured Markdown, for comments on pull requests and step summaries: the
// answer first, long tables folded.
#include <fmt/format.h>

#include <algorithm>

#include "apps/report/report.h"

namespace onnxtool {
namespace {

// Rows beyond which a table is folded away.
constexpr size_t kOpenRows = 12;

// Nothing in a name may start markup, a link, a mention or a table cell.
std::string escaped(const std::string& text) {
  std::string out;
  const std::string plain = escape_markup(text);
  for (size_t i = 0; i < plain.size(); ++i) {
    const char c = plain[i];
    const std::string_view before = std::string_view(plain).substr(0, i);
    if (c == '@')
      out += "&#64;";
    else if (c == ':' && plain.compare(i, 3, "://") == 0)
      out += "&#58;";
    else if (c == '.' && (before.ends_with("www") || before.ends_with("WWW")))
      out += "&#46;";
    else if (std::string_view("\\`*_[]|#~").find(c) != std::string_view::npos)
      (out += '\\') += c;
    else
      out += c;
  }
  return out;
}

std::string cell(const Scalar& value, const std::string& unit) {
  return escaped(format_scalar(value, unit));
}

void append_table(std::string& out, const Table& t) {
  if (t.rows.empty() || !t.for_people) return;
  const size_t shown = t.shown_rows ? std::min(t.shown_rows, t.rows.size()) : t.rows.size();
  const bool folded = shown > kOpenRows;
  if (folded)
    out += fmt::format("<details><summary>{} ({} rows)</summary>\n\n",
                       escaped(t.title.empty() ? t.key : t.title), shown);
  else if (!t.title.empty())
    out += escaped(t.title) + "\n\n";
  std::string head = "|", rule = "|";
  for (size_t c = 0; c < t.columns.size(); ++c) {
    const Column& column = t.columns[c];
    head += " " + escaped(column.label) + (column.unit.empty() ? "" : " " + column.unit) + " |";
    const bool number = std::any_of(t.rows.begin(), t.rows.end(), [&](const auto& row) {
      return std::holds_alternative<int64_t>(row[c]) || std::holds_alternative<double>(row[c]);
    });
    rule += number ? "---:|" : "---|";
  }
  out += head + "\n" + rule + "\n";
  for (size_t r = 0; r < shown; ++r) {
    out += "|";
    for (size_t c = 0; c < t.columns.size(); ++c)
      out += " " + cell(t.rows[r][c], t.columns[c].unit) + " |";
    out += "\n";
  }
  if (shown < t.rows.size())
    out += fmt::format("\n{} more rows are in the JSON report.\n", t.rows.size() - shown);
  out += folded ? "\n</details>\n\n" : "\n";
}

}  // namespace

std::string render_markdown(const Report& report, const RenderOptions& options) {
  const char* answer = report.answer == Answer::kYes  ? "ok"
                       : report.answer == Answer::kNo ? "**the answer is no**"
                                                      : "**no answer**";
  std::string out = fmt::format("## onnxtool {}: {}\n\n", report.command, answer);
  for (const Finding& f : report.findings) {
    out += fmt::format("- **{}** `{}` {}{}", f.severity, f.code,
                       f.place.empty() ? "" : escaped(f.place) + ": ", escaped(f.message));
    out += f.hint.empty() ? "\n" : "<br>" + escaped(f.hint) + "\n";
  }
  if (!report.findings.empty()) out += "\n";
  for (const Section& s : report.sections) {
    if (s.timing && options.reproducible) continue;
    if (!s.title.empty()) out += "### " + escaped(s.title) + "\n\n";
    bool any = false;
    for (const Field& f : s.fields) {
      if (f.audience == Audience::kPrograms) continue;
      out +=
          fmt::format("- {}: {}\n", escaped(f.label), escaped(format_with_unit(f.value, f.unit)));
      any = true;
    }
    if (any) out += "\n";
    for (const std::string& n : s.notes) out += escaped(n) + "\n\n";
    for (const Table& t : s.tables) append_table(out, t);
  }
  return out;
}

}  // namespace onnxtool
