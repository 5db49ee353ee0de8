// Runs testdata/cli/*.txt. A case is a command line and everything that a user sees of it:
//
//   # CASE name
//   DIGITS 4                          copies model.onnx and 4 images in calib/ from testdata/digits
//   MODEL name.onnx                   a model in ONNX's text form, up to END; `name.onnx w.bin 4`:
//   its one
//                                     initializer lies in w.bin at offset 4
//   NPY name.npy 1,3,8,8 constant 1   a float32 array; or `ramp LOW HIGH`
//   FILE name                         a text file: the indented lines that follow
//   SHELL command                     anything else before the command
//   $ onnxtool quantize ...
//   EXIT 2
//   STDOUT                            indented lines; `...` stands for any number of lines
//   STDERR
//   FILES                             `+ new`, `~ changed`, `- gone`
//   # -----
//
// A block that is absent expects nothing: without FILES, the directory is as it was. Each case has
// a directory of its own. Times read [TIME], its path [DIR], the version [VERSION], a data file's
// digest [DIGEST]. With ONNXTOOL_UPDATE_FIXTURES set in the environment, expectations that do not
// hold are rewritten with what the program did: review the diff.
#include <doctest/doctest.h>

#include <cstdlib>
#include <regex>
#include <sstream>

#include "tests/apps/command_line.h"

namespace onnxtool {
namespace {

namespace fs = std::filesystem;
using namespace testing;

struct Case {
  std::string name, head;  // head: verbatim up to and with the command
  std::vector<std::pair<std::string, std::vector<std::string>>> setup;
  std::string command;
  int code = 0;
  std::vector<std::string> out, err, files;
};

const std::string kSeparator = "# -----\n";

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> out;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) out.push_back(line);
  return out;
}

Case parse_case(const std::string& chunk) {
  Case c;
  std::vector<std::string>* block = nullptr;
  bool in_model = false;
  for (const std::string& line : lines_of(chunk)) {
    if (c.command.empty()) c.head += line + "\n";
    if (in_model) {
      in_model = line != "END";
      if (in_model) c.setup.back().second.push_back(line);
    } else if (line.starts_with("# CASE ")) {
      c.name = line.substr(7);
    } else if (line.starts_with("#")) {
    } else if (block && (line.empty() || line.starts_with("  "))) {
      block->push_back(line.empty() ? line : line.substr(2));
    } else if (line.starts_with("$ ")) {
      CHECK_MESSAGE(c.command.empty(), c.name << " has two commands");
      c.command = line.substr(2);
      block = nullptr;
    } else if (line.starts_with("EXIT ")) {
      c.code = std::stoi(line.substr(5));
    } else if (line == "STDOUT" || line == "STDERR" || line == "FILES") {
      block = line == "STDOUT" ? &c.out : line == "STDERR" ? &c.err : &c.files;
    } else if (!line.empty()) {
      c.setup.emplace_back(line, std::vector<std::string>());
      block = &c.setup.back().second;
      in_model = line.starts_with("MODEL ");
    }
  }
  return c;
}

std::string joined(const std::vector<std::string>& lines) {
  std::string out;
  for (const std::string& l : lines) out += l + "\n";
  return out;
}

// Whether the directory is now as the case wants it.
bool set_up(const Case& c, const fs::path& directory) {
  for (const auto& [line, lines] : c.setup) {
    std::istringstream words(line);
    std::string verb, name;
    words >> verb >> name;
    if (verb == "DIGITS") {
      copy_digits(directory, static_cast<size_t>(std::stoi(name)));
    } else if (verb == "MODEL") {
      ExternalPlace place;
      words >> place.location >> place.offset;
      const Status s = write_model(directory / name, joined(lines), place);
      CHECK_MESSAGE(s.ok(), c.name, ": ", s.ok() ? "" : s.error().message);
    } else if (verb == "FILE") {
      write_file(directory / name, joined(lines));
    } else if (verb == "NPY") {
      std::string shape, kind, first, last;
      words >> shape >> kind >> first >> last;
      const float low = std::stof(first), high = kind == "ramp" ? std::stof(last) : low;
      std::vector<int64_t> dims;
      size_t count = 1;
      std::istringstream extents(shape);
      for (std::string e; std::getline(extents, e, ',');)
        count *= static_cast<size_t>(dims.emplace_back(std::stoll(e)));
      std::vector<float> values(count, low);
      for (size_t i = 0; kind == "ramp" && i < count; ++i)
        values[i] += (high - low) * static_cast<float>(i) / static_cast<float>(count);
      write_npy(directory / name, dims, values);
    } else if (verb == "SHELL") {
      const Finished f = run_command(line.substr(6), directory);
      CHECK_MESSAGE(f.code == 0, c.name, ": ", line, "\n", f.err);
      if (f.code) return false;
    } else {
      FAIL_CHECK(c.name, ": unknown directive ", line);
      return false;
    }
  }
  return true;
}

