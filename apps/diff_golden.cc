#include "apps/diff_golden.h"

#include "libopt/support/atomic_directory.h"

namespace onnxtool {

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
