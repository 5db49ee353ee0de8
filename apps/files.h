// The files of a command line: which are read, which are written, and that these never meet.
#pragma once

#include <string>
#include <vector>

#include "libopt/support/status.h"

namespace onnxtool {

/// A path and the flag that named it, for messages; "-" and "" are no file.
struct NamedPath {
  std::string flag, path;
};

/// Checks what is written besides the model before any work is done: no two outputs are one file,
/// none is an input or lies in a directory of inputs under an input's inode, and each can be
/// created. The model's own path is outputs[0]; creating it is checked where it is saved.
Status check_files(const std::vector<NamedPath>& inputs, const std::vector<NamedPath>& outputs);

/// A directory that is written goes whole: no input may lie at its place or in it. `flag` names it.
Status check_output_directory(const std::string& flag, const std::string& directory,
                              const std::vector<NamedPath>& inputs);

/// For a path that is not there: names in the same directory that are close to it. May be empty.
std::string hint_for_missing(const std::string& path);

/// The whole content of a small text file.
Result<std::string> read_text(const std::string& path);
/// Replaces the file, atomically.
Status write_text(const std::string& path, const std::string& text);

}  // namespace onnxtool
