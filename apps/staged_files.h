// Several files that appear together: nothing has its name before all are whole. Only where a name
// cannot be given (its place was taken meanwhile) the files before it stay.
#pragma once

#include <string>
#include <vector>

#include "libopt/support/atomic_file.h"
#include "libopt/support/status.h"

namespace onnxtool {

class StagedFiles {
 public:
  StagedFiles() = default;
  StagedFiles(const StagedFiles&) = delete;
  StagedFiles& operator=(const StagedFiles&) = delete;
  /// Without commit() nothing is left, no directory either.
  ~StagedFiles();

  /// Makes the directory that `path` needs.
  Status make_parent(const std::string& path);
  /// A file without a name yet.
  void add(AtomicFile file) { files_.push_back(std::move(file)); }
  size_t size() const { return files_.size(); }
  /// Drops what was added behind the first `size` ones.
  void shrink(size_t size) {
    while (files_.size() > size) files_.pop_back();
  }
  /// Gives all their names, in the order of add(); `no_clobber` refuses one that exists.
  Status commit(bool no_clobber);

 private:
  std::vector<AtomicFile> files_;
  std::vector<std::string> directories_;  // made, outer ones first
};

/// Lets this process hold `count` files open, as far as the system does.
void allow_open_files(size_t count);

}  // namespace onnxtool
