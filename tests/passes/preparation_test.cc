// The preparation pipeline on real models: the same results, the same face, nothing left to do.

#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "calib/exec/folder.h"
#include "calib/kernels/cpu/cpu_kernels.h"
#include "libopt/analysis/seam.h"
#include "libopt/io/encode.h"
#include "libopt/io/load.h"
#include "libopt/rewrite/driver.h"
#include "passes/pass.h"
#include "tests/libopt/invariants.h"
#include "tests/support/data_set.h"

namespace onnxtool {
namespace {

namespace fs = std::filesystem;

std::string why(const Status& s) { return s.ok() ? "ok" : s.error().message; }

struct Face {
  std::string name, type;
  bool operator==(const Face&) const = default;
};
std::vector<Face> faces(const std::vector<Value*>& values) {
  std::vector<Face> out;
  for (const Value* v : values) out.push_back({v->name(), format_type(v->type())});
  return out;
}

// Small enough for tests, and together they fire every pass of the pipeline.
struct Expectation {
  const char* model;
  size_t max_nodes;  // after preparation
};
constexpr Expectation kModels[] = {
    {"mnist_rten_op18", 11},   {"fsanet_1x1", 274},
    {"ppocr_cls", 131},        {"openseeface_landmarks_ortopt", 183},
    {"nested_loops_30", 3},    {"ultraface_rfb320", 163},
    {"t5_random_encoder", 74},
};

TEST_CASE("prepared real models give the results that they gave") {
  const fs::path models = testing::shared_data("models");
  if (models.empty()) return;
  const auto folder = make_folder();
  for (const Expectation& e : kModels) {
    INFO(std::string(e.model));
    auto model = load_model((models / e.model / "model.onnx").string());
    REQUIRE(model.ok());
    Model& m = **model;
    CHECK(why(infer_graph(m.graph())) == "ok");
    const auto inputs = faces(m.graph().inputs()), outputs = faces(m.graph().outputs());
    PassContext context;
    context.folder = folder.get();
    run_passes(m, preparation_pipeline(), context);
    CHECK(m.graph().num_nodes() <= e.max_nodes);
    CHECK(faces(m.graph().inputs()) == inputs);
    CHECK(faces(m.graph().outputs()) == outputs);
    testing::check_invariants(m.graph());
    CHECK(why(infer_graph(m.graph())) == "ok");
    for (const Node& n : m.graph().nodes()) CHECK(why(check_node(n)) == "ok");
    const std::string once = encode_model(m).flatten();
    for (const PassReport& r : run_passes(m, preparation_pipeline(), context))
      CHECK_MESSAGE(r.fired == 0, std::string(r.pass));
    CHECK((encode_model(m).flatten() == once));
    const fs::path file =
        fs::temp_directory_path() / ("onnxtool-prepared-" + std::to_string(::getpid()) + ".onnx");
    std::ofstream(file, std::ios::binary) << once;
    // Folded scales move roundings: 1e-5 of outputs around 1, heat maps of openseeface among them.
    CHECK(why(testing::run_data_sets(models / e.model, {&cpu_kernel_set()},
                                     {.relative = 1e-3, .absolute = 1e-5}, 1, file)) == "ok");
    fs::remove(file);
  }
}

}  // namespace
}  // namespace onnxtool
