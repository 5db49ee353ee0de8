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

/// Of one run, as far as extents are known; subgraphs are not in it.
struct GraphCost {
  int64_t macs = 0, peak_bytes = 0;
  int64_t unknown = 0;  // nodes and values whose share is not known
};
GraphCost graph_cost(const Graph& graph);

struct OptimizeBefore {
  Census census;
  int64_t bytes = 0;
  int64_t opset = 0, ir_version = 0;
  GraphCost cost;
};

/// `saved` is nullptr where nothing was written.
Section model_section(const std::string& input, const OptimizeBefore& before, const Model& after,
                      const SavedFiles* saved, const std::string& output);
Section passes_section(const std::vector<PassReport>& reports, const std::vector<Breach>& dropped);
/// Why nothing was written.
Finding breach_finding(const Breach& breach, const std::string& model);
Finding unverified_finding(int64_t nodes, const std::string& model);
Section timing_by_pass(const Progress& progress, const std::vector<PassReport>& passes);

}  // namespace onnxtool
