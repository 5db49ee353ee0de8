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
/// output differs and where; kUnsupported where an operator has no kernel. `max_ulp` is raised to
/// the largest ulp_distance() of an output that was compared.
Status run_data_sets(const std::filesystem::path& directory,
                     const std::vector<const KernelSet*>& sets, Tolerance tolerance,
                     int threads = 1, std::filesystem::path model = {}, double* max_ulp = nullptr);

/// A model whose inputs are not stored: each is 0, 1/n, 2/n, ... over its n elements; the expected
/// output I is MODEL_output_I.pb beside it.
Status run_light_model(const std::filesystem::path& model,
                       const std::vector<const KernelSet*>& sets, Tolerance tolerance,
                       double* max_ulp = nullptr);

/// The tolerance for a model of ../shared/data/models, whose outputs another runtime computed.
Tolerance tolerance_of_model(const std::string& name);

/// The largest difference in units in the last place of the expected element, or of 1e-4 where that
/// is larger (below, absolute tolerances rule). 0 for what is not float.
double ulp_distance(const Tensor& expected, const Tensor& actual);

/// Equal, or within the tolerance element by element; NaN equals NaN.
Status compare_tensors(const Tensor& expected, const Tensor& actual, Tolerance tolerance);

/// As compare_tensors, for containers element by element.
Status compare_data(const Datum& expected, const Datum& actual, Tolerance tolerance);

/// input_I.pb for each of the graph's inputs without an initializer.
Result<std::vector<Datum>> load_data(const std::filesystem::path& data_set, const Model& model);
/// The same where all inputs are tensors.
Result<std::vector<Tensor>> load_inputs(const std::filesystem::path& data_set, const Model& model);

}  // namespace onnxtool::testing
