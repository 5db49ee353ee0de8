// Read-only mapped files, and the only function that opens files which a model names.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>

#include "libopt/ir/tensor.h"
#include "libopt/support/status.h"

namespace onnxtool {

/// A whole file in memory. Tensors keep it alive. A regular file is mapped; a pipe is read.
class MappedFile final : public Storage {
 public:
  static Result<std::shared_ptr<const MappedFile>> open(const std::string& path);
  static Result<std::shared_ptr<const MappedFile>> from_descriptor(int fd, std::string path);
  ~MappedFile() override;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::string& path() const { return path_; }
  /// Whether the bytes stay in the file, and are not a copy of what came through a pipe.
  bool mapped() const { return mapped_; }

 private:
  MappedFile() = default;
  std::string path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
  bool mapped_ = false;
  std::vector<std::byte> read_;  // what came through a pipe
};

/// The directory beneath which a model's external data must lie, held open.
class DataDirectory {
 public:
  /// The directory of `model_path`.
  static Result<std::shared_ptr<DataDirectory>> of_model(const std::string& model_path);
  ~DataDirectory();
  DataDirectory(const DataDirectory&) = delete;
  DataDirectory& operator=(const DataDirectory&) = delete;

  /// Opens `location` (a relative path from a model, untrusted) strictly beneath this directory: no
  /// absolute path, no `..` that leads above it, no symbolic link in any component, regular files
  /// only. Each file is mapped once, however its location is written.
  Result<std::shared_ptr<const MappedFile>> open(const std::string& location);

 private:
  DataDirectory(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  int fd_;
  std::string path_;
  struct Opened {
    uint64_t device, inode;
    std::shared_ptr<const MappedFile> file;
  };
  std::map<std::string, Opened> open_;  // by location
};

/// After this, reading a mapped page that its file no longer has (it shrank) calls `report` with
/// the file's path, from a signal handler; report must not return. Call once, from main.
void install_mapping_fault_handler(void (*report)(const char* path));

}  // namespace onnxtool
