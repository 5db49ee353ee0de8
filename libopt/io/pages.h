// Memory of large tensors: pages that can be read again, and results kept on disk until they are
// saved.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "libopt/ir/tensor.h"
#include "libopt/support/status.h"

namespace onnxtool {

/// Lets go of the memory behind `size` bytes from `offset` of a tensor that lies in a file: it is
/// read again when somebody looks. Tensors in memory of their own are left alone.
void release_pages(const Tensor& tensor, size_t offset, size_t size);
inline void release_pages(const Tensor& tensor) { release_pages(tensor, 0, tensor.size_bytes()); }

/// A file without a name, for tensors that would not fit in memory together. It goes with the last
/// of them.
class ScratchFile {
 public:
  /// In this directory. Errors: kWriteFailed.
  static Result<std::shared_ptr<ScratchFile>> create(const std::string& directory);
  ~ScratchFile();
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;

  /// The tensor with its bytes in the file. Errors: kWriteFailed.
  Result<Tensor> store(DataType dtype, std::vector<int64_t> dims, std::span<const std::byte> bytes);

 private:
  ScratchFile(int fd, std::string directory) : fd_(fd), directory_(std::move(directory)) {}
  int fd_;
  std::string directory_;
  size_t used_ = 0;
};

}  // namespace onnxtool
