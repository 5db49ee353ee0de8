#include "tests/support/data_set.h"

#include <algorithm>
#include <cmath>
#include <iostream>
#include <map>

#include "calib/exec/plan.h"
#include "libopt/analysis/seam.h"
#include "libopt/io/decode_datum.h"
#include "libopt/io/load.h"
#include "libopt/support/checked.h"

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
    return Error{ErrorCode::kMismatch,
                 "is " + std::string(name(actual.dtype())) + format_dims(actual.dims()) +
                     ", expected " + std::string(name(expected.dtype())) +
                     format_dims(expected.dims()),
                 {}};
  if (expected.dtype() == DataType::kString)
    return expected.strings() == actual.strings()
               ? Status()
               : Error{ErrorCode::kMismatch, "strings differ", {}};
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
      return Error{ErrorCode::kMismatch,
                   "element " + std::to_string(i) + " is " + std::to_string(a[i]) + ", expected " +
                       std::to_string(e[i]),
                   {}};
  }
  return {};
}

double ulp_distance(const Tensor& expected, const Tensor& actual) {
  if (!is_float(expected.dtype()) || expected.count() != actual.count()) return 0;
  const int mantissa = expected.dtype() == DataType::kDouble    ? 52
                       : expected.dtype() == DataType::kFloat   ? 23
                       : expected.dtype() == DataType::kFloat16 ? 10
                                                                : 7;
  const auto e = expected.to_doubles(), a = actual.to_doubles();
  double max = 0;
  for (size_t i = 0; i < e.size(); ++i) {
    if (!std::isfinite(e[i]) || !std::isfinite(a[i])) continue;
    max = std::max(max, std::abs(e[i] - a[i]) /
                            std::ldexp(1.0, std::ilogb(std::max(std::abs(e[i]), 1e-4)) - mantissa));
  }
  return max;
}

Tolerance tolerance_of_model(const std::string& name) {
  // Where a model needs a looser bound than float32 rounding explains, it says why.
  const std::map<std::string, Tolerance> loose = {
      // Half precision: a few units in the last place of values near 1.
      {"ppocr_cls_fp16", {2e-2, 2e-2}},
      {"squeezenet_fp16", {2e-2, 2e-2}},
      // Takes a variance as the difference of two nearly equal sums, so the order of summation
      // shows.
      {"magika_v3_3", {1e-2, 1e-3}},
      // A tie in QuantizeLinear may fall either way and later layers add to it: up to two steps of
      // the
      // output. onnxruntime's optimized run is as far from its unoptimized one (meta.json).
      {"mobilenet_edgetpu_qdq_part", {0, 0.75}},
      {"mobilenetv2_qat_qdq", {0, 0.16}}};
  const auto it = loose.find(name);
  return it == loose.end() ? Tolerance{1e-3, 1e-4} : it->second;
}

Status compare_data(const Datum& expected, const Datum& actual, Tolerance tolerance) {
  if (expected.kind() != actual.kind())
    return Error{ErrorCode::kMismatch,
                 std::string("is a ") + actual.kind_name() + ", expected a " + expected.kind_name(),
                 {}};
  switch (expected.kind()) {
    case Datum::Kind::kNone: return {};
    case Datum::Kind::kTensor:
      return compare_tensors(expected.tensor(), actual.tensor(), tolerance);
    case Datum::Kind::kMap:
      ONNXTOOL_TRY(compare_tensors(expected.keys(), actual.keys(), tolerance));
      return compare_tensors(expected.values(), actual.values(), tolerance);
    case Datum::Kind::kSequence: break;
  }
  const auto &e = expected.items(), &a = actual.items();
  if (e.size() != a.size())
    return Error{
        ErrorCode::kMismatch,
        "has " + std::to_string(a.size()) + " elements, expected " + std::to_string(e.size()),
        {}};
  for (size_t i = 0; i < e.size(); ++i)
    if (Status s = compare_data(e[i], a[i], tolerance); !s.ok())
      return std::move(s).error().at("element " + std::to_string(i));
  return {};
}

namespace {

Result<Datum> load_datum(const fs::path& file, const ValueType& type) {
  ONNXTOOL_ASSIGN(std::shared_ptr<const MappedFile> mapped, MappedFile::open(file.string()));
  return decode_datum({mapped->bytes(), mapped, nullptr}, type);
}

void raise_ulp(const Datum& expected, const Datum& actual, double& max) {
  if (expected.is_tensor()) max = std::max(max, ulp_distance(expected.tensor(), actual.tensor()));
  if (expected.is_map()) max = std::max(max, ulp_distance(expected.values(), actual.values()));
  if (expected.is_sequence())
    for (size_t i = 0; i < expected.items().size(); ++i)
      raise_ulp(expected.items()[i], actual.items()[i], max);
}

}  // namespace

