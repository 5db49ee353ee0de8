#include "apps/diff_golden.h"

#include <algorithm>
#include <filesystem>

#include "libopt/support/atomic_directory.h"

namespace onnxtool {
namespace {

namespace fs = std::filesystem;

// By name, hidden ones too; empty where the directory cannot be read.
std::vector<fs::directory_entry> entries_of(const fs::path& directory) {
  std::error_code e;
  std::vector<fs::directory_entry> out;
  for (auto it = fs::directory_iterator(directory, e); !e && it != fs::directory_iterator();
       it.increment(e))
    out.push_back(*it);
  std::sort(out.begin(), out.end());
  return out;
}

// A file that is not of the set, as a path below it; empty: none.
std::string foreign_file(const Golden& g, const std::string& path) {
  const bool folders = g.form == GoldenForm::kTestData;
  const auto is_sample = [&](const std::string& name) {
    return std::any_of(g.samples.begin(), g.samples.end(),
                       [&](const GoldenSample& s) { return s.file == name; });
  };
  const auto is_tensor = [](const std::string& name) {
    return (name.starts_with("input_") || name.starts_with("output_")) && name.ends_with(".pb");
  };
  std::error_code e;
  for (const fs::directory_entry& entry : entries_of(path)) {
    const std::string name = entry.path().filename().string();
    if (name == "golden.toml") continue;
    if (!entry.is_directory(e) || !(folders ? is_sample(name) : name == "samples")) return name;
    for (const fs::directory_entry& file : entries_of(entry.path())) {
      const std::string inner = file.path().filename().string();
      if (file.is_directory(e) || !(folders ? is_tensor(inner) : is_sample(inner)))
        return name + "/" + inner;
    }
  }
  return {};
}

}  // namespace

Section golden_section(const Golden& g, const std::string& path) {
  Section s{"golden", "Golden set", {}, {}, {}, false};
  s.fields.push_back({"path", "path", path, ""});
  s.fields.push_back({"samples", "samples", static_cast<int64_t>(g.samples.size()), ""});
  if (!g.model.empty()) {
    s.fields.push_back({"model", "model", g.model, ""});
    s.fields.push_back({"model_sha256", "sha256 of the model", g.model_sha256, ""});
  }
  for (const std::string& gate : g.gates)
    s.fields.push_back({"gate", "gate", gate, "", Audience::kPeople});
  return s;
}

Status write_golden_set(const Model& model, const SampleSource& source, const RunOptions& run,
                        Golden& about, const std::string& path, bool replace) {
  about.tool_version = ONNXTOOL_VERSION;
  ONNXTOOL_ASSIGN(AtomicDirectory directory, AtomicDirectory::create(path, replace));
  if (Status s = record_golden(model, source, run, about, directory); !s.ok())
    return std::move(s).error();
  return directory.commit();
}

Status require_own_files(const Golden& golden, const std::string& path) {
  const std::string other = foreign_file(golden, path);
  if (other.empty()) return {};
  return Error{ErrorCode::kMismatch,
               "--accept: " + path + " holds '" + other +
                   "', which is not of the set and would be lost when the set is replaced",
               "move it elsewhere first"};
}

Status require_recorded_from(const Golden& golden, const std::string& golden_path,
                             const Model& model, const std::string& model_path) {
  if (golden.model_sha256.empty())
    return Error{ErrorCode::kMismatch,
                 golden_path + ": the set does not say which model it was recorded from",
                 "compare with the set alone: onnxtool diff " + golden_path + " TEST"};
  if (model_digest(model) == golden.model_sha256) return {};
  return Error{ErrorCode::kMismatch,
               golden_path + ": the set is stale: it was recorded from another " + golden.model +
                   " than " + model_path,
               "record it anew: onnxtool diff " + model_path + " --record " + golden_path +
                   " --force --data PATH"};
}

Status require_same_inputs(const InputPairing& inputs, size_t set_inputs,
                           const std::string& model_path) {
  bool same = inputs.sample_input.size() == set_inputs;
  for (size_t i = 0; same && i < set_inputs; ++i)
    same = inputs.sample_input[i] == i && inputs.convert_to[i] == DataType::kUndefined;
  if (same) return {};
  return Error{
      ErrorCode::kMismatch, "--accept: " + model_path + " takes other inputs than the set has",
      "record a set of its own: onnxtool diff " + model_path + " --record DIR --data PATH"};
}

}  // namespace onnxtool
