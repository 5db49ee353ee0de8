#include "libopt/io/pages.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

#include "libopt/io/mapped_file.h"
#include "libopt/support/temporary.h"

namespace onnxtool {
namespace {

// Mappings start at pages.
size_t page_size() {
  static const size_t size = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  return size;
}

class ScratchRegion final : public Storage {
 public:
  ScratchRegion(void* data, size_t size) : data_(data), size_(size) {}
  ~ScratchRegion() override { ::munmap(data_, size_); }

 private:
  void* data_;
  size_t size_;
};

bool lies_in_file(const Tensor& tensor) {
  if (const auto* file = dynamic_cast<const MappedFile*>(tensor.owner().get()))
    return file->mapped();
  return dynamic_cast<const ScratchRegion*>(tensor.owner().get()) != nullptr;
}

}  // namespace

void release_pages(const Tensor& tensor, size_t offset, size_t size) {
  if (!lies_in_file(tensor)) return;
  const size_t page = page_size();
  const auto begin = reinterpret_cast<uintptr_t>(tensor.bytes().data()) + offset;
  // Whole pages only: others may still be needed for their neighbours.
  const uintptr_t first = (begin + page - 1) / page * page, last = (begin + size) / page * page;
  if (first < last) ::madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

Result<std::shared_ptr<ScratchFile>> ScratchFile::create(const std::string& directory) {
  int fd = ::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd < 0) {  // a file system without nameless files
    std::string name = directory + "/.onnxtool-XXXXXX";
    fd = ::mkostemp(name.data(), O_CLOEXEC);
    if (fd >= 0) ::unlink(name.c_str());
  }
  if (fd < 0) return write_failed(directory, "create a temporary file", errno);
  return std::shared_ptr<ScratchFile>(new ScratchFile(fd, directory));
}

ScratchFile::~ScratchFile() { ::close(fd_); }

Result<Tensor> ScratchFile::store(DataType dtype, std::vector<int64_t> dims,
                                  std::span<const std::byte> bytes) {
  if (bytes.empty()) return Tensor::from_bytes(dtype, std::move(dims), {});
  const size_t at = used_;
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t n =
        ::pwrite(fd_, bytes.data() + done, bytes.size() - done, static_cast<off_t>(at + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return write_failed(directory_, "write a temporary file", n < 0 ? errno : ENOSPC);
    done += static_cast<size_t>(n);
  }
  used_ = (at + bytes.size() + page_size() - 1) / page_size() * page_size();
  void* data = ::mmap(nullptr, bytes.size(), PROT_READ, MAP_SHARED, fd_, static_cast<off_t>(at));
  if (data == MAP_FAILED) return write_failed(directory_, "map a temporary file", errno);
  return Tensor(dtype, std::move(dims), {static_cast<const std::byte*>(data), bytes.size()},
                std::make_shared<ScratchRegion>(data, bytes.size()));
}

}  // namespace onnxtool
