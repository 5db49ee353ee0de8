#include "libopt/support/atomic_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "libopt/support/atomic_directory.h"
#include "libopt/support/temporary.h"

namespace onnxtool {
namespace {

PendingNames<16> g_pending;

Error failed(const std::string& path, const std::string& what, int error) {
  const std::string shown = path == "-" ? "stdout" : path;
  // What is written comes from mapped inputs; a page that its file no longer has cannot be read.
  if (error == EFAULT)
    return Error{ErrorCode::kNotFound,
                 shown + ": an input file shrank while it was being written from",
                 "run again when nothing writes to the inputs"};
  return write_failed(shown, what, error);
}

}  // namespace

void remove_temporary_files() noexcept {
  g_pending.for_each([](const char* path) { ::unlink(path); });
  remove_temporary_directories();
}

bool same_file(const std::string& a, const std::string& b) {
  struct stat x, y;
  return ::stat(a.c_str(), &x) == 0 && ::stat(b.c_str(), &y) == 0 && x.st_dev == y.st_dev &&
         x.st_ino == y.st_ino;
}

Result<AtomicFile> AtomicFile::create(const std::string& path) {
  AtomicFile file(path);
  if (path == "-") {
    file.fd_ = ::dup(STDOUT_FILENO);
    file.straight_ = true;
    if (file.fd_ < 0) return failed(path, "write", errno);
    return file;
  }
  struct stat st;
  if (::lstat(path.c_str(), &st) == 0) {
    // A link to a pipe or device is how shells name those (/dev/stdout, process substitution).
    if (S_ISLNK(st.st_mode) &&
        (::stat(path.c_str(), &st) != 0 || S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)))
      return Error{ErrorCode::kWriteFailed, path + ": is a symbolic link, expected a file name",
                   "name the file that it leads to; - is stdout"};
    if (S_ISDIR(st.st_mode))
      return Error{ErrorCode::kWriteFailed, path + ": is a directory, expected a file name", {}};
    if (!S_ISREG(st.st_mode)) {
      file.fd_ = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
      file.straight_ = true;
      if (file.fd_ < 0) return failed(path, "open", errno);
      return file;
    }
  }
  const std::string directory = directory_of(path);
  // Without a name a crash leaves nothing; file systems that cannot do it get a named file.
  // (Naming it later goes through /proc, which a bare chroot may lack.)
  const bool has_proc = ::access("/proc/self/fd", X_OK) == 0;
  errno = ENOTSUP;
  file.fd_ = !has_proc ? -1 : ::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0666);
  if (file.fd_ >= 0) return file;
  if (errno == ENOENT || errno == EACCES || errno == ENOTDIR) return failed(path, "create", errno);
  std::string pattern = path + ".XXXXXX";
  file.fd_ = ::mkostemp(pattern.data(), O_CLOEXEC);
  if (file.fd_ < 0) return failed(path, "create", errno);
  file.temporary_ = pattern;
  g_pending.remember(pattern);
  const mode_t mask = ::umask(0);
  ::umask(mask);
  ::fchmod(file.fd_, 0666 & ~mask);
  return file;
}

AtomicFile::AtomicFile(AtomicFile&& o) noexcept
    : path_(std::move(o.path_)),
      temporary_(std::move(o.temporary_)),
      fd_(std::exchange(o.fd_, -1)),
      straight_(o.straight_),
      written_(o.written_) {
  o.temporary_.clear();
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) ::close(fd_);
  if (temporary_.empty()) return;
  ::unlink(temporary_.c_str());
  g_pending.forget(temporary_);
}

Status AtomicFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0)
      return failed(
          path_, written_ ? "write after " + std::to_string(written_) + " bytes" : "write", errno);
    written_ += static_cast<uint64_t>(n);
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return {};
}

Status AtomicFile::show(const std::function<Status(std::span<const std::byte>)>& look) const {
  if (straight_ || written_ == 0) return {};
  void* const at = ::mmap(nullptr, written_, PROT_READ, MAP_SHARED, fd_, 0);
  if (at == MAP_FAILED) return failed(path_, "read back", errno);
  Status status = look({static_cast<const std::byte*>(at), written_});
  ::munmap(at, written_);
  return status;
}

UncommittedFile::UncommittedFile(std::string path) : path_(std::move(path)) {
  g_pending.remember(path_);
}

UncommittedFile::~UncommittedFile() {
  if (!kept_) ::unlink(path_.c_str());
  g_pending.forget(path_);
}

void UncommittedFile::keep() {
  kept_ = true;
  g_pending.forget(path_);
}

Status AtomicFile::commit() { return finish(true); }
Status AtomicFile::commit_new() { return finish(false); }

Status AtomicFile::finish(bool replace) {
  if (straight_) {
    if (::close(std::exchange(fd_, -1)) != 0) return failed(path_, "write", errno);
    return {};
  }
  struct stat st;
  const bool exists = ::stat(path_.c_str(), &st) == 0;
  if (exists && !replace)
    return Error{ErrorCode::kWriteFailed, path_ + ": exists already",
                 "remove it, or leave out --no-clobber"};
  if (exists) {
    // Best effort: the owner may lack the right to give the file to that group.
    [[maybe_unused]] const int ignored = ::fchown(fd_, static_cast<uid_t>(-1), st.st_gid);
    ::fchmod(fd_, st.st_mode & 07777);
  }
  if (::fsync(fd_) != 0 && errno != EINVAL) return failed(path_, "write", errno);
  if (temporary_.empty()) {
    const std::string source = "/proc/self/fd/" + std::to_string(fd_);
    for (int attempt = 0;; ++attempt) {
      const std::string name =
          path_ + "." + std::to_string(::getpid()) + "." + std::to_string(attempt) + ".tmp";
      g_pending.remember(name);
      if (::linkat(AT_FDCWD, source.c_str(), AT_FDCWD, name.c_str(), AT_SYMLINK_FOLLOW) == 0) {
        temporary_ = name;
        break;
      }
      const int error = errno;
      g_pending.forget(name);
      if (error != EEXIST || attempt == 100) return failed(path_, "create", error);
    }
  }
  // Closing may be what fails on a network file system: before the name changes hands.
  if (::close(std::exchange(fd_, -1)) != 0) return failed(path_, "write", errno);
  if (replace ? ::rename(temporary_.c_str(), path_.c_str()) != 0
              : ::link(temporary_.c_str(), path_.c_str()) != 0)
    return failed(path_, "replace", errno);
  if (!replace) ::unlink(temporary_.c_str());
  g_pending.forget(temporary_);
  temporary_.clear();
  // The rename itself must survive a power cut.
  const int directory = ::open(directory_of(path_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory >= 0) {
    ::fsync(directory);
    ::close(directory);
  }
  return {};
}

}  // namespace onnxtool