Result<std::vector<Datum>> load_data(const fs::path& data_set, const Model& model) {
  std::vector<Datum> inputs;
  for (const Value* v : model.graph().inputs()) {
    if (v->initializer()) continue;
    ONNXTOOL_ASSIGN(
        Datum d,
        load_datum(data_set / ("input_" + std::to_string(inputs.size()) + ".pb"), v->type()));
    inputs.push_back(std::move(d));
  }
  return inputs;
}

Result<std::vector<Tensor>> load_inputs(const fs::path& data_set, const Model& model) {
  ONNXTOOL_ASSIGN(const std::vector<Datum> data, load_data(data_set, model));
  std::vector<Tensor> tensors;
  for (const Datum& d : data) {
    if (!d.is_tensor())
      return Error{ErrorCode::kUnsupported, std::string("an input is a ") + d.kind_name(), {}};
    tensors.push_back(d.tensor());
  }
  return tensors;
}

Status run_data_sets(const fs::path& directory, const std::vector<const KernelSet*>& sets,
                     Tolerance tolerance, int threads, fs::path model_path, double* max_ulp) {
  if (model_path.empty()) model_path = directory / "model.onnx";
  ONNXTOOL_ASSIGN(std::unique_ptr<Model> model, load_model(model_path.string()));
  ONNXTOOL_TRY(infer_graph(model->graph()));
  PlanOptions options;
  options.kernel_sets = sets;
  options.threads = threads;
  ONNXTOOL_ASSIGN(auto plan, Plan::compile(model->graph(), options));
  RunContext context(plan);
  int compared = 0;
  for (int k = 0;; ++k) {
    const fs::path set = directory / ("test_data_set_" + std::to_string(k));
    if (!fs::exists(set)) break;
    ONNXTOOL_ASSIGN(const std::vector<Datum> inputs, load_data(set, *model));
    std::vector<Datum> outputs;
    ONNXTOOL_TRY(context.run_data(inputs, &outputs));
    for (size_t i = 0; i < outputs.size(); ++i) {
      const fs::path file = set / ("output_" + std::to_string(i) + ".pb");
      if (!fs::exists(file)) continue;
      ONNXTOOL_ASSIGN(Datum expected, load_datum(file, model->graph().outputs()[i]->type()));
      if (Status s = compare_data(expected, outputs[i], tolerance); !s.ok())
        return std::move(s).error().at("data set " + std::to_string(k) + ", output '" +
                                       plan->output_names()[i] + "'");
      if (max_ulp) raise_ulp(expected, outputs[i], *max_ulp);
      ++compared;
    }
  }
  if (!compared) return Error{ErrorCode::kBadData, directory.string() + ": nothing to compare", {}};
  return {};
}

Status run_light_model(const fs::path& path, const std::vector<const KernelSet*>& sets,
                       Tolerance tolerance, double* max_ulp) {
  ONNXTOOL_ASSIGN(std::unique_ptr<Model> model, load_model(path.string()));
  ONNXTOOL_TRY(infer_graph(model->graph()));
  PlanOptions options;
  options.kernel_sets = sets;
  ONNXTOOL_ASSIGN(auto plan, Plan::compile(model->graph(), options));
  std::vector<Tensor> inputs, outputs;
  for (const Value* v : model->graph().inputs()) {
    if (v->initializer()) continue;
    const auto dims = v->type().static_dims();
    if (!dims)
      return Error{
          ErrorCode::kUnsupported, "input '" + v->name() + "' is a " + format_type(v->type()), {}};
    const auto count = static_cast<size_t>(checked_product(*dims).value_or(0));
    std::vector<float> values(count);
    for (size_t i = 0; i < count; ++i)
      values[i] = static_cast<float>(static_cast<double>(i) / static_cast<double>(count));
    inputs.push_back(Tensor::from<float>(*dims, values));
  }
  RunContext context(plan);
  ONNXTOOL_TRY(context.run(inputs, &outputs));
  for (size_t i = 0; i < outputs.size(); ++i) {
    const fs::path file =
        path.parent_path() / (path.stem().string() + "_output_" + std::to_string(i) + ".pb");
    ONNXTOOL_ASSIGN(const Datum expected, load_datum(file, {}));
    ONNXTOOL_TRY(compare_tensors(expected.tensor(), outputs[i], tolerance));
    if (max_ulp) *max_ulp = std::max(*max_ulp, ulp_distance(expected.tensor(), outputs[i]));
  }
  return {};
}

}  // namespace onnxtool::testing
