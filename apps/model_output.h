// Where a command's model goes, and how large it is.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "libopt/io/save.h"

namespace onnxtool {

/// Flags of commands that write one model.
struct OutputFlags {
  std::string output;  // -o; empty: derived from the input's name
  bool force = false, no_clobber = false;
  std::string data_name;  // of --external-data=NAME
};

/// `-o`, `--force`, `--no-clobber`, `--external-data`. The default name is MODEL with `suffix`, as
/// in
/// ".opt.onnx", instead of .onnx; help calls what is written `what`.
void add_output_flags(CLI::App& command, OutputFlags& flags, const std::string& suffix,
                      const std::string& what = "model");

/// -o, or the derived name: which needs --force where such a file exists, and a model that is no
/// stdin.
Result<std::string> output_path(const OutputFlags& flags, const std::string& model,
                                const std::string& suffix);

/// What save_model() is told by the flags.
SaveOptions save_options(const CLI::App& command, const OutputFlags& flags);

/// Bytes of the model's own file and of the data files that its tensors lie in; 0: it came through
/// a pipe.
int64_t bytes_on_disk(const Model& model, const std::string& path);

}  // namespace onnxtool
