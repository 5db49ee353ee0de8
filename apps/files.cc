#include "apps/files.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <span>
#include <vector>

#include "apps/flags.h"
#include "libopt/support/atomic_file.h"

namespace onnxtool {
namespace {

namespace fs = std::filesystem;

bool is_file_name(const std::string& path) { return !path.empty() && path != "-"; }

// Also where neither exists yet.
bool same_place(const std::string& a, const std::string& b) {
  if (same_file(a, b)) return true;
  std::error_code e, f;
  const fs::path x = fs::weakly_canonical(fs::absolute(a, e), e),
                 y = fs::weakly_canonical(fs::absolute(b, f), f);
  return !e && !f && x == y;
}

// Samples may lie in a directory; an output must not replace one of them.
bool lies_in(const std::string& path, const std::string& directory) {
  std::error_code e;
  if (!fs::is_regular_file(path, e) || !fs::is_directory(directory, e)) return false;
  const auto options = fs::directory_options::skip_permission_denied;
  for (auto it = fs::recursive_directory_iterator(directory, options, e);
       !e && it != fs::recursive_directory_iterator(); it.increment(e))
    if (same_file(path, it->path().string())) return true;
  return false;
}

// Whether `path` is `directory` itself or lies beneath it; false for "" and "-".
bool holds(const std::string& directory, const std::string& path) {
  if (!is_file_name(directory) || !is_file_name(path)) return false;
  std::error_code e, f;
  const std::string_view bare(directory.data(),
                              std::max<size_t>(directory.find_last_not_of('/') + 1, 1));
  const fs::path outer = fs::weakly_canonical(fs::absolute(bare, e), e);
  fs::path inner = fs::weakly_canonical(fs::absolute(path, f), f);
  if (e || f) return false;
  for (;; inner = inner.parent_path()) {
    if (inner == outer || same_file(inner.string(), outer.string())) return true;
    if (inner == inner.parent_path()) return false;
  }
}

}  // namespace

Status check_files(const std::vector<NamedPath>& inputs, const std::vector<NamedPath>& outputs) {
  for (size_t i = 0; i < outputs.size(); ++i) {
    const auto& [flag, path] = outputs[i];
    if (!is_file_name(path)) continue;
    for (const NamedPath& in : inputs)
      if (is_file_name(in.path) && (same_file(path, in.path) || lies_in(path, in.path)))
        return Error{
            ErrorCode::kUsage,
            path + ": " + flag + " would replace an input (" + in.flag + " " + in.path + ")",
            "choose another name for " + flag};
    // A pipe or device may take several outputs; a file keeps only the last.
    std::error_code e;
    if (fs::exists(path, e) && !fs::is_regular_file(path, e) && !fs::is_directory(path, e))
      continue;
    for (size_t j = 0; j < i; ++j)
      if (is_file_name(outputs[j].path) && same_place(path, outputs[j].path))
        return Error{ErrorCode::kUsage,
                     path + ": " + outputs[j].flag + " and " + flag + " would write the same file",
                     "give each its own name"};
    if (i == 0) continue;
    // Opening finds out about directories, links and permissions; dropping the file leaves nothing.
    ONNXTOOL_ASSIGN([[maybe_unused]] AtomicFile probe, AtomicFile::create(path));
  }
  return {};
}

Status check_output_directory(const std::string& flag, const std::string& directory,
                              const std::vector<NamedPath>& inputs) {
  for (const NamedPath& in : inputs)
    if (holds(directory, in.path))
      return Error{
          ErrorCode::kUsage,
          directory + ": " + flag + " would replace an input (" + in.flag + " " + in.path + ")",
          "choose another directory"};
  return {};
}

std::string hint_for_missing(const std::string& path) {
  std::error_code e;
  const fs::path p(path), directory = p.has_parent_path() ? p.parent_path() : fs::path(".");
  const auto listed = [&](const fs::path& where) {
    std::vector<std::string> names;
    for (auto it = fs::directory_iterator(where, e); !e && it != fs::directory_iterator();
         it.increment(e))
      names.push_back(it->path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
  };
  if (fs::is_directory(p, e)) {
    for (const std::string& name : listed(p))
      if (name.ends_with(".onnx")) return "did you mean '" + (p / name).string() + "'?";
    return {};
  }
  if (fs::exists(p, e)) return {};
  if (!fs::is_directory(directory, e)) return "'" + directory.string() + "' is no directory";
  const std::string hint = did_you_mean(p.filename().string(), listed(directory));
  return hint.empty() ? "check the path" : hint;
}

// Baselines and ranges of large models have a few MB.
constexpr size_t kMostText = size_t{64} << 20;

Result<std::string> read_text(const std::string& path) {
  std::error_code e;
  if (fs::is_directory(path, e))
    return Error{ErrorCode::kNotFound, path + ": is a directory, expected a file", {}};
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file)
    return Error{ErrorCode::kNotFound, path + ": cannot open: " + std::strerror(errno),
                 hint_for_missing(path)};
  std::string out;
  std::vector<char> block(1 << 16);
  while (file.read(block.data(), static_cast<std::streamsize>(block.size())), file.gcount() > 0) {
    out.append(block.data(), static_cast<size_t>(file.gcount()));
    if (out.size() > kMostText)
      return Error{ErrorCode::kLimit,
                   fmt::format("{}: has more than {} MB, expected text", path, kMostText >> 20),
                   "is it the right file?"};
  }
  return out;
}

Status write_text(const std::string& path, const std::string& text) {
  ONNXTOOL_ASSIGN(AtomicFile file, AtomicFile::create(path));
  ONNXTOOL_TRY(file.write(std::as_bytes(std::span(text.data(), text.size()))));
  return file.commit();
}

}  // namespace onnxtool
