#include "tests/apps/command_line.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <iterator>

#include "libopt/analysis/seam.h"

namespace onnxtool::testing {
namespace fs = std::filesystem;

TemporaryDirectory::TemporaryDirectory() {
  std::string pattern = (fs::temp_directory_path() / "onnxtool-test.XXXXXX").string();
  ONNXTOOL_CHECK(::mkdtemp(pattern.data()) != nullptr);
  path_ = fs::canonical(pattern);
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

std::string read_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_file(const fs::path& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
}

RunningCommand::RunningCommand(const std::string& command, const fs::path& directory) {
  // Beside the directory, so that a listing of it does not show them.
  std::string pattern = directory.string() + ".streams.XXXXXX";
  ONNXTOOL_CHECK(::mkdtemp(pattern.data()) != nullptr);
  streams_ = pattern;
  const std::string out = (streams_ / "out").string(), err = (streams_ / "err").string(),
                    where = directory.string();
  const std::string path = fs::path(ONNXTOOL_BINARY).parent_path().string() + ":/usr/bin:/bin";
  const std::string digits = (fs::path(ONNXTOOL_SOURCE_DIR) / "testdata/digits").string();
  std::vector<std::string> environment = {"PATH=" + path, "DIGITS=" + digits, "LC_ALL=C"};
  for (char** e = environ; *e; ++e)
    if (const std::string_view v = *e;
        !v.starts_with("PATH=") && !v.starts_with("DIGITS=") && !v.starts_with("LC_ALL="))
      environment.emplace_back(v);
  std::vector<char*> pointers;
  for (std::string& e : environment) pointers.push_back(e.data());
  pointers.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addchdir_np(&actions, where.c_str());
  ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_addopen(&actions, 1, out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  ::posix_spawn_file_actions_addopen(&actions, 2, err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  // Commands heed signals even where the tests run under nohup or behind an &, which ignore some.
  posix_spawnattr_t attributes;
  ::posix_spawnattr_init(&attributes);
  sigset_t defaults;
  ::sigemptyset(&defaults);
  for (const int s : {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE}) ::sigaddset(&defaults, s);
  ::posix_spawnattr_setsigdefault(&attributes, &defaults);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
  std::string shell = "sh", flag = "-c", text = command;
  char* const arguments[] = {shell.data(), flag.data(), text.data(), nullptr};
  ONNXTOOL_CHECK(
      ::posix_spawn(&pid_, "/bin/sh", &actions, &attributes, arguments, pointers.data()) == 0);
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&actions);
}

std::string RunningCommand::err() const { return read_file(streams_ / "err"); }

Finished RunningCommand::wait() {
  Finished f;
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  f.code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  f.out = read_file(streams_ / "out");
  f.err = read_file(streams_ / "err");
  return f;
}

RunningCommand::~RunningCommand() {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  std::error_code ignored;
  fs::remove_all(streams_, ignored);
}

Finished run_command(const std::string& command, const fs::path& directory) {
  return RunningCommand(command, directory).wait();
}

std::map<std::string, std::string> snapshot(const fs::path& directory) {
  std::map<std::string, std::string> out;
  for (const auto& entry : fs::recursive_directory_iterator(directory)) {
    const auto status = entry.symlink_status();
    std::string& content = out[fs::relative(entry.path(), directory).string()];
    content = std::to_string(static_cast<int>(status.type())) + " " +
              std::to_string(static_cast<unsigned>(status.permissions())) + " ";
    if (fs::is_symlink(status))
      content += fs::read_symlink(entry.path()).string();
    else if (fs::is_regular_file(status))
      content += read_file(entry.path());
  }
  return out;
}

std::vector<std::string> differences(const std::map<std::string, std::string>& before,
                                     const std::map<std::string, std::string>& after) {
  std::vector<std::string> out;
  std::map<std::string, int> names;
  for (const auto& [name, content] : before) names[name] |= 1;
  for (const auto& [name, content] : after) names[name] |= 2;
  for (const auto& [name, sides] : names)
    if (sides != 3)
      out.push_back((sides == 1 ? "- " : "+ ") + name);
    else if (before.at(name) != after.at(name))
      out.push_back("~ " + name);
  return out;
}

void copy_digits(const fs::path& directory, size_t images) {
  const fs::path digits = fs::path(ONNXTOOL_SOURCE_DIR) / "testdata/digits";
  fs::copy_file(digits / "model.onnx", directory / "model.onnx",
                fs::copy_options::overwrite_existing);
  fs::create_directory(directory / "calib");
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(digits / "calib"))
    if (entry.path().extension() == ".png") files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  // Spread over the classes.
  for (size_t i = 0; i < images; ++i) {
    const fs::path& file = files.at(i * files.size() / images);
    fs::copy_file(file, directory / "calib" / file.filename());
  }
}

Status write_model(const fs::path& path, const std::string& text, const ExternalPlace& place) {
  ONNXTOOL_ASSIGN(std::unique_ptr<Model> model, parse_text(text));
  write_file(path, encode_model(*model, [&](const Tensor&) {
                     return place.location.empty() ? nullptr : &place;
                   }).flatten());
  return {};
}

void write_npy(const fs::path& path, const std::vector<int64_t>& dims,
               const std::vector<float>& values) {
  std::string shape;
  for (const int64_t d : dims) shape += std::to_string(d) + ", ";
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (" + shape + "), }";
  while ((10 + header.size() + 1) % 64) header += ' ';
  header += '\n';
  std::string file = std::string("\x93NUMPY\x01\x00", 8) + static_cast<char>(header.size() & 0xff) +
                     static_cast<char>(header.size() >> 8) + header;
  file.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
  write_file(path, file);
}

}  // namespace onnxtool::testing
