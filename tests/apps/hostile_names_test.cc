// Names that a file chose, in every form of a report.
#include <doctest/doctest.h>

#include "apps/report/report.h"
#include "apps/report/svg.h"
#include "tests/support/xml.h"

namespace onnxtool {
namespace {

Report naming(const std::string& name) {
  Report r;
  r.command = "inspect";
  r.inputs = {"before.onnx", "after.onnx"};
  r.findings = {{"code", "error", name, name, ""}};
  Section s{"one", "One", {}, {name}, {}, false};
  s.tables.push_back({"t", "", {{"a", "name", ""}, {"b", "n", ""}}, {{name, int64_t{1}}}, 0});
  r.sections = {std::move(s)};
  return r;
}

bool has_line(const std::string& text, std::string_view start) {
  for (size_t at = 0; at < text.size();) {
    const size_t first = text.find_first_not_of(' ', at), end = text.find('\n', at);
    if (first != std::string::npos && text.compare(first, start.size(), start) == 0) return true;
    if (end == std::string::npos) break;
    at = end + 1;
  }
  return false;
}

TEST_CASE("names: what is no character, or turns the line around, is escaped") {
  CHECK(printable("a\xef\xbf\xbf") == "a\\xef\\xbf\\xbf");         // U+FFFF
  CHECK(printable("a\xef\xbf\xbe") == "a\\xef\\xbf\\xbe");         // U+FFFE
  CHECK(printable("\xf0\x9f\xbf\xbf") == "\\xf0\\x9f\\xbf\\xbf");  // U+1FFFF
  CHECK(printable("\xef\xb7\x90") == "\\xef\\xb7\\x90");           // U+FDD0
  CHECK(printable("\xe2\x80\x8f") == "\\xe2\\x80\\x8f");           // right-to-left mark
  CHECK(printable("\xd8\x9c") == "\\xd8\\x9c");                    // Arabic letter mark
  CHECK(printable("\xc3\xa4\xe4\xb8\xad\xf0\x9f\x90\x8d") ==
        "\xc3\xa4\xe4\xb8\xad\xf0\x9f\x90\x8d");
}

TEST_CASE("names: JUnit stays XML") {
  const std::string xml = render_junit(naming("a\xef\xbf\xbf<&\"\x01"), {});
  CHECK(testing::parse_xml(xml).ok());
  CHECK(xml.find("\xef\xbf\xbf") == std::string::npos);
}

TEST_CASE("names: text begins no line with a workflow command") {
  for (const auto& [name, kept] : {std::pair{"::error::boom", ":error::boom"},
                                   {"##[error]boom", "#[error]boom"},
                                   {"  ::add-mask::x", ":add-mask::x"}}) {
    const std::string text = render_text(naming(name), {});
    CHECK(text.find(kept) != std::string::npos);
    CHECK(!has_line(text, "::"));
    CHECK(!has_line(text, "##["));
  }
  CHECK(render_text(naming("a::b"), {}).find("a::b") != std::string::npos);
}

TEST_CASE("names: Markdown links nothing") {
  const std::string text = render_markdown(naming("https://evil.example www.evil.example"), {});
  CHECK(text.find("://") == std::string::npos);
  CHECK(text.find("www.") == std::string::npos);
}

TEST_CASE("names: a size map of endless paths is drawn, and is small") {
  std::string path;
  for (int i = 0; i < 200'000; ++i) path += "p/";
  CHECK(path_parts(path + "x").size() == 32);
  CHECK(path_parts("//a//b/") == std::vector<std::string>{"a", "b"});
  const std::string svg = svg_of(Treemap{"", "bytes", {{path + "x", 1}, {"q/c", 2}}});
  CHECK(svg.find("<rect") != std::string::npos);
  CHECK(svg.size() < 64 * path.size());
}

TEST_CASE("findings without a file are about the model that is judged") {
  const Report r = naming("n");
  CHECK(file_of(r.findings[0], r) == "after.onnx");
  CHECK(render_github(r, {}).find("file=after.onnx") != std::string::npos);
}

}  // namespace
}  // namespace onnxtool
