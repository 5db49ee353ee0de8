// Which files `convert-ort` reads, and what it calls those that it writes: as onnxruntime's
// converter does.
#pragma once

#include <string>
#include <vector>

#include "libopt/ort/operators.h"
#include "libopt/support/status.h"

namespace onnxtool {

/// One input and what becomes of it.
struct OrtJob {
  std::string input;
  struct Output {
    std::string path;
    bool with_fusions = false;  // style runtime
  };
  std::vector<Output> outputs;
};

struct OrtJobOptions {
  std::string model;            // a file, a directory that is walked, or -
  std::string output;           // -o; empty: beside each input
  std::string style = "fixed";  // fixed, runtime or both
  bool to_onnx = false;
  bool force = false;
};

/// In the order of their paths. A directory without models is an error, and so are derived names of
/// files that exist, without `force`.
Result<std::vector<OrtJob>> plan_ort_jobs(const OrtJobOptions& options);

/// Where the operator config of the jobs goes, by the name that onnxruntime's converter gives:
/// beside the one file, or into the directory. A file that is there is an error without `force`.
Result<std::string> ort_config_path(const OrtJobOptions& options, const std::vector<OrtJob>& jobs,
                                    bool with_types);

/// A file of [[operator]] entries with domain, name and, unless it is 1, since_version.
Result<std::vector<OrtCustomOperator>> read_custom_operators(const std::string& path);

}  // namespace onnxtool
