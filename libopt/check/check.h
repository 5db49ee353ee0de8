// Everything that is wrong with a model file, in one run.
//
// The faults that make a file no valid model are looked for in its outline (libopt/io/outline.h),
// since the graph is only built from sound files; types, shapes and advice need the graph.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "libopt/check/rules.h"
#include "libopt/io/decode.h"
#include "libopt/ir/model.h"
#include "libopt/ort/provider_kernel.h"
#include "libopt/target/runtime.h"
#include "libopt/target/target.h"

namespace onnxtool {

struct CheckFinding {
  RuleId id;
  std::string message;             // lower-case, no final period
  std::string place;               // "node 'conv1' (Conv)"; empty: the model
  std::string hint;                // empty: the rule's fix
  std::optional<uint64_t> offset;  // of the message at fault, in bytes from the start of the file

  const Rule& rule() const { return onnxtool::rule(id); }
};

struct CheckOptions {
  /// Domains, or DOMAIN:OP, of operators outside of the standard that are allowed; nothing given:
  /// all are.
  std::vector<std::string> allowed_ops;
  const RuntimeRelease* runtime = nullptr;  // that must load the model
  /// Whose kernels the runtime shall use; what it has none for runs on its CPU provider.
  OrtProvider provider = OrtProvider::kCpu;
  const Target* target = nullptr;  // that must take the model
  bool read_weights = false;       // look at every constant's values
  bool digest = false;             // fill CheckResult::digest
  /// Findings that do not count, not even towards the limit; asked once for each.
  std::function<bool(const CheckFinding&)> ignore;
};

struct CheckResult {
  std::vector<CheckFinding> findings;  // errors first, then in the order of the file
  std::map<RuleId, size_t> left_out;   // findings beyond the limit that each rule has
  std::unique_ptr<Model> model;        // nullptr where it could not be built; types are inferred
  std::string digest;  // as semantic_digest(); empty where `model` is, or its functions have no end
  bool has(Severity least) const;
};

/// Checks the bytes of a file.
CheckResult check_model(const DecodeSource& source, const CheckOptions& options);
/// Errors are those of reading: a file that is not there, a pipe that breaks. What is wrong with
/// its content are findings.
Result<CheckResult> check_file(const std::string& path, const CheckOptions& options);

}  // namespace onnxtool
