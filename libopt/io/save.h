// Models to files.
#pragma once

#include <string>
#include <vector>

#include "libopt/ir/model.h"
#include "libopt/support/status.h"

namespace onnxtool {

struct SaveOptions {
  /// Payloads go to a data file beside the model. Also done where the model had external data, or
  /// would pass protobuf's 2 GB.
  bool external_data = false;
  /// The data file's name; empty: `<output stem>.<8 hex of its digest>.data`.
  std::string data_name;
  bool no_clobber = false;
  /// Files that must not be replaced (the inputs), compared by device and inode.
  std::vector<std::string> protected_files;
};

struct SavedFiles {
  std::string data_path;  // empty: one file
  uint64_t model_bytes = 0, data_bytes = 0;
};

/// The files that the model's tensors lie in: its own and its external data, each once.
std::vector<std::string> payload_files(const Model& model);

/// Where a data file of this name lies: beside the model at `path`. Empty for an empty name.
std::string data_path_of(const std::string& path, const std::string& name);

/// Refuses what save_model() would refuse about the target, before any work is done.
Status check_target(const std::string& path, const SaveOptions& options);

/// Writes the model: same model, same bytes. Others see the old files or the new ones: data is
/// renamed into place first, the model last; then the replaced model's data file goes, if its name
/// has the default form for this output's stem.
Result<SavedFiles> save_model(const Model& model, const std::string& path,
                              const SaveOptions& options);

/// Writes the bytes of `source`, a model in one file, to `path` in the same way.
Result<SavedFiles> save_unchanged(const std::string& source, const std::string& path,
                                  const SaveOptions& options);

}  // namespace onnxtool
