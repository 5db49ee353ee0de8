// What `onnxtool optimize` says of its work: the model before and after, and the passes that fired.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "apps/progress.h"
#include "apps/report/report.h"
#include "libopt/analysis/census.h"
#include "libopt/io/save.h"
#include "libopt/ir/model.h"
#include "libopt/rewrite/driver.h"

namespace onnxtool {

struct OptimizeBefore {
  Census census;
  int64_t bytes = 0;
  int64_t opset = 0, ir_version = 0;
};

/// `saved` is nullptr where nothing was written.
Section model_section(const std::string& input, const OptimizeBefore& before, const Model& after,
                      const SavedFiles* saved, const std::string& output);
Section passes_section(const std::vector<PassReport>& reports, const std::vector<Breach>& dropped);
Section timing_by_pass(const Progress& progress, const std::vector<PassReport>& passes);

}  // namespace onnxtool
