// Exit codes and report forms of the commands that judge: each outcome in each form, held against
// the form's rules.
#include <doctest/doctest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <regex>
#include <span>
#include <sstream>

#include "tests/apps/command_line.h"
#include "tests/support/json_schema.h"
#include "tests/support/xml.h"

namespace onnxtool {
namespace {

using namespace testing;
using Json = nlohmann::json;

constexpr const char* kForms[] = {"text", "json", "markdown", "html", "junit", "sarif", "github"};

struct Situation {
  std::string name, arguments;
  int code;
  bool reported = true;  // false: the reason stands on stderr alone
};

const Situation kDiff[] = {
    {"equal", "a.onnx a.onnx --data x.npy", 0},
    {"drift", "a.onnx drift.onnx --data x.npy", 1},
    {"NaN on one side", "a.onnx nan.onnx --data x.npy", 1},
    {"missing output", "a.onnx missing.onnx --data x.npy", 1},
    {"shape change", "a.onnx shape.onnx --data x.npy", 1},
    {"nothing to compare", "nothing.onnx nothing.onnx --data x.npy", 2},
    {"empty data", "a.onnx a.onnx --data empty", 2, false},
    {"unreadable model", "a.onnx nowhere.onnx --data x.npy", 2, false},
    {"no model", "a.onnx junk.onnx --data x.npy", 2, false},
    {"unreadable data", "a.onnx a.onnx --data nowhere", 2, false},
    {"unsupported operator", "a.onnx custom.onnx --data x.npy", 2, false},
    {"bad flag", "a.onnx a.onnx --data x.npy --gaet sqnr=3", 2, false},
    {"bad gate", "a.onnx a.onnx --data x.npy --gate sqnr", 2, false},
};
const Situation kCheck[] = {
    {"sound", "a.onnx", 0},
    {"a finding", "a.onnx bad.onnx", 1},
    {"findings let pass", "bad.onnx --exit-zero", 0},
    {"no model", "junk.onnx", 1},
    {"unreadable model", "a.onnx nowhere.onnx", 2},
    {"bad flag", "a.onnx --fail-at error", 2, false},
};

void write_models(const std::filesystem::path& directory) {
  const auto model = [&](const std::string& name, const std::string& outputs,
                         const std::string& nodes) {
    REQUIRE(
        write_model(directory / name,
                    "<ir_version: 8, opset_import: [\"\" : 17, \"own\" : 1]> g (float[4] x) => (" +
                        outputs +
                        ") <float[4] w = {1.0, 2.0, 3.0, 4.0}, float[4] v = {-1.0, 2.0, 3.0, 9.0}, "
                        "int64[2] column = {4, 1}, int64[1] zero = {0}> { " +
                        nodes + " }")
            .ok());
  };
  const std::string both = "float[4] y, float[4] z";
  model("a.onnx", both, "[n] y = Add (x, w)  [m] z = Mul (x, w)");
  model("drift.onnx", both, "[n] y = Add (x, v)  [m] z = Mul (x, w)");
  model("nan.onnx", both, "[r] s = Sqrt (v)  [n] y = Add (x, s)  [m] z = Mul (x, w)");
  model("missing.onnx", "float[4] y", "[n] y = Add (x, w)");
  model("shape.onnx", "float[4, 1] y, float[4] z",
        "[n] s = Add (x, w)  [r] y = Reshape (s, column)  [m] z = Mul (x, w)");
  model("nothing.onnx", "float[0] y", "[n] y = Slice (x, zero, zero)");
  model("custom.onnx", both, "[n] y = own.Op (x)  [m] z = Mul (x, w)");
  model("bad.onnx", "float[5] y", "[n] y = Add (x, w)");
  write_file(directory / "junk.onnx", "this is no model");
  std::filesystem::create_directory(directory / "empty");
  write_npy(directory / "x.npy", {4}, {0.5f, 1, 2, 3});
}

Json parsed(const std::string& text) {
  const Json json = Json::parse(text, nullptr, false);
  REQUIRE_FALSE(json.is_discarded());
  return json;
}

void check_valid(const Json& schema, const Json& value) {
  const auto faults = schema_faults(schema, value);
  INFO((faults.empty() ? std::string() : faults.front()));
  CHECK(faults.empty());
}

void check_json(const std::string& text, const Json& schema, int code) {
  const Json report = parsed(text);
  check_valid(schema, report);
  CHECK(report["exit_code"] == code);
  CHECK((report["status"] == "no-answer") == (code == 2));
}

void check_sarif(const std::string& text, int code, bool findings) {
  static const Json schema = parsed(
      read_file(std::filesystem::path(ONNXTOOL_SOURCE_DIR) / "testdata/schemas/sarif-2.1.0.json"));
  const Json log = parsed(text);
  check_valid(schema, log);
  const Json& run = log["runs"][0];
  CHECK(run["results"].empty() != findings);
  CHECK(run["invocations"][0]["executionSuccessful"] == (code < 2));
  const Json& rules = run["tool"]["driver"]["rules"];
  for (const Json& r : run["results"])
    if (r.contains("ruleIndex")) {
      REQUIRE(r["ruleIndex"] < rules.size());
      CHECK(rules[r["ruleIndex"].get<size_t>()]["id"] == r["ruleId"]);
    }
}

// A suite's cases, their number as its attributes say. Source: what Jenkins, GitLab and GitHub
// actions read.
void check_suite(const XmlElement& suite, size_t& failures, size_t& errors) {
  CHECK(suite.name == "testsuite");
  CHECK(!suite.attributes.at("name").empty());
  size_t tests = 0;
  for (const XmlElement& c : suite.children) {
    if (c.name == "properties") continue;
    CHECK(c.name == "testcase");
    ++tests;
    CHECK(!c.attributes.at("name").empty());
    CHECK(!c.attributes.at("classname").empty());
    CHECK(c.children.size() <= 1);
    for (const XmlElement& e : c.children) {
      failures += e.name == "failure";
      errors += e.name == "error";
      CHECK((e.name == "failure" || e.name == "error" || e.name == "system-out"));
      CHECK((e.name == "system-out" || !e.attributes.at("type").empty()));
    }
  }
  CHECK(tests > 0);
  CHECK(suite.attributes.at("tests") == std::to_string(tests));
}

void check_junit(const std::string& text, bool bad) {
  const auto root = parse_xml(text);
  REQUIRE_MESSAGE(root.ok(), root.error().message);
  CHECK(root->name == "testsuites");
  size_t failures = 0, errors = 0;
  for (const XmlElement& suite : root->children) check_suite(suite, failures, errors);
  CHECK(root->attributes.at("failures") == std::to_string(failures));
  CHECK(root->attributes.at("errors") == std::to_string(errors));
  CHECK((failures + errors > 0) == bad);
}

void check_github(const std::string& text, bool findings) {
  CHECK(text.empty() != findings);
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);)
    CHECK_MESSAGE(
        std::regex_match(
            line, std::regex("::(error|warning|notice) title=[a-z0-9-]+(,file=[^:,]+)?::.+")),
        line);
}

