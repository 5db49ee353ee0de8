#include "libopt/support/temporary.h"

#include <cerrno>
#include <utility>

namespace onnxtool {

Error write_failed(const std::string& path, const std::string& what, int error) {
  std::string hint;
  if (error == ENOSPC || error == EDQUOT) hint = "free space there, or choose another place";
  if (error == EFBIG)
    hint = "raise the limit on file sizes (ulimit -f), or choose another file system";
  if (error == EACCES || error == EROFS || error == EPERM)
    hint = "choose a place where you may write";
  if (error == ENOENT || error == ENOTDIR)
    hint = "create the directory first, or choose another place";
  return Error{ErrorCode::kWriteFailed, path + ": cannot " + what + ": " + std::strerror(error),
               std::move(hint)};
}

std::string directory_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace onnxtool
