// One node on every device against the host's kernel.
#pragma once

#include <doctest/doctest.h>

#include <optional>
#include <string>
#include <vector>

#include "calib/exec/plan.h"
#include "calib/kernels/cpu/cpu_kernels.h"
#include "libopt/analysis/seam.h"
#include "tests/support/data_set.h"
#include "tests/support/devices.h"

namespace onnxtool::testing {

/// Inputs, the same in every run.
class DeviceDraws {
 public:
  uint32_t next() { return (state_ = state_ * 1664525u + 1013904223u) >> 8; }
  Tensor floats(std::vector<int64_t> dims) {
    std::vector<float> v(static_cast<size_t>(count(dims)));
    for (float& x : v) x = static_cast<float>(next()) / 8388608.0f - 1.0f;
    return Tensor::from<float>(std::move(dims), v);
  }
  Tensor codes(DataType type, std::vector<int64_t> dims) {
    std::vector<std::byte> v(static_cast<size_t>(count(dims)));
    for (std::byte& x : v) x = static_cast<std::byte>(next());
    return Tensor::from_bytes(type, std::move(dims), v);
  }
  Tensor bytes(std::vector<int64_t> dims) {
    std::vector<uint8_t> v(static_cast<size_t>(count(dims)));
    for (uint8_t& x : v) x = static_cast<uint8_t>(next());
    return Tensor::from<uint8_t>(std::move(dims), v);
  }
  template <class T>
  Tensor below(T end, std::vector<int64_t> dims) {
    std::vector<T> v(static_cast<size_t>(count(dims)));
    for (T& x : v) x = static_cast<T>(next() % static_cast<uint32_t>(end));
    return Tensor::from<T>(std::move(dims), v);
  }

 private:
  static int64_t count(const std::vector<int64_t>& dims) {
    int64_t n = 1;
    for (const int64_t d : dims) n *= d;
    return n;
  }
  uint32_t state_ = 11;
};

/// `node`, an operator with its domain and attributes, over inputs i0, i1, ... on each device as a
/// plan of one step, whose outputs are the host's within `tolerance`. Inputs that are not given are
/// absent.
inline void check_on_devices(const std::string& node,
                             const std::vector<std::optional<Tensor>>& given, int outputs,
                             double tolerance) {
  std::string inputs, arguments, results;
  std::vector<Tensor> tensors;
  for (size_t i = 0; i < given.size(); ++i) {
    if (i) arguments += ", ";
    if (!given[i]) continue;
    const std::string name = "i" + std::to_string(i);
    std::string dims;
    for (const int64_t d : given[i]->dims()) dims += (dims.empty() ? "" : ",") + std::to_string(d);
    inputs += (inputs.empty() ? "" : ", ") + std::string(onnxtool::name(given[i]->dtype())) + "[" +
              dims + "] " + name;
    arguments += name;
    tensors.push_back(*given[i]);
  }
  for (int i = 0; i < outputs; ++i) results += (i ? ", y" : "y") + std::to_string(i);
  auto model =
      parse_text(R"(<ir_version: 11, opset_import: ["" : 24, "com.microsoft" : 1]> g ()" + inputs +
                 ") => (" + results + ") { " + results + " = " + node + " (" + arguments + ") }");
  REQUIRE_MESSAGE(model.ok(), (model.ok() ? "" : model.error().message));
  REQUIRE(infer_graph((*model)->graph()).ok());
  const auto run = [&](std::vector<const KernelSet*> sets, std::string* kernels) {
    PlanOptions options;
    options.kernel_sets = std::move(sets);
    const auto plan = Plan::compile((*model)->graph(), options);
    REQUIRE_MESSAGE(plan.ok(), (plan.ok() ? "" : plan.error().message));
    *kernels = (*plan)->describe_kernels();
    std::vector<Tensor> found;
    const Status s = RunContext(*plan).run(tensors, &found);
    REQUIRE_MESSAGE(s.ok(), (s.ok() ? "" : s.error().message));
    return found;
  };
  std::string kernels;
  const std::vector<Tensor> expected = run({&cpu_kernel_set()}, &kernels);
  for (const KernelSet* device : devices()) {
    const std::vector<Tensor> found = run({device, &cpu_kernel_set()}, &kernels);
    CHECK_MESSAGE(kernels.starts_with("cuda: 1 step;"), kernels);
    for (size_t i = 0; i < expected.size(); ++i) {
      const Status s = compare_tensors(expected[i], found[i], {tolerance, tolerance});
      CHECK_MESSAGE(s.ok(), device->isa << ": " << node << ", output " << i << ": "
                                        << (s.ok() ? "" : s.error().message));
    }
  }
}

}  // namespace onnxtool::testing
