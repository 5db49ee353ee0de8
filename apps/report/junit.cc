// The report as JUnit XML, which CI systems show as tests: a test case for every check that was
// made, with the findings on what it checked inside, and for every finding that no check speaks of;
// at least one, so that an empty file never looks green.
#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "apps/report/report.h"

namespace onnxtool {
namespace {

struct TestCase {
  std::string place, name, kind;  // kind: "", "failure", "error"
  std::string code, message, text;
};

// Markup that keeps line breaks.
std::string escape_lines(const std::string& text) {
  std::string out;
  for (size_t start = 0; start < text.size();) {
    const size_t end = std::min(text.find('\n', start), text.size());
    out += (out.empty() ? "" : "\n") + escape_markup(text.substr(start, end - start));
    start = end + 1;
  }
  return out;
}

std::string class_of(const Report& report) { return "onnxtool." + report.command; }

std::vector<TestCase> test_cases(const Report& report) {
  std::vector<TestCase> out;
  std::unordered_map<std::string_view, Report> of_file;
  for (const Finding& f : report.findings)
    if (!f.file.empty()) of_file[f.file].findings.push_back(f);
  // A check speaks of the findings of its file, and of the one that says the same of a gate.
  std::unordered_set<std::string_view> files;
  std::set<std::pair<std::string_view, std::string_view>> gates;
  for (const Check& c : report.checks) {
    files.insert(c.place);
    if (c.verdict != Check::Verdict::kPass) gates.emplace(c.code, c.place);
    out.push_back({c.place, c.name,
                   c.verdict == Check::Verdict::kPass   ? ""
                   : c.verdict == Check::Verdict::kFail ? "failure"
                                                        : "error",
                   c.code, c.message, render_findings(of_file[c.place])});
  }
  for (const Finding& f : report.findings)
    if (f.file.empty() ? !gates.contains({f.code, f.place}) : !files.contains(f.file))
      out.push_back(
          {f.place, f.code, f.severity == "error" ? "failure" : "", f.code, f.message, f.hint});
  if (out.empty()) {
    const bool good = report.answer == Answer::kYes;
    out.push_back({"", report.command, good ? "" : "failure", report.status(),
                   good ? "" : "the answer is no", ""});
  }
  return out;
}

}  // namespace

std::string render_junit(const Report& report, const RenderOptions&) {
  const auto cases = test_cases(report);
  const auto count = [&](const char* kind) {
    return std::count_if(cases.begin(), cases.end(),
                         [&](const TestCase& c) { return c.kind == kind; });
  };
  std::string inputs;
  for (const std::string& i : report.inputs) inputs += (inputs.empty() ? "" : " ") + i;
  const std::string totals = fmt::format("tests=\"{}\" failures=\"{}\" errors=\"{}\"", cases.size(),
                                         count("failure"), count("error"));
  std::string out = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
  out += fmt::format("<testsuites name=\"onnxtool\" {}>\n", totals);
  out += fmt::format("  <testsuite name=\"onnxtool {}\" {}>\n", report.command, totals);
  out += fmt::format(
      "    <properties>\n      <property name=\"inputs\" value=\"{}\"/>\n      <property "
      "name=\"tool_version\" value=\"{}\"/>\n    </properties>\n",
      escape_markup(inputs), ONNXTOOL_VERSION);
  for (const TestCase& c : cases) {
    const std::string place = c.place.empty() ? class_of(report) : class_of(report) + "." + c.place;
    out += fmt::format("    <testcase classname=\"{}\" name=\"{}\"", escape_markup(place),
                       escape_markup(c.name));
    if (c.kind.empty()) {
      const std::string& text = c.text.empty() ? c.message : c.text;
      out += text.empty() ? "/>\n"
                          : fmt::format(">\n      <system-out>{}</system-out>\n    </testcase>\n",
                                        escape_lines(text));
      continue;
    }
    out +=
        fmt::format(">\n      <{0} type=\"{1}\" message=\"{2}\">{3}</{0}>\n    </testcase>\n",
                    c.kind, escape_markup(c.code), escape_markup(c.message), escape_lines(c.text));
  }
  return out + "  </testsuite>\n</testsuites>\n";
}

}  // namespace onnxtool
