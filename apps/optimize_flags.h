// Flags of onnxtool optimize, and what they choose.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "apps/data_flags.h"
#include "apps/files.h"
#include "apps/model_flags.h"
#include "apps/model_output.h"
#include "apps/subgraph.h"
#include "libopt/rewrite/rule.h"
#include "libopt/support/status.h"

namespace onnxtool {

inline constexpr const char* kOptimizedSuffix = ".opt.onnx";

struct OptimizeOptions {
  std::string model;
  OutputFlags output;
  SaveOptions save;  // set once the command line is parsed
  std::vector<std::string> passes, disable, keep, assume;
  int64_t max_growth = 0;
  int opset = 0, allow_opset = 0;
  bool freeze = false, strip = false, provenance = false, explain = false;
  SubgraphFlags part;
  std::string repro;
  std::string explain_what;
  DataFlags shapes;  // dims and input_shapes of it
  std::string verify = "quick";
  std::string level = "basic", target = "portable";
  std::string settings_file;  // empty: none
  CommonFlags common;
};

void add_optimize_flags(CLI::App& command, OptimizeOptions& options);

/// Extended passes write operators of the target, and a portable model has none of them.
bool writes_foreign_operators(const OptimizeOptions& options);

/// What --level, --passes and --disable leave of the pipeline.
Result<std::vector<const PassInfo*>> chosen_passes(const OptimizeOptions& options);

/// Files that are read, with the flags that name them.
std::vector<NamedPath> inputs_of(const OptimizeOptions& options);

}  // namespace onnxtool
