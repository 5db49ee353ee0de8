// Real models with expected outputs, and onnx's node tests, through the executor.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <map>

#include "calib/kernels/cpu/cpu_kernels.h"
#include "tests/support/data_set.h"

namespace onnxtool::testing {
namespace fs = std::filesystem;
namespace {

std::vector<fs::path> directories(const fs::path& root) {
  std::vector<fs::path> out;
  for (const auto& e : fs::directory_iterator(root))
    if (fs::exists(e.path() / "model.onnx")) out.push_back(e.path());
  std::sort(out.begin(), out.end());
  return out;
}

// onnx's own tolerance, but where the expected values themselves are the reason for another.
Tolerance node_tolerance(const std::string& name) {
  // What Bernoulli draws is random: of its results only type and shape can be judged.
  if (name.starts_with("test_bernoulli")) return {0, 1};
  // Holds noise of up to 2e-7 (a transform in single precision) where the exact value is 0.
  if (name.starts_with("test_dft_inverse")) return {1e-3, 1e-6};
  return {};
}

}  // namespace

TEST_CASE("float models of the shared set give their expected outputs") {
  const fs::path root = shared_data("models");
  if (root.empty()) return;
  for (const fs::path& directory : directories(root)) {
    if (!fs::exists(directory / "test_data_set_0")) continue;
    const std::string name = directory.filename().string();
    const Status s = run_data_sets(directory, {&cpu_kernel_set()}, tolerance_of_model(name));
    CHECK_MESSAGE(s.ok(), name << ": " << (s.ok() ? "" : s.error().message));
  }
}

TEST_CASE("onnx's node tests pass for every operator with a kernel") {
  // The onnx wheel carries them; scripts/test.sh sets this where it could install the wheel.
  const char* root = std::getenv("ONNXTOOL_NODE_TESTS");
  if (!root) {
    std::cout << "SKIP: ONNXTOOL_NODE_TESTS names no directory of onnx's node tests\n";
    return;
  }
  const char* only = std::getenv("ONNXTOOL_NODE_FILTER");
  int passed = 0, unsupported = 0;
  for (const fs::path& directory : directories(root)) {
    const std::string name = directory.filename().string();
    if (only && name.find(only) == std::string::npos) continue;
    const Status s = run_data_sets(directory, {&cpu_kernel_set()}, node_tolerance(name));
    if (s.ok())
      ++passed;
    else if (s.error().code == ErrorCode::kUnsupported)
      ++unsupported;
    if (only && !s.ok()) std::cout << name << ": " << s.error().message << "\n";
    CHECK_MESSAGE((s.ok() || s.error().code == ErrorCode::kUnsupported),
                  name << ": " << (s.ok() ? "" : s.error().message));
  }
  std::cout << "node tests: " << passed << " passed, " << unsupported << " without a kernel\n";
  CHECK(passed > 0);
}

}  // namespace onnxtool::testing
