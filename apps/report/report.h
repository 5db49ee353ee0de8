// The one report tree: fields, tables and findings in sections. Commands build it; each output form
// renders it and knows no command.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "apps/report/figure.h"
#include "libopt/support/status.h"

namespace onnxtool {

/// nullopt-like monostate is shown as "-" and written as null.
using Scalar = std::variant<std::monostate, bool, int64_t, double, std::string>;

enum class Audience : uint8_t { kAll, kPeople, kPrograms };

struct Field {
  std::string key;    // snake_case, for JSON
  std::string label;  // for people
  Scalar value;
  std::string unit;  // "bytes", "dB", "ms"; shown to people, part of `key`'s meaning in JSON
  Audience audience = Audience::kAll;  // people: in text only; programs: in JSON only
};

struct Column {
  std::string key, label, unit;
};

struct Table {
  std::string key, title;
  std::vector<Column> columns;
  std::vector<std::vector<Scalar>> rows;
  /// Rows shown to people; JSON has all. 0: all.
  size_t shown_rows = 0;
  bool for_people = true;    // false: in JSON only
  bool for_programs = true;  // false: a drawing for people
};

struct Finding {
  std::string code, severity, message, place, hint;
  std::string file = {};                    // which of several inputs; empty: the only one
  std::optional<int64_t> byte_offset = {};  // of the place, from the start of the file
};

/// What a code means, for forms that list rules beside results.
struct ReportRule {
  std::string code, severity, summary, explanation, fix;
};

/// One thing that was asked and answered, for forms that show tests. A finding of the same code and
/// place speaks of the same failure.
struct Check {
  enum class Verdict : uint8_t { kPass, kFail, kNone };
  std::string place, name, code, message;
  Verdict verdict = Verdict::kNone;
};

struct Section {
  std::string key, title;
  std::vector<Field> fields;
  std::vector<std::string> notes;
  std::vector<Table> tables;
  /// Wall-clock content: JSON puts it under `timing`, and --reproducible leaves it out.
  bool timing = false;
  std::vector<Figure> figures = {};
};

/// kNone: nothing could be judged.
enum class Answer : uint8_t { kYes, kNo, kNone };

struct Report {
  std::string command;
  std::vector<std::string> inputs;
  Answer answer = Answer::kYes;
  bool exit_zero = false;  // an answer of no is exit code 0, too
  std::vector<Check> checks;
  std::vector<Section> sections;
  std::vector<Finding> findings;
  std::vector<ReportRule> rules;  // of the findings; may be empty

  /// "ok", "negative", "no-answer".
  const char* status() const;
  int exit_code() const;
};

/// `--report FORMAT[=PATH]`.
struct ReportTarget {
  std::string format;  // one of report_formats()
  std::string path;    // empty: stdout
};
/// Errors (kUsage) list the formats.
Result<ReportTarget> parse_report_target(const std::string& text);

/// "text, json, ...": what --report takes.
std::string report_formats();

struct RenderOptions {
  bool reproducible = false;  // without the timing sections
  size_t width = 100;         // of a line of text
};
std::string render_markdown(const Report& report, const RenderOptions& options);
/// JUnit XML: checks and findings alone.
std::string render_junit(const Report& report, const RenderOptions& options);
std::string render_text(const Report& report, const RenderOptions& options);
/// The findings alone, as they end the text: `error[code]: place: message`, and a hint.
std::string render_findings(const Report& report);
std::string render_json(const Report& report, const RenderOptions& options);
/// One file that loads nothing: tables, and figures to walk through.
std::string render_html(const Report& report, const RenderOptions& options);
/// SARIF 2.1.0, and GitHub's annotations: the findings alone.
std::string render_sarif(const Report& report, const RenderOptions& options);
std::string render_github(const Report& report, const RenderOptions& options);
std::string render(const Report& report, const std::string& format, const RenderOptions& options);

/// The file that a finding is about: its own, or else the last input, which is the one that is
/// judged where there are two; empty where there is none.
std::string file_of(const Finding& finding, const Report& report);

/// printable() text for XML and HTML, attributes included.
std::string escape_markup(const std::string& text);
bool is_number(const Scalar& value);
/// A number as people read it: `12,345`, `35.93`, `-`.
std::string format_scalar(const Scalar& value, const std::string& unit);
/// The same with its unit behind it, where one belongs there: `35.93 dB`, `identical`.
std::string format_with_unit(const Scalar& value, const std::string& unit);
/// What would steer a terminal, and bytes that are not UTF-8, as \xNN: names come from files that
/// nobody vouches for.
std::string printable(std::string_view text);

}  // namespace onnxtool
