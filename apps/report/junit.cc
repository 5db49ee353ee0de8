// The report as JUnit XML, which CI systems show as tests: a test case for every check that was
// made and for every finding that no check speaks of; at least one, so that an empty file never
// looks green.
#include <fmt/format.h>

#include <algorithm>

#include "apps/report/report.h"

namespace onnxtool {
namespace {

struct TestCase {
  std::string place, name, kind;  // kind: "", "failure", "error"
  std::string code, message, hint;
};

std::string class_of(const Report& report) { return "onnxtool." + report.command; }

std::vector<TestCase> test_cases(const Report& report) {
  std::vector<TestCase> out;
  for (const Check& c : report.checks)
    out.push_back({c.place, c.name,
                   c.verdict == Check::Verdict::kPass   ? ""
                   : c.verdict == Check::Verdict::kFail ? "failure"
                                                        : "error",
                   c.code, c.message, ""});
  for (const Finding& f : report.findings) {
    const auto spoken =
        std::any_of(report.checks.begin(), report.checks.end(), [&](const Check& c) {
          return c.code == f.code && c.place == f.place && c.verdict != Check::Verdict::kPass;
        });
    if (!spoken)
      out.push_back(
          {f.place, f.code, f.severity == "error" ? "failure" : "", f.code, f.message, f.hint});
  }
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
      out += c.message.empty()
                 ? "/>\n"
                 : fmt::format(">\n      <system-out>{}</system-out>\n    </testcase>\n",
                               escape_markup(c.message));
      continue;
    }
    out +=
        fmt::format(">\n      <{0} type=\"{1}\" message=\"{2}\">{3}</{0}>\n    </testcase>\n",
                    c.kind, escape_markup(c.code), escape_markup(c.message), escape_markup(c.hint));
  }
  return out + "  </testsuite>\n</testsuites>\n";
}

}  // namespace onnxtool
