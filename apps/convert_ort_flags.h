// What the command line of convert-ort says.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "apps/convert_ort_files.h"
#include "apps/mobile_report.h"
#include "apps/model_flags.h"

namespace onnxtool {

struct ConvertOrtOptions {
  OrtJobOptions files;
  bool no_clobber = false;
  std::string to = "ort", level = "basic", arch = "arm", verify = "off";
  std::string runtime, custom_operators;
  bool allow_failures = false;
  bool ops_config = false, type_reduction = false;
  MobileFlags mobile;
  std::string settings_file;  // empty: none
  CommonFlags common;
};

void add_convert_ort_flags(CLI::App& command, ConvertOrtOptions& options);

/// Flags of what only a .ort file can have are errors where --to is onnx, and --arch below level
/// all.
Status check_flags_of_ort(const ConvertOrtOptions& options);

}  // namespace onnxtool
