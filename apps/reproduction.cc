#include "apps/reproduction.h"

#include <fmt/format.h>

#include "apps/isolated_files.h"
#include "apps/verification.h"
#include "calib/compare/reproduce.h"
#include "libopt/io/encode.h"
#include "libopt/support/atomic_directory.h"
#include "passes/pass.h"

namespace onnxtool {
namespace {

// Whether the pass breaks the part by itself: what it looks for may reach beyond.
bool breaks_alone(const Model& original, const PassInfo& pass, const PassContext& context,
                  int threads) {
  std::unique_ptr<Model> copy = original.clone();
  PassContext again = context;
  again.keep = nullptr;
  again.on_near_miss = nullptr;
  const auto verifier = make_chosen_verifier(original, "full", threads);
  const PassInfo* const passes[] = {&pass};
  return run_verified(copy, passes, again, verifier.get()).breach.has_value();
}

std::string command_for(const Reproduction& r, const Breach& breach, const PassContext& context,
                        int threads) {
  const PassInfo* pass = find_pass(breach.pass);
  if (pass && breaks_alone(*r.original, *pass, context, threads))
    return fmt::format("onnxtool optimize original.onnx --passes {}{} --verify full -o out.onnx",
                       breach.pass, context.ort_cpu ? " --level extended --target ort-cpu" : "");
  return "onnxtool diff original.onnx rewritten.onnx --data test_data_set_0 --gate max-abs=0";
}

std::string readme(const Reproduction& r, const Breach& breach, const std::string& command) {
  const std::string found = r.failure.empty() ? "What rewritten.onnx gives is in found."
                                              : "rewritten.onnx fails: " + r.failure;
  return fmt::format(
      "{} at {} changes what the model computes: {}\n\n"
      "original.onnx and rewritten.onnx are the nodes that it changed, before and after.\n"
      "test_data_set_0 has inputs, and what original.onnx gives. {}\n\n"
      "Shows it again, in this directory:\n  {}\n",
      breach.pass, breach.node, breach.difference, found, command);
}

Status write_text_into(const AtomicDirectory& directory, const std::string& name,
                       const std::string& text) {
  return directory.write(name, std::as_bytes(std::span(text)));
}

Status write_files(const Reproduction& r, const std::string& text,
                   const ReproductionOptions& options) {
  ONNXTOOL_ASSIGN(AtomicDirectory directory,
                  AtomicDirectory::create(options.directory, options.replace));
  ONNXTOOL_TRY(write_isolated_model(*r.original, directory, "original.onnx", "--repro"));
  ONNXTOOL_TRY(write_isolated_model(*r.rewritten, directory, "rewritten.onnx", "--repro"));
  ONNXTOOL_TRY(write_isolated_data(directory, "repro", r.inputs, r.expected));
  for (size_t i = 0; i < r.found.size(); ++i)
    ONNXTOOL_TRY(write_text_into(directory, fmt::format("found/output_{}.pb", i),
                                 encode_tensor(r.found[i].name, r.found[i].tensor).flatten()));
  ONNXTOOL_TRY(write_text_into(directory, "README.txt", text));
  return directory.commit();
}

}  // namespace

Result<Section> write_reproduction(const VerifiedRun& run, const PassContext& context,
                                   const ReproductionOptions& options) {
  Section s{"reproduction", "Reproduction", {}, {}, {}, false};
  if (!run.before_breach) {
    s.notes.push_back("--repro wrote nothing: the model differed before the first pass");
    return s;
  }
  ONNXTOOL_ASSIGN(const Reproduction r, reproduce(*run.before_breach, *run.after_breach,
                                                  run.breach_inputs, options.threads));
  const std::string command = command_for(r, *run.breach, context, options.threads);
  ONNXTOOL_TRY(write_files(r, readme(r, *run.breach, command), options));
  s.fields.push_back({"path", "directory", options.directory, ""});
  const auto nodes = [](const Model& m) { return static_cast<int64_t>(m.graph().num_nodes()); };
  s.fields.push_back({"nodes_before", "nodes before", nodes(*r.original), ""});
  s.fields.push_back({"nodes_after", "nodes after", nodes(*r.rewritten), ""});
  s.fields.push_back({"command", "shown again, there, by", command, ""});
  return s;
}

}  // namespace onnxtool
