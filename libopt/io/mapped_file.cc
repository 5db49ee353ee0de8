#include "libopt/io/mapped_file.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>

namespace onnxtool {
namespace {

// Mappings that a SIGBUS may come from. Fixed storage: the handler may touch nothing else.
struct Region {
  std::atomic<uintptr_t> begin{0};
  std::atomic<uintptr_t> end{0};
  char path[512] = {};
};
constexpr int kMaxRegions = 256;
Region g_regions[kMaxRegions];
// Mappings that found no place in the table.
std::atomic<int> g_unnamed{0};
void (*g_report)(const char*) = nullptr;

void remember(const std::byte* data, size_t size, const std::string& path) {
  for (Region& r : g_regions) {
    uintptr_t expected = 0;
    if (!r.end.compare_exchange_strong(expected, 1)) continue;
    std::strncpy(r.path, path.c_str(), sizeof r.path - 1);
    // It is printed by a signal handler, which cannot escape it any more.
    for (char& c : r.path)
      if (c && (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)) c = '?';
    r.begin = reinterpret_cast<uintptr_t>(data);
    r.end = reinterpret_cast<uintptr_t>(data) + size;
    return;
  }
  ++g_unnamed;
}

void forget(const std::byte* data) {
  for (Region& r : g_regions)
    if (r.begin == reinterpret_cast<uintptr_t>(data)) {
      r.begin = 0;
      r.end = 0;
      return;
    }
  --g_unnamed;
}

void on_bus_error(int, siginfo_t* info, void*) {
  const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
  for (const Region& r : g_regions)
    if (r.begin && address >= r.begin && address < r.end) g_report(r.path);
  if (g_unnamed > 0 && info->si_code == BUS_ADRERR) g_report("a mapped file");
  signal(SIGBUS, SIG_DFL);  // not ours: die as if we had not looked
}

Error not_opened(const std::string& path, int error) {
  return Error{ErrorCode::kNotFound, path + ": cannot open: " + std::strerror(error), {}};
}

// What may have no end: devices but for /dev/null, and pipes that have a name, which wait for
// somebody to write. A shell's own pipes (`<(...)`, stdin) have a writer.
Status require_an_end(int fd, const struct stat& st, const std::string& path) {
  struct statfs system;
  const bool named_pipe =
      S_ISFIFO(st.st_mode) && ::fstatfs(fd, &system) == 0 && system.f_type != PIPEFS_MAGIC;
  const bool null = S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3);
  const char* what = (S_ISCHR(st.st_mode) && !null) || S_ISBLK(st.st_mode) ? "a device"
                     : named_pipe && path != "-"                           ? "a named pipe"
                                                                           : nullptr;
  if (!what) return {};
  return Error{ErrorCode::kNotFound,
               (path == "-" ? "stdin" : path) + ": is " + what + ", expected a file",
               "give a regular file, or - for what another program writes to a pipe"};
}

}  // namespace

void install_mapping_fault_handler(void (*report)(const char*)) {
  g_report = report;
  struct sigaction action = {};
  action.sa_sigaction = on_bus_error;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGBUS, &action, nullptr);
}

Result<std::shared_ptr<const MappedFile>> MappedFile::open(const std::string& path) {
  // O_NONBLOCK: a pipe with a name must not make us wait for somebody to write.
  const int fd =
      path == "-" ? ::dup(STDIN_FILENO) : ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return not_opened(path, errno);
  return from_descriptor(fd, path);
}

Result<std::shared_ptr<const MappedFile>> MappedFile::from_descriptor(int fd, std::string path) {
  struct Closer {
    int fd;
    ~Closer() { ::close(fd); }
  } closer{fd};
  struct stat st;
  if (::fstat(fd, &st) != 0) return not_opened(path, errno);
  if (S_ISDIR(st.st_mode))
    return Error{ErrorCode::kNotFound, path + ": is a directory, expected a file", {}};
  std::shared_ptr<MappedFile> file(new MappedFile);
  file->path_ = std::move(path);
  if (S_ISREG(st.st_mode)) {
    file->size_ = static_cast<size_t>(st.st_size);
    if (file->size_ == 0) return std::shared_ptr<const MappedFile>(std::move(file));
    void* p = ::mmap(nullptr, file->size_, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED) return not_opened(file->path_, errno);
    file->data_ = static_cast<const std::byte*>(p);
    file->mapped_ = true;
    remember(file->data_, file->size_, file->path_);
    return std::shared_ptr<const MappedFile>(std::move(file));
  }
  ONNXTOOL_TRY(require_an_end(fd, st, file->path_));
  if (file->path_ != "-") ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) & ~O_NONBLOCK);
  constexpr size_t kChunk = 1 << 20;
  size_t used = 0;
  while (true) {
    file->read_.resize(used + kChunk);
    const ssize_t n = ::read(fd, file->read_.data() + used, kChunk);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return not_opened(file->path_, errno);
    used += static_cast<size_t>(n);
    if (n == 0) break;
  }
  file->read_.resize(used);
  file->data_ = file->read_.data();
  file->size_ = used;
  return std::shared_ptr<const MappedFile>(std::move(file));
}

