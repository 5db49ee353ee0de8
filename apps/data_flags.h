// Flags that say where samples come from and how they are read; the same for every command.
#pragma once

#include <CLI/CLI.hpp>
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
  std::vector<std::string> dims, input_shapes;
  int64_t random = 0;
  uint64_t seed = 0;
};

void add_data_flags(CLI::App& command, DataFlags& flags);

Result<DataOptions> data_options(const DataFlags& flags);

/// --dim NAME=VALUE and --input-shape NAME=D0,D1,...: settles extents of the graph's inputs, in
/// place. Unknown names list close candidates.
Status apply_shapes(Model& model, const DataFlags& flags);

}  // namespace onnxtool
