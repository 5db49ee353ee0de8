#include "apps/model_files.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>

#include "apps/files.h"
#include "libopt/support/ascii.h"

namespace onnxtool {
namespace {

namespace fs = std::filesystem;

bool ends_with_any(const std::string& file, const std::vector<std::string>& suffixes) {
  const std::string name = to_lower(file);
  return std::ranges::any_of(
      suffixes, [&](const std::string& s) { return name.size() > s.size() && name.ends_with(s); });
}

Status search(const std::string& directory, const std::vector<std::string>& suffixes,
              std::vector<FoundModel>& found) {
  std::error_code e;
  std::vector<std::string> paths;
  auto it = fs::recursive_directory_iterator(directory, e);
  for (; !e && it != fs::recursive_directory_iterator(); it.increment(e)) {
    std::error_code ignored;  // a dangling link is no file
    if (it->is_regular_file(ignored) && ends_with_any(it->path().filename().string(), suffixes))
      paths.push_back(it->path().string());
  }
  if (e) return Error{ErrorCode::kNotFound, directory + ": cannot be read: " + e.message(), {}};
  if (paths.empty())
    return Error{ErrorCode::kNotFound,
                 fmt::format("{}: no file in this directory ends in {}", directory,
                             fmt::join(suffixes, " or ")),
                 {}};
  std::ranges::sort(paths);
  for (std::string& p : paths) found.push_back({std::move(p), directory});
  return {};
}

}  // namespace

Result<std::vector<FoundModel>> find_models(const std::vector<std::string>& paths,
                                            const std::vector<std::string>& suffixes) {
  std::vector<FoundModel> found;
  for (const std::string& path : paths) {
    std::error_code e;
    if (path != "-" && fs::is_directory(path, e)) {
      ONNXTOOL_TRY(search(path, suffixes, found));
      continue;
    }
    if (path != "-" && !fs::exists(path, e))
      return Error{ErrorCode::kNotFound, path + ": no such file or directory",
                   hint_for_missing(path)};
    found.push_back({path, ""});
  }
  return found;
}

}  // namespace onnxtool
