// Files and directories of samples.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libopt/support/status.h"

namespace onnxtool {

inline Error bad_data(std::string message, std::string hint = {}) {
  return Error{ErrorCode::kBadData, std::move(message), std::move(hint)};
}

/// Bytes that can be read at any offset, from several threads at once.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  /// Fills `out`; an error when the bytes end before.
  virtual Status read_at(uint64_t offset, std::span<std::byte> out) const = 0;
  virtual uint64_t size() const = 0;
};

/// A regular file, opened for reading. A file that shrinks while it is read is an error, not a
/// crash.
class DataFile final : public ByteSource {
 public:
  static Result<std::shared_ptr<const DataFile>> open(const std::string& path);
  ~DataFile() override;
  DataFile(const DataFile&) = delete;
  DataFile& operator=(const DataFile&) = delete;

  Status read_at(uint64_t offset, std::span<std::byte> out) const override;
  uint64_t size() const override { return size_; }
  const std::string& path() const { return path_; }
  /// The whole content.
  Result<std::vector<std::byte>> read_all() const;
  /// The first `count` bytes, fewer when the file is shorter.
  Result<std::vector<std::byte>> read_head(size_t count) const;

 private:
  DataFile(int fd, uint64_t size, std::string path)
      : fd_(fd), size_(size), path_(std::move(path)) {}
  int fd_;
  uint64_t size_;
  std::string path_;
};

struct DirectoryEntry {
  std::string name;
  std::string path;
  bool is_directory = false;
};

/// Whether `path` is a directory; an error when there is nothing.
Result<bool> is_directory(const std::string& path);
/// The entries in natural order, without those whose name starts with a dot.
Result<std::vector<DirectoryEntry>> list_directory(const std::string& path);

std::string join_path(const std::string& directory, std::string_view name);
/// `a/b/c.npy`: file_name is `c.npy`, file_stem `c`, file_extension `npy` in lower case.
std::string file_name(std::string_view path);
std::string file_stem(std::string_view path);
std::string file_extension(std::string_view path);

/// `starts with "GIF89a\x01"`, or `is empty`: for messages about a format that was not recognised.
std::string describe_start(std::span<const std::byte> bytes);

enum class FileKind : uint8_t { kUnknown, kNpy, kZip, kSafetensors, kJpeg, kPng, kPpm };
inline bool is_image(FileKind k) {
  return k == FileKind::kJpeg || k == FileKind::kPng || k == FileKind::kPpm;
}
/// Bytes from the start of a file that sniff() wants to see.
inline constexpr size_t kSniffBytes = 16;
/// What the first bytes say; `file_size` tells a safetensors header length from noise.
FileKind sniff(std::span<const std::byte> head, uint64_t file_size);

}  // namespace onnxtool
