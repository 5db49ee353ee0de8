#include "apps/verification.h"

#include <fmt/format.h>

#include "apps/flags.h"
#include "calib/compare/verifier.h"

namespace onnxtool {

void add_verify_flag(CLI::App& command, std::string& verify, const std::string& group) {
  add_choice(command, verify,
             {"--verify", "off|quick|full|strict",
              "Run both models on seeded inputs before anything is written; full on more inputs, "
              "strict fails also where nodes cannot be run",
              group});
}

std::unique_ptr<Verifier> make_chosen_verifier(const Model& original, const std::string& verify,
                                               int threads,
                                               std::function<void(int64_t, int64_t)> on_progress) {
  if (verify == "off") return nullptr;
  VerifierOptions options =
      verify == "quick" ? quick_verification(threads) : full_verification(threads);
  options.on_progress = std::move(on_progress);
  return make_verifier(original, options);
}

bool fails_strict(const std::string& verify, const std::optional<Verification>& verification) {
  return verify == "strict" && verification && verification->unverified_nodes > 0;
}

Error unverified_error(int64_t nodes) {
  return {ErrorCode::kNegative,
          fmt::format("{} node{} cannot be verified", nodes, nodes == 1 ? "" : "s"),
          "nothing was written; --verify full accepts what cannot be run"};
}

Section verification_section(const std::optional<Verification>& v, bool off) {
  Section s{"verification", "Verification", {}, {}, {}, false};
  const auto result = [&]() -> std::string {
    if (off) return "off";
    if (!v) return "nothing to verify: the model was not changed";
    if (!v->equal) return "different";
    return v->compared_anything() ? "equal " + v->basis : "unverified";
  }();
  s.fields.push_back({"result", "result", result, ""});
  if (!v) return s;
  s.fields.push_back({"inputs", "sets of inputs", v->inputs, ""});
  if (v->discarded)
    s.fields.push_back(
        {"discarded", "discarded, since the original fails on them", v->discarded, ""});
  s.fields.push_back({"elements", "elements compared", v->elements, ""});
  if (v->unverified_nodes)
    s.fields.push_back({"unverified_nodes", "unverified", v->unverified_nodes,
                        v->unverified_nodes == 1 ? "node" : "nodes"});
  if (!v->obstacle.empty()) s.notes.push_back("not verified: " + v->obstacle);
  return s;
}

}  // namespace onnxtool
