// Writing a directory of files so that others see the old content or the new, never a part.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "libopt/support/status.h"

namespace onnxtool {

/// Files gather in a directory of another name beside the target, which commit() renames.
/// Destruction without commit leaves nothing behind, and so does a signal.
class AtomicDirectory {
 public:
  /// The target must not exist, be an empty directory, or, with `replace`, be any directory: all
  /// that it holds goes then. A symbolic link or a file there is refused.
  static Result<AtomicDirectory> create(const std::string& path, bool replace);
  AtomicDirectory(AtomicDirectory&& other) noexcept;
  AtomicDirectory& operator=(AtomicDirectory&&) = delete;
  ~AtomicDirectory();

  /// `name` is relative and may have one directory in front, which is made where it is missing.
  /// Neither part may be empty, `.` or `..`. Any thread.
  Status write(const std::string& name, std::span<const std::byte> bytes) const;
  /// Flushes to disk and takes the target's place.
  Status commit();
  const std::string& path() const { return path_; }

 private:
  AtomicDirectory(std::string path, std::string temporary, bool replace)
      : path_(std::move(path)), temporary_(std::move(temporary)), replace_(replace) {}
  std::string path_, temporary_;
  bool replace_;
};

/// Removes a directory and all below it, without following links; at most eight levels deep.
/// Async-signal-safe.
void remove_tree(const char* path) noexcept;

/// As remove_temporary_files(), for directories. Async-signal-safe.
void remove_temporary_directories() noexcept;

}  // namespace onnxtool