void check_form(const std::string& form, const std::string& out, const Json& schema,
                const Situation& s, const Json& found) {
  const bool findings = !found.empty(),
             errors =
                 std::ranges::any_of(found, [](const Json&f) { return f["severity"] == "error"; });
  if (form == "json") {
    check_json(out, schema, s.code);
  } else if (form == "sarif") {
    check_sarif(out, s.code, findings);
  } else if (form == "junit") {
    check_junit(out, s.code != 0 || errors);
  } else if (form == "github") {
    check_github(out, findings);
  } else if (form == "html") {
    CHECK(out.starts_with("<!doctype html>"));
    CHECK(out.ends_with("</html>\n"));
  } else {
    CHECK(!out.empty());
    CHECK(out.ends_with("\n"));
  }
}

void check_all(const std::string& command, std::span<const Situation> situations) {
  const TemporaryDirectory directory;
  write_models(directory.path());
  const Json schema = parsed(run_command("onnxtool schema " + command, directory.path()).out);
  for (const Situation& s : situations) {
    const std::string line = "onnxtool " + command + " " + s.arguments + " --no-config --report ";
    const Finished known = run_command(line + "json", directory.path());
    const Json found =
        s.reported ? parsed(known.out).value("findings", Json::array()) : Json::array();
    for (const std::string form : kForms) {
      INFO(command << ": " << s.name << " as " << form);
      const Finished f = run_command(line + form, directory.path());
      CHECK(f.code == s.code);
      if (s.reported) {
        check_form(form, f.out, schema, s, found);
      } else {
        CHECK(f.out.empty());
        CHECK(f.err.find("error[") != std::string::npos);
      }
    }
  }
}

}  // namespace

