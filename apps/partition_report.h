// What one execution provider would take of a model, and what is copied at the borders: `inspect
// --provider`.
#pragma once

#include <string>

#include "apps/report/report.h"
#include "libopt/ir/model.h"
#include "libopt/target/runtime.h"

namespace onnxtool {

/// "cuda|dml|nnapi|...", for a flag.
std::string partition_providers();

/// `runtime` decides which kernels cuda and dml have. The model is one whose functions need no
/// expanding; what it calls is left to the CPU.
Section partition_section(const Model& model, const std::string& provider,
                          const RuntimeRelease& runtime, size_t shown_rows);

}  // namespace onnxtool
