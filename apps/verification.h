// Proof that a rewritten model computes what it did: the flag, the verifier that it chooses, and
// what the report says of it.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "apps/report/report.h"
#include "libopt/ir/model.h"
#include "libopt/rewrite/verifier.h"

namespace onnxtool {

/// `--verify off|quick|full|strict`; `verify` holds the default.
void add_verify_flag(CLI::App& command, std::string& verify, const std::string& group);

/// nullptr where `verify` is off. Types of `original` must be inferred. `on_progress` as in
/// VerifierOptions.
std::unique_ptr<Verifier> make_chosen_verifier(
    const Model& original, const std::string& verify, int threads,
    std::function<void(int64_t, int64_t)> on_progress = {});

/// Whether nodes stayed unverified where the flag accepts none.
bool fails_strict(const std::string& verify, const std::optional<Verification>& verification);

/// What is said where it fails.
Error unverified_error(int64_t nodes);

/// Absent: the model was not changed, or the flag is off.
Section verification_section(const std::optional<Verification>& verification, bool off);

}  // namespace onnxtool
