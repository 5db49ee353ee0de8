// Running a model of the ONNX backend tests' layout: model.onnx and test_data_set_N/*.pb.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "calib/exec/kernel.h"
#include "libopt/ir/datum.h"
#include "libopt/ir/model.h"
#include "libopt/support/status.h"

namespace onnxtool::testing {

struct Tolerance {
  double relative = 1e-3;  // onnx's own backend runner: rtol 1e-3, atol 1e-7
  double absolute = 1e-7;
};

/// The checkout's ../shared, or an empty path after printing `SKIP: ...`.
std::filesystem::path shared_data(const std::string& what);

/// Runs every data set of `directory` (model.onnx unless given) and compares. The error says which
/// output differs and where; kUnsupported where an operator has no kernel.
Status run_data_sets(const std::filesystem::path& directory, const std::vector<const KernelSet*>& sets, Tolerance tolerance,
                     int threads = 1, std::filesystem::path model = {});

/// Equal, or within the tolerance element by element; NaN equals NaN.
Status compare_tensors(const Tensor& expected, const Tensor& actual, Tolerance tolerance);

/// As compare_tensors, for containers element by element.
Status compare_data(const Datum& expected, const Datum& actual, Tolerance tolerance);

/// input_I.pb for each of the graph's inputs without an initializer.
Result<std::vector<Datum>> load_data(const std::filesystem::path& data_set, const Model& model);
/// The same where all inputs are tensors.
Result<std::vector<Tensor>> load_inputs(const std::filesystem::path& data_set, const Model& model);

}  // namespace onnxtool::testing