TEST_CASE("diff: every outcome has its exit code and a valid report in every form") {
  check_all("diff", kDiff);
}

TEST_CASE("check: every outcome has its exit code and a valid report in every form") {
  check_all("check", kCheck);
}

TEST_CASE("a report that could not be made leaves no file, an old one stays") {
  const TemporaryDirectory directory;
  write_models(directory.path());
  write_file(directory.path() / "old.xml", "old");
  const auto before = snapshot(directory.path());
  const Finished f = run_command(
      "onnxtool diff a.onnx nowhere.onnx --data x.npy --report junit=old.xml --report "
      "sarif=new.sarif",
      directory.path());
  CHECK(f.code == 2);
  CHECK(differences(before, snapshot(directory.path())).empty());
}

TEST_CASE("reports of all commands follow their schema") {
  const TemporaryDirectory directory;
  write_models(directory.path());
  const Json any = parsed(run_command("onnxtool schema", directory.path()).out);
  for (const std::string command :
       {"optimize a.onnx -o o.onnx", "inspect a.onnx", "inspect a.onnx drift.onnx",
        "run a.onnx --data x.npy", "bench a.onnx --random 1 --runs 1 --warmup 1",
        "quantize a.onnx --to fp16 -o h.onnx --random 2"}) {
    INFO(command);
    const Finished f = run_command("onnxtool " + command + " --json", directory.path());
    REQUIRE(f.code <= 1);
    const Json report = parsed(f.out);
    check_valid(any, report);
    check_valid(parsed(run_command("onnxtool schema " + report["command"].get<std::string>(),
                                   directory.path())
                           .out),
                report);
  }
}

TEST_CASE("the validators of reports refuse what is wrong") {
  const Json schema =
      Json::parse(R"({"type": "object", "required": ["a"], "additionalProperties": false,
      "properties": {"a": {"type": "array", "items": {"$ref": "#/$defs/n"}}}, "$defs": {"n": {"enum": [1, 2]}}})");
  CHECK(schema_faults(schema, {{"a", {1, 2}}}).empty());
  CHECK(schema_faults(schema, {{"a", {1, 3}}}).size() == 1);
  CHECK(schema_faults(schema, Json::object()).size() == 1);
  CHECK(schema_faults(schema, {{"a", Json::array()}, {"b", 1}}).size() == 1);
  CHECK(schema_faults({{"typo", 1}}, 1).size() == 1);
  const std::string head = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
  CHECK(parse_xml(head + "<a b=\"1\"><c/>x &lt; y</a>\n").ok());
  for (const std::string broken :
       {"<a><b></a></b>", "<a", "<a>", "<a b=1/>", "<a>&nbsp;</a>", "<a/><b/>", "<a b=\"<\"/>",
        "<a b=\"1\" b=\"2\"/>", "<a>\x01</a>"})
    CHECK_FALSE(parse_xml(head + broken).ok());
}

}  // namespace onnxtool
