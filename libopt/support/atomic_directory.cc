#include "libopt/support/atomic_directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>

#include "libopt/support/temporary.h"

namespace onnxtool {
namespace {

PendingNames<4> g_pending;

// What getdents64 fills; <dirent.h> allocates, which a signal handler may not.
struct Entry {
  uint64_t inode;
  int64_t offset;
  uint16_t length;
  uint8_t type;
  char name[1];
};

constexpr int kMaxDepth = 8;

// Whether an entry went, so that another round may find the directory empty.
bool remove_entries(int directory, int depth) {
  bool any = false;
  alignas(Entry) std::array<char, 4096> buffer;
  for (;;) {
    const long n = ::syscall(SYS_getdents64, directory, buffer.data(), buffer.size());
    if (n <= 0) return any;
    for (long at = 0; at < n;) {
      const auto* e = reinterpret_cast<const Entry*>(buffer.data() + at);
      at += e->length;
      const char* name = e->name;
      if (name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]))) continue;
      if (::unlinkat(directory, name, 0) == 0) {
        any = true;
        continue;
      }
      if (depth == 0) continue;
      const int below = ::openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
      if (below < 0) continue;
      remove_entries(below, depth - 1);
      ::close(below);
      any |= ::unlinkat(directory, name, AT_REMOVEDIR) == 0;
    }
  }
}

// Whether a directory holds nothing; true where it cannot be read, as then writing fails anyway.
bool is_empty(const std::string& path) {
  DIR* d = ::opendir(path.c_str());
  if (!d) return true;
  bool empty = true;
  while (const dirent* e = ::readdir(d))
    empty &= std::strcmp(e->d_name, ".") == 0 || std::strcmp(e->d_name, "..") == 0;
  ::closedir(d);
  return empty;
}

bool is_plain_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == std::string::npos &&
         name.find('\0') == std::string::npos;
}

}  // namespace

void remove_tree(const char* path) noexcept {
  // Other threads may still add files while a signal is handled: a few rounds.
  for (int round = 0; round < 16; ++round) {
    const int directory = ::open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (directory < 0) return;
    remove_entries(directory, kMaxDepth);
    ::close(directory);
    if (::rmdir(path) == 0) return;
  }
}

void remove_temporary_directories() noexcept {
  g_pending.for_each([](const char* path) { remove_tree(path); });
}

Result<AtomicDirectory> AtomicDirectory::create(const std::string& given, bool replace) {
  std::string path = given;
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  if (path.empty() || path == "/" || path == "." || path == ".." || path.ends_with("/..") ||
      path.ends_with("/."))
    return Error{ErrorCode::kUsage, given + ": expected the name of a directory to make", {}};
  struct stat st;
  if (::lstat(path.c_str(), &st) == 0) {
    if (S_ISLNK(st.st_mode))
      return Error{ErrorCode::kWriteFailed,
                   path + ": is a symbolic link, expected a directory name",
                   "name the directory that it leads to"};
    if (!S_ISDIR(st.st_mode))
      return Error{ErrorCode::kWriteFailed, path + ": exists and is no directory",
                   "choose another name"};
    if (!replace && !is_empty(path))
      return Error{ErrorCode::kWriteFailed, path + ": the directory is not empty",
                   "choose another name, or replace all that it holds with --force"};
  }
  std::string temporary = path + ".XXXXXX";
  if (!::mkdtemp(temporary.data())) return write_failed(path, "create", errno);
  g_pending.remember(temporary);
  const mode_t mask = ::umask(0);
  ::umask(mask);
  ::chmod(temporary.c_str(), 0777 & ~mask);
  return AtomicDirectory(std::move(path), std::move(temporary), replace);
}

AtomicDirectory::AtomicDirectory(AtomicDirectory&& o) noexcept
    : path_(std::move(o.path_)),
      temporary_(std::exchange(o.temporary_, std::string())),
      replace_(o.replace_) {}

AtomicDirectory::~AtomicDirectory() {
  if (temporary_.empty()) return;
  remove_tree(temporary_.c_str());
  g_pending.forget(temporary_);
}

Status AtomicDirectory::write(const std::string& name, std::span<const std::byte> bytes) const {
  const size_t slash = name.find('/');
  const std::string directory = slash == std::string::npos ? "" : name.substr(0, slash);
  ONNXTOOL_CHECK(is_plain_name(name.substr(slash + 1)) &&
                 (slash == std::string::npos || is_plain_name(directory)));
  const std::string shown = path_ + "/" + name, place = temporary_ + "/" + name;
  if (!directory.empty() && ::mkdir((temporary_ + "/" + directory).c_str(), 0777) != 0 &&
      errno != EEXIST)
    return write_failed(path_ + "/" + directory, "create", errno);
  const int fd = ::open(place.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (fd < 0) return write_failed(shown, "create", errno);
  Status status;
  while (!bytes.empty() && status.ok()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0)
      status = write_failed(shown, "write", errno);
    else
      bytes = bytes.subspan(static_cast<size_t>(n));
  }
  if (::close(fd) != 0 && status.ok()) status = write_failed(shown, "write", errno);
  return status;
}

Status AtomicDirectory::commit() {
  // One flush for all files: thousands of them would take minutes one by one.
  if (const int fd = ::open(temporary_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); fd >= 0) {
    const int flushed = ::syncfs(fd);
    const int error = errno;
    ::close(fd);
    if (flushed != 0 && error != EINVAL && error != ENOSYS)
      return write_failed(path_, "write", error);
  }
  // Takes the place of nothing, or of an empty directory.
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
    if (!replace_ || (errno != ENOTEMPTY && errno != EEXIST))
      return write_failed(path_, "replace", errno);
    if (::renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, path_.c_str(), RENAME_EXCHANGE) != 0)
      return write_failed(path_, "replace", errno);
    remove_tree(temporary_.c_str());  // the old content has this name now
  }
  g_pending.forget(temporary_);
  temporary_.clear();
  if (const int fd = ::open(directory_of(path_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
      fd >= 0) {
    ::fsync(fd);
    ::close(fd);
  }
  return {};
}

}  // namespace onnxtool
