#include "apps/convert_ort_files.h"

#include <fmt/format.h>

#include <toml++/toml.h>
#include <algorithm>
#include <filesystem>

#include "apps/files.h"
#include "libopt/support/ascii.h"

namespace onnxtool {
namespace {

namespace fs = std::filesystem;

bool ends_with_any_case(const std::string& name, std::string_view ending) {
  return to_lower(name).ends_with(ending);
}

std::string without(const std::string& name, std::string_view ending) {
  return ends_with_any_case(name, ending) ? name.substr(0, name.size() - ending.size()) : name;
}

// Models beneath a directory, with their paths in it; not what the converter itself leaves there.
Result<std::vector<fs::path>> models_in(const fs::path& directory, bool to_onnx) {
  std::error_code e;
  std::vector<fs::path> found;
  const auto options = fs::directory_options::skip_permission_denied;
  for (auto it = fs::recursive_directory_iterator(directory, options, e);
       !e && it != fs::recursive_directory_iterator(); it.increment(e)) {
    const std::string name = it->path().filename().string();
    std::error_code ignored;
    if (ends_with_any_case(name, to_onnx ? ".ort" : ".onnx") &&
        !ends_with_any_case(name, ".optimized.onnx") && it->is_regular_file(ignored))
      found.push_back(it->path().lexically_relative(directory));
  }
  if (e)
    return Error{ErrorCode::kNotFound, directory.string() + ": cannot be read: " + e.message(), {}};
  if (found.empty())
    return Error{ErrorCode::kNotFound,
                 fmt::format("{}: holds no file that ends in {}", directory.string(),
                             to_onnx ? ".ort" : ".onnx"),
                 {}};
  std::ranges::sort(found);
  return found;
}

class Planner {
 public:
  explicit Planner(const OrtJobOptions& options) : o_(options) {}

  Result<std::vector<OrtJob>> plan() {
    std::error_code ignored;
    if (o_.model != "-" && fs::is_directory(o_.model, ignored)) return directory();
    if (o_.model == "-" && o_.output.empty())
      return Error{ErrorCode::kUsage, "the model comes from stdin, so its output needs a name",
                   "add -o FILE, or -o - for stdout"};
    const bool into_directory = o_.output.ends_with('/') || fs::is_directory(o_.output, ignored);
    if (!o_.output.empty() && !into_directory) {
      if (styles() > 1)
        return Error{ErrorCode::kUsage, "--style both writes two files, and -o names one",
                     "name a directory with -o, or leave it out"};
      return std::vector<OrtJob>{{o_.model, {{o_.output, o_.style == "runtime"}}}};
    }
    const fs::path model(o_.model),
        target = into_directory ? fs::path(o_.output) : model.parent_path();
    ONNXTOOL_ASSIGN(OrtJob one, job(model, target, model.filename()));
    return std::vector<OrtJob>{std::move(one)};
  }

 private:
  size_t styles() const { return !o_.to_onnx && o_.style == "both" ? 2 : 1; }

  Result<std::vector<OrtJob>> directory() const {
    ONNXTOOL_ASSIGN(const auto found, models_in(o_.model, o_.to_onnx));
    const fs::path target = o_.output.empty() ? fs::path(o_.model) : fs::path(o_.output);
    std::error_code ignored;
    if (o_.output == "-" || (fs::exists(target, ignored) && !fs::is_directory(target, ignored)))
      return Error{ErrorCode::kUsage, o_.output + ": is no directory, and the models come from one",
                   "name a directory with -o"};
    std::vector<OrtJob> jobs;
    for (const fs::path& relative : found) {
      ONNXTOOL_ASSIGN(OrtJob one, job(o_.model / relative, target, relative));
      jobs.push_back(std::move(one));
    }
    return jobs;
  }

