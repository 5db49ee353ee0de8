#include "tests/support/data_set.h"

#include <algorithm>
#include <cmath>
#include <iostream>

#include "calib/exec/plan.h"
#include "libopt/analysis/seam.h"
#include "libopt/io/decode.h"
#include "libopt/io/load.h"

namespace onnxtool::testing {
namespace fs = std::filesystem;

fs::path shared_data(const std::string& what) {
  const fs::path path = fs::path(ONNXTOOL_SOURCE_DIR) / ".." / "shared" / "data" / what;
  if (fs::exists(path)) return path;
  std::cout << "SKIP: ../shared/data/" << what << " is not there\n";
  return {};
}

Status compare_tensors(const Tensor& expected, const Tensor& actual, Tolerance tolerance) {
  if (expected.dtype() != actual.dtype() || expected.dims() != actual.dims())
    return Error{ErrorCode::kMismatch, "is " + std::string(name(actual.dtype())) + format_dims(actual.dims()) + ", expected " +
                                           std::string(name(expected.dtype())) + format_dims(expected.dims()), {}};
  if (expected.dtype() == DataType::kString)
    return expected.strings() == actual.strings() ? Status() : Error{ErrorCode::kMismatch, "strings differ", {}};
  if (!is_float(expected.dtype()) && bits_of(expected.dtype()) == 64) {
    if (expected.to_ints() == actual.to_ints()) return {};
    return Error{ErrorCode::kMismatch, "integers differ", {}};
  }
  const auto e = expected.to_doubles(), a = actual.to_doubles();
  for (size_t i = 0; i < e.size(); ++i) {
    if (std::isnan(e[i]) && std::isnan(a[i])) continue;
    if (e[i] == a[i]) continue;
    // Negated, so that a NaN on one side fails.
    if (!(std::abs(e[i] - a[i]) <= tolerance.absolute + tolerance.relative * std::abs(e[i])))
      return Error{ErrorCode::kMismatch, "element " + std::to_string(i) + " is " + std::to_string(a[i]) + ", expected " + std::to_string(e[i]), {}};
  }
  return {};
}

namespace {

Result<Tensor> load_tensor(const fs::path& file) {
  ONNXTOOL_ASSIGN(std::shared_ptr<const MappedFile> mapped, MappedFile::open(file.string()));
  ONNXTOOL_ASSIGN(NamedTensor t, decode_tensor({mapped->bytes(), mapped, nullptr}));
  return t.tensor;
}

}  // namespace

Result<std::vector<Tensor>> load_inputs(const fs::path& data_set, const Model& model) {
  std::vector<Tensor> inputs;
  for (const Value* v : model.graph().inputs()) {
    if (v->initializer()) continue;
    ONNXTOOL_ASSIGN(Tensor t, load_tensor(data_set / ("input_" + std::to_string(inputs.size()) + ".pb")));
    inputs.push_back(std::move(t));
  }
  return inputs;
}

Status run_data_sets(const fs::path& directory, const std::vector<const KernelSet*>& sets, Tolerance tolerance, int threads, fs::path model_path) {
  if (model_path.empty()) model_path = directory / "model.onnx";
  ONNXTOOL_ASSIGN(std::unique_ptr<Model> model, load_model(model_path.string()));
  ONNXTOOL_TRY(infer_graph(model->graph()));
  for (const auto* list : {&model->graph().inputs(), &model->graph().outputs()})
    for (const Value* v : *list)
      if (v->type().kind != ValueType::Kind::kTensor) return Error{ErrorCode::kUnsupported, "'" + v->name() + "' is a " + format_type(v->type()), {}};
  PlanOptions options;
  options.kernel_sets = sets;
  options.threads = threads;
  ONNXTOOL_ASSIGN(auto plan, Plan::compile(model->graph(), options));
  RunContext context(plan);
  int compared = 0;
  for (int k = 0;; ++k) {
    const fs::path set = directory / ("test_data_set_" + std::to_string(k));
    if (!fs::exists(set)) break;
    ONNXTOOL_ASSIGN(const std::vector<Tensor> inputs, load_inputs(set, *model));
    std::vector<Tensor> outputs;
    ONNXTOOL_TRY(context.run(inputs, &outputs));
    for (size_t i = 0; i < outputs.size(); ++i) {
      const fs::path file = set / ("output_" + std::to_string(i) + ".pb");
      if (!fs::exists(file)) continue;
      ONNXTOOL_ASSIGN(Tensor expected, load_tensor(file));
      if (Status s = compare_tensors(expected, outputs[i], tolerance); !s.ok())
        return std::move(s).error().at("data set " + std::to_string(k) + ", output '" + plan->output_names()[i] + "'");
      ++compared;
    }
  }
  if (!compared) return Error{ErrorCode::kBadData, directory.string() + ": nothing to compare", {}};
  return {};
}

}  // namespace onnxtool::testing
