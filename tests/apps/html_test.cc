// The html form as text; tests/python/test_html.py opens it in a browser.
#include <doctest/doctest.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "apps/inspect_report.h"
#include "apps/report/report.h"
#include "libopt/analysis/seam.h"

namespace onnxtool {
namespace {

size_t count(const std::string& text, const std::string& part) {
  size_t n = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

nlohmann::json figures_of(const std::string& html) {
  const std::string start = "<script type=\"application/json\" id=\"figures\">";
  const size_t from = html.find(start) + start.size();
  return nlohmann::json::parse(html.substr(from, html.find("</script>", from) - from));
}

// Whatever a model calls things.
const std::string kHostile = "</script><img src=x onerror=alert(1)>\"'&\x1b[2J\xff";

Report hostile_report() {
  Report r;
  r.command = "inspect";
  r.inputs = {kHostile};
  r.findings = {{"code", "error", kHostile, kHostile, kHostile}};
  Section s{"one", kHostile, {{"key", kHostile, kHostile, ""}}, {kHostile}, {}, false};
  s.tables.push_back({"t", kHostile, {{"a", kHostile, ""}}, {{kHostile}}, 0});
  Diagram d{kHostile, {{kHostile, kHostile, kHostile, {-1, 0}, {}, {{kHostile, kHostile}}}}, {}};
  d.values.push_back({kHostile, {{kHostile, kHostile}}, {}});
  s.figures = {Treemap{kHostile, "", {{kHostile, 1}}}, Curve{"", "", {kHostile}, {{"", {1}}}}, d};
  r.sections = {s};
  return r;
}

TEST_CASE("html: what a model says never becomes markup") {
  const std::string html = render_html(hostile_report(), {});
  CHECK(html.find("<img") == std::string::npos);
  CHECK(html.find('\x1b') == std::string::npos);
  CHECK(html.find('\xff') == std::string::npos);
  CHECK(count(html, "<script") == 2);
  CHECK(count(html, "</script>") == 2);
  const auto figures = figures_of(html);
  REQUIRE(figures.size() == 3);
  CHECK(figures[2]["nodes"][0]["name"] == printable(kHostile));
}

TEST_CASE("html: the file loads nothing, and says so to the browser") {
  const std::string html = render_html(hostile_report(), {});
  CHECK(html.find("default-src 'none'; script-src 'sha256-") != std::string::npos);
  for (const char* part : {"src=\"", "href=\"", "https:", "@import", "url(", "unsafe"})
    CHECK_MESSAGE(html.find(part) == std::string::npos, part);
  CHECK(count(html, "http:") == count(html, "http://www.w3.org/2000/svg"));  // a name, no address
}

TEST_CASE("html: numbers that JSON has not are gaps, timing goes with its figures") {
  Report r;
  Section s{"a", "", {}, {}, {}, true};
  const double infinity = std::numeric_limits<double>::infinity();
  s.figures = {Curve{"", "dB", {"p", "q"}, {{"", {1, infinity}}}}};
  r.sections = {s};
  CHECK(figures_of(render_html(r, {}))[0]["series"][0]["values"].dump() == "[1.0,null]");
  CHECK(figures_of(render_html(r, {.reproducible = true})).empty());
}

TEST_CASE("html: a long table is folded, a very long one is cut") {
  Report r;
  Section s{"a", "", {}, {}, {}, false};
  s.tables.push_back({"t", "", {{"x", "x", ""}}, {}, 10});
  for (int64_t i = 0; i < 7000; ++i) s.tables[0].rows.push_back({i});
  r.sections = {s};
  const std::string html = render_html(r, {});
  CHECK(count(html, "<td") == 5000);
  CHECK(html.find("<summary>4990 more</summary>") != std::string::npos);
  CHECK(html.find("2000 more rows are in the JSON report") != std::string::npos);
}

Diagram drawing_of(const std::string& text) {
  const auto model = parse_text(text);
  REQUIRE_MESSAGE(model.ok(), (model.ok() ? "" : model.error().message));
  Graph& graph = (*model)->graph();
  for (Node& n : graph.nodes()) {
    if (n.name() == "mul") graph.set_node_name(n, "/a/b/mul");
    if (n.name() == "choose") graph.set_node_name(n, "/a/if");
  }
  return std::get<Diagram>(graph_drawing(**model).figures.at(0));
}

TEST_CASE(
    "html: the diagram has constants as tensors, bodies behind their node, and names as groups") {
  const Diagram d = drawing_of(R"(<ir_version: 10, opset_import: ["" : 21]>
g (float[4,5] x, bool c) => (float[4,5] y)
<float[5] w = {1.0, 2.0, 3.0, 4.0, 5.0}>
{ [mul] m = Mul (x, w)
  [choose] t = If (c) <
    then_branch = one () => (float[4,5] p) { [inner] p = Relu (m) },
    else_branch = two () => (float[4,5] q) { q = Neg (m) }>
  k = Constant <value_float = 1.0> ()
  y = Clip (t, , k) })");
  std::map<std::string, const Diagram::Node*> by_name;
  for (const Diagram::Node& n : d.nodes) by_name[n.name] = &n;
  REQUIRE(d.nodes.size() == 8);  // two inputs, five nodes without the Constant, one output
  CHECK(by_name.at("/a/b/mul")->group == "/a/b");
  CHECK(by_name.at("inner")->group == "/a/if/then_branch");
  CHECK(by_name.at("inner")->outputs[0] == by_name.at("/a/if")->inputs[1]);
  CHECK(by_name.at("inner")->inputs[0] == by_name.at("/a/b/mul")->outputs[0]);
  CHECK(by_name.at("x")->label == "input");
  CHECK(d.nodes.back().label == "output");
}

}  // namespace
}  // namespace onnxtool
