// docs/check.md lists every code; ONNXTOOL_UPDATE_FIXTURES in the environment rewrites its table.
#include <doctest/doctest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "libopt/check/rules.h"

namespace onnxtool {
namespace {

std::string read(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

std::string table() {
  std::string out = "| code | severity | meaning | what to do |\n|---|---|---|---|\n";
  for (const Rule& r : all_rules())
    out += "| `" + std::string(r.code) + "` | " + std::string(name(r.severity)) + " | " +
           std::string(r.summary) + " | " + std::string(r.fix) + " |\n";
  return out;
}

TEST_CASE("docs: the table of codes is that of the program") {
  const std::string path = std::string(ONNXTOOL_SOURCE_DIR) + "/docs/check.md", text = read(path);
  const std::string begin = "<!-- generated: codes of check -->\n\n",
                    end = "\n<!-- end of generated -->";
  const size_t from = text.find(begin), to = text.find(end);
  REQUIRE(from != std::string::npos);
  REQUIRE(to != std::string::npos);
  const size_t start = from + begin.size();
  const std::string found = text.substr(start, to - start);
  if (found != table() && std::getenv("ONNXTOOL_UPDATE_FIXTURES"))
    std::ofstream(path) << text.substr(0, start) + table() + text.substr(to);
  else
    CHECK(found == table());
}

}  // namespace
}  // namespace onnxtool
