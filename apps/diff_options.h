// The command line of diff.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <vector>

#include "apps/data_flags.h"
#include "apps/model_flags.h"

namespace onnxtool {

struct DiffOptions {
  std::string reference, test, data;
  std::string golden, record;
  std::string record_format = "safetensors";
  bool accept = false, force = false, structure = false;
  std::vector<std::string> gates;
  std::optional<double> atol, rtol;
  int top_k = 5;
  bool kl = false;
  std::string per_layer, bisect, simulate;
  std::optional<double> layer_limit;
  std::string settings_file;  // empty: none
  DataFlags data_flags;
  CommonFlags common;
};

void add_diff_flags(CLI::App& command, DiffOptions& options);

struct DiffPaths {
  std::string reference, test, golden;  // empty: none
  bool test_is_set = false;
};
/// Which model or golden set stands where, and whether the flags go with that.
Result<DiffPaths> diff_paths(const DiffOptions& options);

}  // namespace onnxtool
