// `optimize --repro DIR`: what a pass broke, alone.
#pragma once

#include <string>

#include "apps/report/report.h"
#include "libopt/rewrite/driver.h"

namespace onnxtool {

struct ReproductionOptions {
  std::string directory;
  bool replace = false;  // whatever stands there
  int threads = 1;
};

/// For a run with a breach. Writes
///   original.onnx, rewritten.onnx  the nodes that the pass changed, before and after
///   test_data_set_0                inputs, and what original.onnx gives
///   found                          what rewritten.onnx gives
///   README.txt                     what this is, and the command that shows it again
/// and says so in a section. Where the model differed before the first rewrite, there is no pair to
/// write, which the section says.
Result<Section> write_reproduction(const VerifiedRun& run, const PassContext& context,
                                   const ReproductionOptions& options);

}  // namespace onnxtool
