// Flags of `onnxtool quantize`, and what they mean for the quantizer.
#pragma once

#include <CLI/CLI.hpp>

#include <set>
#include <string>
#include <vector>

#include "apps/data_flags.h"
#include "apps/files.h"
#include "apps/flags.h"
#include "apps/model_flags.h"
#include "apps/model_output.h"
#include "apps/quantize_recipe.h"
#include "quant/scheme.h"

namespace onnxtool {

/// In place of .onnx, where no output is named.
inline constexpr const char* kQuantizedSuffix = ".int8.onnx";

/// What the command line and the settings say.
struct QuantizeFlags {
  std::string model, calib, eval;
  OutputFlags output;
  SaveOptions save;  // as `output` says
  std::string calibrator = "auto";
  double percentile = 99.999;
  std::string preset, target = "ort-cpu", format, to;
  std::string activation_type = "u8", weight_type = "s8";
  bool symmetric = false, per_tensor = false, quantize_outputs = false, no_opset_change = false,
       equalize = false, no_equalize = false, keep_io_types = false;
  bool dynamic = false, weight_only = false;
  int64_t block_size = 0, accuracy_level = 4;
  bool gptq = false, awq = false;
  std::vector<std::string> include, exclude, overrides;
  std::string smooth;  // with "--smooth" among `given`; empty: the strength is chosen
  std::string accuracy_target, emit_recipe;
  bool bias_correction = false, adaround = false;
  std::string save_ranges, ranges, shard;
  std::string ranges_format = "onnxtool";
  std::string verify = "on";
  bool dry_run = false;
  std::string settings_file;                 // empty: none
  std::set<std::string, std::less<>> given;  // flags on the command line or in the settings
  std::vector<Setting> settings;             // the same with values, for a recipe
  DataFlags data;
  CommonFlags common;
};

void add_quantize_flags(CLI::App& command, QuantizeFlags& flags);

/// Errors: types that run on no kernel together, selectors that are none.
Result<QuantizeOptions> quantize_options(const QuantizeFlags& flags);

/// Whether samples calibrate.
inline bool data_given(const QuantizeFlags& flags) {
  return samples_given(flags.calib, flags.data);
}

/// Errors: the target has no operators for the form.
Result<Form> form_of(const QuantizeFlags& flags);

/// Whatever is read, so that nothing of it is written.
std::vector<NamedPath> inputs_of(const QuantizeFlags& flags);

}  // namespace onnxtool