  Result<OrtJob> job(const fs::path& input, const fs::path& target,
                     const fs::path& relative) const {
    OrtJob out{input.string(), {}};
    const std::string name = relative.filename().string();
    const std::string stem = without(name, o_.to_onnx ? ".ort" : ".onnx");
    const auto add = [&](const std::string& ending, bool with_fusions) -> Status {
      const fs::path path = target / relative.parent_path() / (stem + ending);
      std::error_code ignored;
      if (!o_.force && fs::exists(path, ignored))
        return Error{ErrorCode::kUsage, path.string() + ": exists already",
                     "replace it with --force, or name an output with -o"};
      out.outputs.push_back({path.string(), with_fusions});
      return {};
    };
    if (o_.to_onnx) {
      if (stem == name)
        return Error{ErrorCode::kUsage,
                     input.string() + ": does not end in .ort, so the model has no default name",
                     "add -o FILE"};
      ONNXTOOL_TRY(add(".onnx", false));
    } else {
      if (o_.style != "runtime") ONNXTOOL_TRY(add(".ort", false));
      if (o_.style != "fixed") ONNXTOOL_TRY(add(".with_runtime_opt.ort", true));
    }
    return out;
  }

  const OrtJobOptions& o_;
};

}  // namespace

Result<std::vector<OrtJob>> plan_ort_jobs(const OrtJobOptions& options) {
  return Planner(options).plan();
}

Result<std::string> ort_config_path(const OrtJobOptions& options, const std::vector<OrtJob>& jobs,
                                    bool with_types) {
  const std::string flag = with_types ? "--type-reduction" : "--ops-config";
  if (options.to_onnx)
    return Error{ErrorCode::kUsage, flag + ": a config belongs to .ort files",
                 "onnxtool ops-config writes it for any model"};
  const std::string name =
      with_types ? "required_operators_and_types.config" : "required_operators.config";
  const fs::path first = jobs[0].outputs[0].path;
  if (first == "-")
    return Error{ErrorCode::kUsage, flag + ": there is no file to write it beside",
                 "give -o FILE, or use onnxtool ops-config"};
  std::error_code e;
  const std::string& root = options.output.empty() ? options.model : options.output;
  const fs::path path = fs::is_directory(options.model, e)
                            ? fs::path(root) / name
                            : first.parent_path() / (first.stem().string() + "." + name);
  if (!options.force && fs::exists(path, e))
    return Error{ErrorCode::kUsage, path.string() + ": the config's default name exists",
                 "--force replaces it"};
  return path.string();
}

Result<std::vector<OrtCustomOperator>> read_custom_operators(const std::string& path) {
  ONNXTOOL_ASSIGN(const std::string text, read_text(path));
  toml::table table;
  try {
    table = toml::parse(text);
  } catch (const toml::parse_error& e) {
    return Error{ErrorCode::kUsage,
                 fmt::format("{}: line {}: {}", path, e.source().begin.line, e.description()),
                 {}};
  }
  const auto bad = [&](const toml::node& at, const std::string& what) {
    return Error{ErrorCode::kUsage,
                 fmt::format("{}: line {}: {}", path, at.source().begin.line, what),
                 "expected [[operator]] with domain = \"...\", name = \"...\" and, unless it is 1, "
                 "since_version"};
  };
  std::vector<OrtCustomOperator> out;
  for (const auto& [key, node] : table) {
    const toml::array* list = node.as_array();
    if (key.str() != "operator" || !list)
      return bad(node, fmt::format("there is no setting '{}'", key.str()));
    for (const toml::node& item : *list) {
      const toml::table* entry = item.as_table();
      if (!entry) return bad(item, "an operator is no table");
      for (const auto& [name, value] : *entry)
        if (name.str() != "domain" && name.str() != "name" && name.str() != "since_version")
          return bad(value, fmt::format("an operator has no '{}'", name.str()));
      const auto domain = (*entry)["domain"].value<std::string>(),
                 name = (*entry)["name"].value<std::string>();
      const auto version = (*entry)["since_version"].value_or(int64_t{1});
      if (!domain || domain->empty() || !name || name->empty())
        return bad(item, "an operator needs a domain and a name");
      if (version < 1 || version > 1'000'000)
        return bad(item, fmt::format("since_version is {}", version));
      out.push_back({*domain, *name, static_cast<int>(version)});
    }
  }
  if (out.empty())
    return Error{ErrorCode::kUsage, path + ": declares no operator",
                 "expected [[operator]] entries"};
  return out;
}

}  // namespace onnxtool
