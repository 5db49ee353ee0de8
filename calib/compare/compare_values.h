// Outputs of any kind compared: tensors, and the containers that ONNX knows.
#pragma once

#include <string>

#include "calib/compare/metrics.h"
#include "libopt/ir/datum.h"

namespace onnxtool {

/// compare_sample() over all tensors of the output `name`, as if they stood one behind the other; a
/// map is a row of its values, by ascending keys. Both must be of one kind, with the same lengths
/// and keys; else kMismatch names the place. The relative error takes its floor from each tensor.
Result<SampleMetrics> compare_values(const std::string& name, const Datum& reference,
                                     const Datum& test, const MetricOptions& options);

}  // namespace onnxtool
