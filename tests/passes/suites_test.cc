// The cases of other optimizers' own tests that forbid a rewrite by their name: that rewrite never
// fires. Other clean-up may.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "calib/exec/folder.h"
#include "libopt/analysis/seam.h"
#include "libopt/io/load.h"
#include "libopt/rewrite/driver.h"
#include "passes/pass.h"
#include "tests/support/data_set.h"

namespace onnxtool {
namespace {

namespace fs = std::filesystem;

struct Forbidden {
  std::string_view test;                 // folder
  std::vector<std::string_view> passes;  // none: whatever it forbids, there is no such pass
};

// MaxPool, integers that wrap and shared factors are traps without a name that says so.
const std::vector<Forbidden> kForbidden = {
    {"cse__cse_random", {"deduplicate-nodes"}},
    {"fusion__bias_dropout_residual_fusion_mismatch", {}},
    {"fusion__fuse-matmul-bn-only-reshape", {"fold-batch-norm"}},
    {"fusion__fuse-matmul-bn-with-reshape", {"fold-batch-norm"}},
    {"fusion__fuse-pad-avgpool_with_pad-nofuse", {"fold-pad"}},
    {"fusion__fuse-pad-maxpool", {"fold-pad"}},
    {"fusion__gemm_sum_no_fusion_broadcast_failure", {"fuse-matmul-add"}},
    {"fusion__gemm_sum_no_fusion_original_gemm_output_used", {"fuse-matmul-add"}},
    {"fusion__matmul_scale_int32", {"fuse-scaled-matmul"}},
    {"fusion__matmul_scale_unfusable_scale_broadcasting_changes_shape", {"fuse-scaled-matmul"}},
    {"fusion__matmul_scale_unfusable_scale_not_scalar", {"fuse-scaled-matmul"}},
    {"fusion__negative-fuse-conv-add-no-bias", {"fold-add-into-conv"}},
    {"fusion__reshape_fusion_overridable_initializer", {"fold-constants"}},
    {"fusion__skip_layer_norm_format3_no_fusion_with_cast", {"fuse-skip-layer-norm"}},
    {"fusion__transpose_matmul_4d_fusion_invalid_datatype_int64", {"fuse-scaled-matmul"}},
    {"fusion__transpose_matmul_4d_fusion_invalid_perm", {"fuse-scaled-matmul"}},
    {"fusion__transpose_matmul_trans_batch_fusion_invalid_case1", {"fuse-scaled-matmul"}},
    {"fusion__transpose_matmul_trans_batch_fusion_invalid_case3", {"fuse-scaled-matmul"}},
    {"scalar_const_not_share", {"deduplicate-initializers"}},
    {"transpose_to_reshape_invalid", {"fuse-reshapes"}},
};

bool forbids_by_name(const std::string& test) {
  for (const char* part : {"no_fusion", "nofuse", "invalid_", "_invalid", "dont-fuse", "dont_fuse",
                           "unfusable", "negative-", "not_share", "mismatch"})
    if (test.find(part) != std::string::npos) return true;
  return false;
}

std::set<std::string_view> fired_in(const fs::path& file, Level level) {
  auto model = load_model(file.string());
  REQUIRE_MESSAGE(model.ok(), file.string());
  REQUIRE(infer_graph((*model)->graph()).ok());
  const auto folder = make_folder();
  PassContext context;
  context.folder = folder.get();
  context.ort_cpu = level != Level::kBasic;
  std::set<std::string_view> fired;
  for (const PassReport& p : run_passes(**model, optimization_pipeline(level), context))
    if (p.fired) fired.insert(p.pass);
  return fired;
}

}  // namespace

TEST_CASE("what other optimizers' tests forbid by name is not done") {
  const fs::path shared = testing::shared_data("suites");
  if (shared.empty()) return;
  for (const Forbidden& f : kForbidden) {
    INFO(f.test);
    const fs::path file = shared / "ort-transform" / f.test / "model.onnx";
    REQUIRE(fs::exists(file));
    for (const Level level : {Level::kBasic, Level::kAll}) {
      const auto fired = fired_in(file, level);
      for (const std::string_view pass : f.passes) {
        CHECK(find_pass(pass));
        CHECK_MESSAGE(!fired.contains(pass), pass);
      }
    }
  }
}

TEST_CASE("every case of other optimizers' tests that forbids something is in the table") {
  const fs::path shared = testing::shared_data("suites");
  if (shared.empty()) return;
  for (const auto& entry : fs::directory_iterator(shared / "ort-transform")) {
    const std::string test = entry.path().filename().string();
    if (entry.is_directory() && forbids_by_name(test))
      CHECK_MESSAGE(std::ranges::find(kForbidden, test, &Forbidden::test) != kForbidden.end(),
                    test);
  }
}

}  // namespace onnxtool
