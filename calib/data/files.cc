#include "calib/data/files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "calib/data/safetensors.h"
#include "calib/data/source.h"
#include "calib/images/decoder.h"
#include "libopt/support/ascii.h"

namespace onnxtool {
namespace {

Error not_opened(const std::string& path, int error) {
  return Error{ErrorCode::kNotFound, path + ": cannot open: " + std::strerror(error), {}};
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool starts_with(std::span<const std::byte> bytes, std::string_view prefix) {
  return bytes.size() >= prefix.size() &&
         std::memcmp(bytes.data(), prefix.data(), prefix.size()) == 0;
}

}  // namespace

Result<std::shared_ptr<const DataFile>> DataFile::open(const std::string& path) {
  // O_NONBLOCK: a FIFO among the samples must not make the tool wait for a writer.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return not_opened(path, errno);
  struct stat st;
  if (::fstat(fd, &st) != 0) {
    const int error = errno;
    ::close(fd);
    return not_opened(path, error);
  }
  if (!S_ISREG(st.st_mode)) {
    ::close(fd);
    return bad_data(path + (S_ISDIR(st.st_mode) ? ": is a directory, expected a file"
                                                : ": is not a regular file"));
  }
  return std::shared_ptr<const DataFile>(new DataFile(fd, static_cast<uint64_t>(st.st_size), path));
}

DataFile::~DataFile() { ::close(fd_); }

Status DataFile::read_at(uint64_t offset, std::span<std::byte> out) const {
  size_t done = 0;
  while (done < out.size()) {
    const ssize_t n =
        ::pread(fd_, out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return bad_data(path_ + ": cannot read: " + std::strerror(errno));
    if (n == 0)
      return bad_data(path_ + ": ends at byte " + std::to_string(offset + done) + ", expected " +
                      std::to_string(offset + out.size()) + " bytes");
    done += static_cast<size_t>(n);
  }
  return {};
}

Result<std::vector<std::byte>> DataFile::read_all() const { return read_head(size_); }

Result<std::vector<std::byte>> DataFile::read_head(size_t count) const {
  std::vector<std::byte> bytes(std::min<uint64_t>(count, size_));
  ONNXTOOL_TRY(read_at(0, bytes));
  return bytes;
}

Result<bool> is_directory(const std::string& path) {
  struct stat st;
  if (::stat(path.c_str(), &st) != 0) return not_opened(path, errno);
  return S_ISDIR(st.st_mode) != 0;
}

Result<std::vector<DirectoryEntry>> list_directory(const std::string& path) {
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(path.c_str()), ::closedir);
  if (!directory) return not_opened(path, errno);
  std::vector<DirectoryEntry> entries;
  errno = 0;
  while (const dirent* e = ::readdir(directory.get())) {
    if (e->d_name[0] == '.') continue;
    DirectoryEntry entry{e->d_name, join_path(path, e->d_name), e->d_type == DT_DIR};
    if (e->d_type == DT_LNK || e->d_type == DT_UNKNOWN) {
      struct stat st;  // a link that leads nowhere is listed, so that reading it names it
      entry.is_directory = ::stat(entry.path.c_str(), &st) == 0 && S_ISDIR(st.st_mode);
    }
    entries.push_back(std::move(entry));
    errno = 0;
  }
  if (errno != 0) return not_opened(path, errno);
  std::sort(entries.begin(), entries.end(), [](const DirectoryEntry& a, const DirectoryEntry& b) {
    return natural_less(a.name, b.name);
  });
  return entries;
}

bool natural_less(std::string_view a, std::string_view b) {
  size_t i = 0, j = 0;
  while (i < a.size() && j < b.size()) {
    if (!is_digit(a[i]) || !is_digit(b[j])) {
      if (a[i] != b[j]) return static_cast<unsigned char>(a[i]) < static_cast<unsigned char>(b[j]);
      ++i;
      ++j;
      continue;
    }
    // Numbers of any length: without leading zeros the longer run is larger, equal lengths compare
    // as text.
    const auto run = [](std::string_view s, size_t& at) {
      while (at < s.size() && s[at] == '0') ++at;
      const size_t begin = at;
      while (at < s.size() && is_digit(s[at])) ++at;
      return s.substr(begin, at - begin);
    };
    const std::string_view x = run(a, i), y = run(b, j);
    if (x.size() != y.size()) return x.size() < y.size();
    if (x != y) return x < y;
  }
  if (i < a.size() || j < b.size()) return j < b.size();
  return a < b;  // differ in leading zeros only
}

std::string join_path(const std::string& directory, std::string_view name) {
  std::string path = directory;
  if (!path.empty() && path.back() != '/') path += '/';
  return path.append(name);
}

std::string file_name(std::string_view path) {
  const size_t slash = path.rfind('/');
  return std::string(slash == std::string_view::npos ? path : path.substr(slash + 1));
}

std::string file_stem(std::string_view path) {
  const std::string name = file_name(path);
  const size_t dot = name.rfind('.');
  return dot == std::string::npos || dot == 0 ? name : name.substr(0, dot);
}

std::string file_extension(std::string_view path) {
  const std::string name = file_name(path);
  const size_t dot = name.rfind('.');
  if (dot == std::string::npos || dot == 0) return {};
  return to_lower(name.substr(dot + 1));
}

std::string describe_start(std::span<const std::byte> bytes) {
  if (bytes.empty()) return "is empty";
  constexpr char kHex[] = "0123456789abcdef";
  std::string s = "starts with \"";
  for (std::byte b : bytes.first(std::min<size_t>(bytes.size(), 8))) {
    const auto c = std::to_integer<unsigned char>(b);
    if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\') {
      s += static_cast<char>(c);
    } else {
      s += "\\x";
      s += kHex[c >> 4];
      s += kHex[c & 15];
    }
  }
  return s + "\"";
}

FileKind sniff(std::span<const std::byte> head, uint64_t file_size) {
  if (starts_with(head, "\x93NUMPY")) return FileKind::kNpy;
  if (starts_with(head, "PK\x03\x04") || starts_with(head, "PK\x05\x06")) return FileKind::kZip;
  switch (image_form(head)) {
    case ImageForm::kJpeg: return FileKind::kJpeg;
    case ImageForm::kPng: return FileKind::kPng;
    case ImageForm::kPpm: return FileKind::kPpm;
    case ImageForm::kNone: break;
  }
  if (looks_like_safetensors(head, file_size)) return FileKind::kSafetensors;
  return FileKind::kUnknown;
}

}  // namespace onnxtool
