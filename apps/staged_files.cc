#include "apps/staged_files.h"

#include <sys/resource.h>

#include <algorithm>
#include <filesystem>

namespace onnxtool {
namespace {

namespace fs = std::filesystem;

constexpr rlim_t kOtherFiles = 64;  // inputs, streams, modules

}  // namespace

StagedFiles::~StagedFiles() {
  files_.clear();
  std::error_code ignored;  // such as one that holds something by now
  for (auto it = directories_.rbegin(); it != directories_.rend(); ++it) fs::remove(*it, ignored);
}

Status StagedFiles::make_parent(const std::string& path) {
  const fs::path parent = fs::path(path).parent_path();
  std::error_code e;
  if (path == "-" || parent.empty() || fs::is_directory(parent, e)) return {};
  std::vector<std::string> missing;
  for (fs::path at = parent; !at.empty() && !fs::exists(at, e); at = at.parent_path())
    missing.push_back(at.string());
  fs::create_directories(parent, e);
  directories_.insert(directories_.end(), missing.rbegin(), missing.rend());
  if (e)
    return Error{ErrorCode::kWriteFailed, parent.string() + ": cannot be made: " + e.message(), {}};
  return {};
}

Status StagedFiles::commit(bool no_clobber) {
  for (AtomicFile& file : files_) ONNXTOOL_TRY(no_clobber ? file.commit_new() : file.commit());
  files_.clear();
  directories_.clear();
  return {};
}

void allow_open_files(size_t count) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  const rlim_t wanted = std::min(static_cast<rlim_t>(count) + kOtherFiles, limit.rlim_max);
  if (limit.rlim_cur >= wanted) return;
  limit.rlim_cur = wanted;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace onnxtool
