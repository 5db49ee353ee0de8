// The report for people.
#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "apps/report/report.h"

namespace onnxtool {
namespace {

size_t length(const std::string& text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  }));
}

// Both ends of an endless name stay: paths in a model differ at the end.
std::string shortened(const std::string& text, size_t most) {
  if (length(text) <= most) return text;
  const auto at = [&](size_t characters) {
    size_t i = 0;
    for (; i < text.size(); ++i)
      if ((static_cast<unsigned char>(text[i]) & 0xc0) != 0x80 && characters-- == 0) break;
    return i;
  };
  const size_t head = (most - 3) / 3, tail = most - 3 - head;
  return text.substr(0, at(head)) + "..." + text.substr(at(length(text) - tail));
}

std::string padded(const std::string& text, size_t width, bool right) {
  const std::string space(width - std::min(width, length(text)), ' ');
  return right ? space + text : text + space;
}

// GitHub takes a line for a command that begins so, blanks or not, whoever's name it is.
std::string no_command(std::string line) {
  const size_t start = line.find_first_not_of(' ');
  if (start == std::string::npos) return line;
  const std::string_view text = std::string_view(line).substr(start);
  if (!text.starts_with("::") && !text.starts_with("##[")) return line;
  return line.replace(start, 1, fmt::format("\\x{:02x}", line[start]));
}

void append_table(std::string& out, const Table& table) {
  if (table.rows.empty() || !table.for_people) return;
  if (!table.title.empty()) out += "  " + table.title + "\n";
  const size_t shown =
      table.shown_rows ? std::min(table.shown_rows, table.rows.size()) : table.rows.size();
  std::vector<size_t> widths;
  std::vector<bool> right;  // numbers, and gaps between them
  for (size_t c = 0; c < table.columns.size(); ++c) {
    const Column& column = table.columns[c];
    widths.push_back(column.label.size() + (column.unit.empty() ? 0 : column.unit.size() + 1));
    right.push_back(std::any_of(table.rows.begin(), table.rows.end(),
                                [&](const auto& row) { return is_number(row[c]); }));
  }
  std::vector<std::vector<std::string>> cells;
  for (size_t r = 0; r < shown; ++r) {
    cells.emplace_back();
    for (size_t c = 0; c < table.columns.size(); ++c) {
      cells.back().push_back(format_scalar(table.rows[r][c], table.columns[c].unit));
      // One endless name must not push every other column off the screen; a column of its own may
      // be long.
      constexpr size_t kMaxCell = 60;
      if (c + 1 < table.columns.size())
        cells.back().back() = shortened(cells.back().back(), kMaxCell);
      widths[c] = std::max(widths[c], length(cells.back().back()));
    }
  }
  std::string line = "   ";
  for (size_t c = 0; c < table.columns.size(); ++c) {
    const Column& column = table.columns[c];
    const std::string head = column.unit.empty() ? column.label : column.label + " " + column.unit;
    line += " " + padded(head, widths[c], right[c]) + " ";
  }
  while (line.ends_with(' ')) line.pop_back();
  out += line + "\n";
  for (size_t r = 0; r < shown; ++r) {
    line = "   ";
    for (size_t c = 0; c < table.columns.size(); ++c)
      line += " " + padded(cells[r][c], widths[c], right[c]) + " ";
    while (line.ends_with(' ')) line.pop_back();
    out += no_command(line) + "\n";
  }
  if (shown < table.rows.size())
    out += fmt::format("    ... and {} more (all are in --json)\n", table.rows.size() - shown);
}

}  // namespace

std::string render_text(const Report& report, const RenderOptions& options) {
  std::string out;
  for (const Section& s : report.sections) {
    if (s.timing && options.reproducible) continue;
    if (!out.empty()) out += "\n";
    if (!s.title.empty()) out += s.title + "\n";
    size_t width = 0;
    std::vector<Field> fields;
    std::copy_if(s.fields.begin(), s.fields.end(), std::back_inserter(fields),
                 [](const Field& f) { return f.audience != Audience::kPrograms; });
    for (const Field& f : fields) width = std::max(width, length(printable(f.label)));
    for (const Field& f : fields) {
      out += "  " + padded(printable(f.label), width, false) + "  " +
             format_with_unit(f.value, f.unit) + "\n";
    }
    for (const std::string& n : s.notes) out += no_command("  " + printable(n)) + "\n";
    for (const Table& t : s.tables) append_table(out, t);
  }
  if (!out.empty() && !report.findings.empty()) out += "\n";
  return out + render_findings(report);
}

std::string render_findings(const Report& report) {
  std::string out;
  for (const Finding& f : report.findings) {
    // Of a file that cannot be read the place is the file.
    const bool names_file = !f.file.empty() && f.file != f.place && report.inputs.size() > 1;
    const std::string file = names_file ? printable(f.file) + ": " : "";
    out += fmt::format("{}[{}]: {}{}{}\n", f.severity, f.code, file,
                       f.place.empty() ? "" : printable(f.place) + ": ", printable(f.message));
    if (!f.hint.empty()) out += "hint: " + printable(f.hint) + "\n";
  }
  return out;
}

}  // namespace onnxtool
