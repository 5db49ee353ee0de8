// Running the program as a user does, in a directory of its own.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "libopt/io/encode.h"
#include "libopt/support/status.h"

namespace onnxtool::testing {

/// A directory that goes when the object goes.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

struct Finished {
  int code = -1;  // 128 + N where signal N ended it
  std::string out, err;
};

/// A shell command that runs in `directory`, with the program in PATH as onnxtool and the digits of
/// testdata in $DIGITS. Nothing is on stdin.
class RunningCommand {
 public:
  RunningCommand(const std::string& command, const std::filesystem::path& directory);
  ~RunningCommand();
  RunningCommand(const RunningCommand&) = delete;
  RunningCommand& operator=(const RunningCommand&) = delete;
  /// Of the shell, which has exec'ed a command that starts with `exec`.
  pid_t pid() const { return pid_; }
  /// What is on stderr up to now.
  std::string err() const;
  Finished wait();

 private:
  std::filesystem::path streams_;
  pid_t pid_ = -1;
};
Finished run_command(const std::string& command, const std::filesystem::path& directory);

/// Everything beneath a directory: content and mode by relative path.
std::map<std::string, std::string> snapshot(const std::filesystem::path& directory);
/// `+ new`, `~ changed`, `- gone`, in order of names.
std::vector<std::string> differences(const std::map<std::string, std::string>& before,
                                     const std::map<std::string, std::string>& after);

std::string read_file(const std::filesystem::path& path);
void write_file(const std::filesystem::path& path, const std::string& content);

/// Copies model.onnx of testdata/digits, and `images` of its calibration images into calib/.
void copy_digits(const std::filesystem::path& directory, size_t images);
/// A model in ONNX's text form becomes a file; with a place, all of its initializers lie there.
Status write_model(const std::filesystem::path& path, const std::string& text,
                   const ExternalPlace& place = {});
/// A float32 .npy file.
void write_npy(const std::filesystem::path& path, const std::vector<int64_t>& dims,
               const std::vector<float>& values);

}  // namespace onnxtool::testing
