// Flags that say where samples come from and how they are read; the same for every command.
#pragma once

#include <CLI/CLI.hpp>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "calib/data/model_inputs.h"
#include "calib/data/source.h"
#include "libopt/ir/model.h"

namespace onnxtool {

struct DataFlags {
  std::string format;
  std::string batch_axis;
  std::vector<std::string> raw;
  std::string preprocess, resize, crop, layout, channels, scale, mean, std;
  std::string labels;
  std::vector<std::string> dims, input_shapes, random_ranges;
  int64_t random = 0;
  uint64_t seed = 0;
};

void add_data_flags(CLI::App& command, DataFlags& flags);

/// Whether samples were named or asked for; `path` is that of --data or --calib.
inline bool samples_given(const std::string& path, const DataFlags& flags) {
  return !path.empty() || !flags.raw.empty() || flags.random > 0;
}

/// The values that --random draws for integer inputs: --random-range, else integer_bounds().
/// Unknown names list close candidates.
Result<std::map<std::string, IntegerBounds>> random_bounds(const Model& model,
                                                           const DataFlags& flags);

Result<DataOptions> data_options(const DataFlags& flags);

/// --dim NAME=VALUE and --input-shape NAME=D0,D1,...: settles extents of the graph's inputs, in
/// place. Unknown names list close candidates.
Status apply_shapes(Model& model, const DataFlags& flags);

}  // namespace onnxtool
