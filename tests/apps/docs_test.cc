// Tables in docs/ that stand between `<!-- generated: NAME -->` and `<!-- end -->` are what the
// program says of itself. With ONNXTOOL_UPDATE_FIXTURES set in the environment they are rewritten:
// review the diff.
#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <optional>

#include "apps/codes.h"
#include "apps/command.h"
#include "apps/flags.h"
#include "passes/pass.h"
#include "tests/apps/command_line.h"

namespace onnxtool {
namespace {

namespace fs = std::filesystem;

std::string escaped(std::string text) {
  for (size_t at = 0; (at = text.find('|', at)) != std::string::npos; at += 2)
    text.insert(at, "\\");
  return text;
}

std::string flags_of(const std::string& command) {
  Run run;
  const auto app = make_app(run);
  std::string out;
  for (const FlagGroup& g : describe_flags(*app->get_subcommand(command))) {
    out += "### " + g.name + "\n\n| flag | default | meaning |\n|---|---|---|\n";
    for (const FlagRow& r : g.rows) {
      std::string name = r.short_name.empty() ? r.long_name : r.short_name + ", " + r.long_name;
      if (r.long_name.empty())
        name = r.value;
      else
        name += (r.value.empty() || r.value.starts_with("[") ? "" : " ") + r.value;
      out += "| `" + escaped(name) + "` | " +
             (r.default_value.empty() ? "" : "`" + r.default_value + "`") + " | " +
             escaped(r.description) + (r.required ? "; required" : "") +
             (r.repeatable ? "; repeatable" : "") + " |\n";
    }
    out += "\n";
  }
  return out;
}

std::string table_of_passes() {
  std::string out = "| pass | what it does | results | level |\n|---|---|---|---|\n";
  for (const PassInfo* p : all_passes())
    out += "| `" + std::string(p->name) + "` | " + escaped(std::string(p->summary)) + " | " +
           (p->exactness == Exactness::kExact      ? "same bits"
            : p->exactness == Exactness::kRounding ? "up to rounding"
                                                   : "up to one step") +
           " | " +
           (p->level == Level::kBasic      ? "basic"
            : p->level == Level::kExtended ? "extended"
                                           : "all") +
           " |\n";
  return out + "\n";
}

std::string table_of_codes(int exit_code) {
  std::string out = "| code | meaning | what to do |\n|---|---|---|\n";
  for (const OutcomeCode& c : outcome_codes())
    if (c.exit_code == exit_code)
      out += "| `" + std::string(c.code) + "` | " + escaped(std::string(c.meaning)) + " | " +
             escaped(std::string(c.advice)) + " |\n";
  return out + "\n";
}

std::optional<std::string> generated(const std::string& name) {
  if (name == "passes") return table_of_passes();
  if (name == "codes with exit code 1") return table_of_codes(1);
  if (name == "codes with exit code 2") return table_of_codes(2);
  if (name.starts_with("flags of ")) return flags_of(name.substr(9));
  return std::nullopt;  // another test's
}

constexpr std::string_view kBegin = "<!-- generated: ", kEnd = "<!-- end -->";

// The page as it should be.
std::string refreshed(const std::string& page) {
  std::string out;
  size_t at = 0;
  for (size_t begin; (begin = page.find(kBegin, at)) != std::string::npos;) {
    const size_t name_at = begin + kBegin.size(), name_end = page.find(" -->", name_at);
    REQUIRE(name_end != std::string::npos);
    const auto table = generated(page.substr(name_at, name_end - name_at));
    out += page.substr(at, name_end + 4 - at);
    at = name_end + 4;
    if (!table) continue;
    out += "\n\n" + *table;
    at = page.find(kEnd, at);
    REQUIRE(at != std::string::npos);
  }
  return out + page.substr(at);
}

}  // namespace

TEST_CASE("generated tables in docs are what the program says") {
  for (const auto& entry : fs::directory_iterator(fs::path(ONNXTOOL_SOURCE_DIR) / "docs")) {
    if (entry.path().extension() != ".md") continue;
    INFO(entry.path().string());
    const std::string page = testing::read_file(entry.path()), wanted = refreshed(page);
    if (page != wanted && std::getenv("ONNXTOOL_UPDATE_FIXTURES"))
      testing::write_file(entry.path(), wanted);
    else
      CHECK(page == wanted);
  }
}

TEST_CASE("every pass runs at level all") {
  const auto pipeline = optimization_pipeline(Level::kAll);
  for (const PassInfo* p : all_passes())
    CHECK_MESSAGE(std::ranges::find(pipeline, p) != pipeline.end(), p->name);
}

}  // namespace onnxtool
