// Writing a file so that others see the old content or the new, never a part.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>

#include "libopt/support/status.h"

namespace onnxtool {

/// A file being written. Until commit() the target is untouched; destruction without commit leaves
/// nothing behind, and so does a signal (remove_temporary_files()).
class AtomicFile {
 public:
  /// `path`: the target. A FIFO or device, or a link to one, is written straight; any other
  /// symbolic link there is refused; "-" is stdout.
  static Result<AtomicFile> create(const std::string& path);
  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&&) = delete;
  ~AtomicFile();

  Status write(std::span<const std::byte> bytes);
  /// Shows what has been written so far to `look`, whose error it returns. Devices and pipes have
  /// nothing to show.
  Status show(const std::function<Status(std::span<const std::byte>)>& look) const;
  /// Flushes to disk and takes the target's place, with its mode and group where it existed.
  Status commit();
  /// As commit(), but fails with kWriteFailed when the target exists.
  Status commit_new();
  const std::string& path() const { return path_; }

 private:
  explicit AtomicFile(std::string path) : path_(std::move(path)) {}
  Status finish(bool replace);
  std::string path_, temporary_;
  int fd_ = -1;
  bool straight_ = false;
  uint64_t written_ = 0;
};

/// A file already under its name that means nothing until another one is committed, such as a
/// model's data file: removed on destruction, and on a signal, unless kept.
class UncommittedFile {
 public:
  explicit UncommittedFile(std::string path);
  ~UncommittedFile();
  UncommittedFile(const UncommittedFile&) = delete;
  UncommittedFile& operator=(const UncommittedFile&) = delete;
  void keep();

 private:
  std::string path_;
  bool kept_ = false;
};

/// Removes what unfinished files of both kinds, and directories, have on disk. Async-signal-safe.
void remove_temporary_files() noexcept;

/// Whether two paths are the same file, by device and inode. False when one does not exist.
bool same_file(const std::string& a, const std::string& b);

}  // namespace onnxtool