std::vector<std::string> normalized(std::string text, const fs::path& directory) {
  const auto replace = [&](const std::string& what, const std::string& by) {
    for (size_t at = 0; !what.empty() && (at = text.find(what, at)) != std::string::npos;
         at += by.size())
      text.replace(at, what.size(), by);
  };
  replace(directory.string(), "[DIR]");
  replace((fs::path(ONNXTOOL_SOURCE_DIR) / "testdata/digits").string(), "[DIGITS]");
  replace(ONNXTOOL_VERSION, "[VERSION]");
  static const std::regex time("[0-9]+\\.[0-9][0-9] s\\b");
  return lines_of(std::regex_replace(text, time, "[TIME]"));
}

// `...` on a line of its own stands for any number of lines.
bool matches(const std::vector<std::string>& expected, const std::vector<std::string>& actual,
             size_t e = 0, size_t a = 0) {
  while (e < expected.size()) {
    if (expected[e] == "...") {
      for (size_t skip = a; skip <= actual.size(); ++skip)
        if (matches(expected, actual, e + 1, skip)) return true;
      return false;
    }
    if (a == actual.size() || expected[e++] != actual[a++]) return false;
  }
  return a == actual.size();
}

std::string block_text(const std::string& title, const std::vector<std::string>& lines) {
  if (lines.empty()) return {};
  std::string out = title + "\n";
  for (const std::string& l : lines) out += l.empty() ? "\n" : "  " + l + "\n";
  return out;
}

// The case's text as it should be: its own where it holds.
std::string check_case(const Case& c, const std::string& chunk, bool update) {
  const TemporaryDirectory directory;
  if (!set_up(c, directory.path())) return chunk;
  const auto before = snapshot(directory.path());
  const Finished f = run_command(c.command, directory.path());
  auto files = differences(before, snapshot(directory.path()));
  static const std::regex digest("\\.[0-9a-f]{8}\\.data");
  for (std::string& file : files) file = std::regex_replace(file, digest, ".[DIGEST].data");
  const auto out = normalized(f.out, directory.path()), err = normalized(f.err, directory.path());
  const bool out_holds = matches(c.out, out), err_holds = matches(c.err, err),
             files_hold = c.files == files;
  if (c.code == f.code && out_holds && err_holds && files_hold) return chunk;
  const std::string actual =
      "EXIT " + std::to_string(f.code) + "\n" + block_text("STDOUT", out_holds ? c.out : out) +
      block_text("STDERR", err_holds ? c.err : err) + block_text("FILES", files);
  CHECK_MESSAGE(update, "case ", c.name, ": ", c.command, "\n", actual);
  return c.head + actual;
}

TEST_CASE("command lines do what testdata/cli says") {
  const bool update = std::getenv("ONNXTOOL_UPDATE_FIXTURES") != nullptr;
  const char* filter = std::getenv("ONNXTOOL_CLI_FILTER");  // one file, as `inspect`
  size_t cases = 0;
  for (const auto& entry : fs::directory_iterator(fs::path(ONNXTOOL_SOURCE_DIR) / "testdata/cli")) {
    if (entry.path().extension() != ".txt") continue;
    if (filter && entry.path().stem() != filter) continue;
    const std::string text = read_file(entry.path());
    std::string rewritten;
    for (size_t start = 0; start < text.size();) {
      const size_t end = std::min(text.find(kSeparator, start), text.size());
      const std::string chunk = text.substr(start, end - start);
      const Case c = parse_case(chunk);
      CHECK_MESSAGE(!c.command.empty(), entry.path(), ": case '", c.name, "' has no command");
      rewritten += (start ? kSeparator : "") + check_case(c, chunk, update);
      start = end + kSeparator.size();
      ++cases;
    }
    if (update && rewritten != text) write_file(entry.path(), rewritten);
  }
  CHECK(cases > 0);
}

}  // namespace
}  // namespace onnxtool
