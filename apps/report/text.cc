// The report for people.
#include <fmt/format.h>

#include <algorithm>

#include "apps/report/report.h"

namespace onnxtool {
namespace {

bool is_number(const Scalar& s) { return std::holds_alternative<int64_t>(s) || std::holds_alternative<double>(s); }

void append_table(std::string& out, const Table& table) {
  if (table.rows.empty() || !table.for_people) return;
  if (!table.title.empty()) out += "  " + table.title + "\n";
  const size_t shown = table.shown_rows ? std::min(table.shown_rows, table.rows.size()) : table.rows.size();
  std::vector<size_t> widths;
  for (const Column& c : table.columns) widths.push_back(c.label.size() + (c.unit.empty() ? 0 : c.unit.size() + 1));
  std::vector<std::vector<std::string>> cells;
  for (size_t r = 0; r < shown; ++r) {
    cells.emplace_back();
    for (size_t c = 0; c < table.columns.size(); ++c) {
      cells.back().push_back(format_scalar(table.rows[r][c], table.columns[c].unit));
      // One endless name must not push every other column off the screen.
      constexpr size_t kMaxCell = 60;
      if (cells.back().back().size() > kMaxCell) cells.back().back() = cells.back().back().substr(0, kMaxCell - 3) + "...";
      widths[c] = std::max(widths[c], cells.back().back().size());
    }
  }
  std::string line = "   ";
  for (size_t c = 0; c < table.columns.size(); ++c) {
    const Column& column = table.columns[c];
    const std::string head = column.unit.empty() ? column.label : column.label + " " + column.unit;
    line += is_number(table.rows[0][c]) ? fmt::format(" {:>{}} ", head, widths[c]) : fmt::format(" {:<{}} ", head, widths[c]);
  }
  while (line.ends_with(' ')) line.pop_back();
  out += line + "\n";
  for (size_t r = 0; r < shown; ++r) {
    line = "   ";
    for (size_t c = 0; c < table.columns.size(); ++c)
      line += is_number(table.rows[r][c]) || is_number(table.rows[0][c]) ? fmt::format(" {:>{}} ", cells[r][c], widths[c]) : fmt::format(" {:<{}} ", cells[r][c], widths[c]);
    while (line.ends_with(' ')) line.pop_back();
    out += line + "\n";
  }
  if (shown < table.rows.size()) out += fmt::format("    ... and {} more (--json has all)\n", table.rows.size() - shown);
}

}  // namespace

std::string render_text(const Report& report, const RenderOptions& options) {
  std::string out;
  for (const Section& s : report.sections) {
    if (s.timing && options.reproducible) continue;
    if (!out.empty()) out += "\n";
    if (!s.title.empty()) out += s.title + "\n";
    size_t width = 0;
    for (const Field& f : s.fields) width = std::max(width, f.label.size());
    for (const Field& f : s.fields) {
      std::string value = format_scalar(f.value, f.unit);
      if (!f.unit.empty() && is_number(f.value) && value != "-" && value != "identical") value += " " + f.unit;
      out += fmt::format("  {:<{}}  {}\n", f.label, width, value);
    }
    for (const std::string& n : s.notes) out += "  " + printable(n) + "\n";
    for (const Table& t : s.tables) append_table(out, t);
  }
  for (const Finding& f : report.findings) {
    out += fmt::format("{}[{}]: {}{}\n", f.severity, f.code, f.place.empty() ? "" : printable(f.place) + ": ", printable(f.message));
    if (!f.hint.empty()) out += "  hint: " + printable(f.hint) + "\n";
  }
  return out;
}

}  // namespace onnxtool