MappedFile::~MappedFile() {
  if (!mapped_) return;
  forget(data_);
  ::munmap(const_cast<std::byte*>(data_), size_);
}

Result<std::shared_ptr<DataDirectory>> DataDirectory::of_model(const std::string& model_path) {
  const size_t slash = model_path.rfind('/');
  std::string directory = slash == std::string::npos ? "."
                          : slash == 0               ? "/"
                                                     : model_path.substr(0, slash);
  const int fd = ::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return not_opened(directory, errno);
  return std::shared_ptr<DataDirectory>(new DataDirectory(fd, std::move(directory)));
}

DataDirectory::~DataDirectory() { ::close(fd_); }

namespace {

// Calls f(component, whether it is the last one) until that gives false.
template <class F>
void for_each_component(const std::string& location, F&& f) {
  for (size_t start = 0; start <= location.size();) {
    const size_t end = std::min(location.find('/', start), location.size());
    if (!f(location.substr(start, end - start), end == location.size())) return;
    start = end + 1;
  }
}

// Whether some `..` leads above the start. Those that only go back are harmless where no component
// may be a link: ONNX Runtime and onnx's checker read such files too.
bool climbs_out(const std::string& location) {
  int depth = 0;
  bool out = false;
  for_each_component(location, [&](const std::string& part, bool last) {
    if (part == "..") --depth;
    if (!part.empty() && part != "." && part != "..") ++depth;
    out = depth < 0 || (last && part == "..");
    return !out;
  });
  return out;
}

// As openat2 with RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS. Going back takes the handle that was
// come through, never the file system's `..`: a directory may be moved meanwhile.
int open_by_components(int beneath, const std::string& location) {
  std::vector<int> path = {beneath};
  int found = -1, error = 0;
  for_each_component(location, [&](const std::string& part, bool last) {
    if (part == "..") {
      ::close(path.back());
      path.pop_back();
      return true;
    }
    if (!last && (part.empty() || part == ".")) return true;
    const int next =
        ::openat(path.back(), part.empty() ? "." : part.c_str(),
                 O_CLOEXEC | O_NOFOLLOW | (last ? O_RDONLY | O_NONBLOCK : O_PATH | O_DIRECTORY));
    error = errno;
    if (last)
      found = next;
    else if (next >= 0)
      path.push_back(next);
    return next >= 0;
  });
  for (size_t i = 1; i < path.size(); ++i) ::close(path[i]);
  errno = error;
  return found;
}

}  // namespace

Result<std::shared_ptr<const MappedFile>> DataDirectory::open(const std::string& location) {
  if (const auto known = open_.find(location); known != open_.end()) return known->second.file;
  const std::string shown = path_ + "/" + location;
  const auto refuse = [&](const std::string& why) {
    return Error{ErrorCode::kBadModel, "external data '" + location + "': " + why,
                 "external data must lie beneath the model's directory"};
  };
  if (location.empty() || location.find('\0') != std::string::npos)
    return refuse("not a file name");
  if (location.front() == '/') return refuse("absolute path");
  if (climbs_out(location)) return refuse("leaves the directory through '..'");
  open_how how = {};
  how.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;  // a FIFO is refused below, not waited for
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  int fd = static_cast<int>(::syscall(SYS_openat2, fd_, location.c_str(), &how, sizeof how));
  // An old kernel, a sandbox without it, or `..` while something was renamed elsewhere.
  if (fd < 0 && (errno == ENOSYS || errno == EPERM || errno == EAGAIN))
    fd = open_by_components(fd_, location);
  if (fd < 0 && errno == ENOENT) {
    Error missing = refuse(std::strerror(ENOENT));
    missing.code = ErrorCode::kNotFound;
    return missing;
  }
  if (fd < 0)
    return refuse(errno == ELOOP || errno == EXDEV ? "is reached through a symbolic link"
                                                   : std::strerror(errno));
  struct stat st;
  if (::fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
    ::close(fd);
    return refuse("not a regular file");
  }
  for (const auto& [name, other] : open_)
    if (other.device == st.st_dev && other.inode == st.st_ino) {
      ::close(fd);
      return open_.emplace(location, other).first->second.file;
    }
  ONNXTOOL_ASSIGN(std::shared_ptr<const MappedFile> file, MappedFile::from_descriptor(fd, shown));
  open_.emplace(location, Opened{st.st_dev, st.st_ino, file});
  return file;
}

}  // namespace onnxtool
