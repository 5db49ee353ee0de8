// Runs onnx's own test cases, and others of the same layout, through the executor. Writes a table
// by operator and prints `N passed, N failed, N skipped`. scripts/conformance.sh calls it.
//
//   onnxtool_conformance ONNX_DATA SHARED_DATA TABLE [DEVICE]
//
// ONNX_DATA is onnx/backend/test/data, SHARED_DATA a directory with models/ and suites/ (it need
// not exist), TABLE the Markdown file to write, DEVICE as --device takes it.

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <map>
#include <set>
#include <string_view>
#include <vector>

#include "calib/exec/modules.h"
#include "libopt/io/load.h"
#include "libopt/ir/operator_name.h"
#include "tests/support/data_set.h"

namespace onnxtool::testing {
namespace fs = std::filesystem;
namespace {

struct Case {
  std::string suite;
  std::string op;  // of onnx's node tests; empty elsewhere
  std::string name;
  fs::path directory;
  fs::path model;  // of a case without data sets: its inputs are made, its output lies beside it
  Tolerance tolerance;
};

struct Row {
  int passed = 0, failed = 0;
  double max_ulp = 0;
};

std::vector<fs::path> entries(const fs::path& directory) {
  std::vector<fs::path> out;
  std::error_code ignored;
  for (const auto& e : fs::directory_iterator(directory, ignored)) out.push_back(e.path());
  std::sort(out.begin(), out.end());
  return out;
}

// The operator that a node test is about. An expanded one is about the function that it expands.
std::string operator_of(const fs::path& directory) {
  fs::path about = directory;
  if (const size_t at = directory.filename().string().find("_expanded"); at != std::string::npos) {
    const fs::path whole = directory.parent_path() / directory.filename().string().substr(0, at);
    if (fs::exists(whole)) about = whole;
  }
  const auto model = load_model((about / "model.onnx").string());
  if (!model.ok()) return "unreadable";
  std::set<std::string> ops;
  for (const Node& n : (*model)->graph().nodes())
    if (!n.is("Constant"))
      ops.insert(operator_name(n));
  return ops.size() == 1 ? *ops.begin() : "several operators";
}

bool has_outputs(const fs::path& directory) {
  for (const fs::path& e : entries(directory / "test_data_set_0"))
    if (e.filename().string().starts_with("output_")) return true;
  return false;
}

std::vector<Case> cases_of_onnx(const fs::path& data) {
  std::vector<Case> cases;
  for (const fs::path& d : entries(data / "node"))
    if (fs::exists(d / "model.onnx"))
      cases.push_back({"node", operator_of(d), d.filename().string(), d, {}, {}});
  for (const char* suite : {"simple", "pytorch-converted", "pytorch-operator"})
    for (const fs::path& d : entries(data / suite))
      if (fs::exists(d / "model.onnx"))
        cases.push_back({suite, "", d.filename().string(), d, {}, {}});
  for (const fs::path& m : entries(data / "light"))
    if (m.extension() == ".onnx") cases.push_back({"light", "", m.stem().string(), {}, m, {}});
  return cases;
}

void add_shared_cases(const fs::path& shared, std::vector<Case>& cases) {
  for (const fs::path& d : entries(shared / "models"))
    if (has_outputs(d))
      cases.push_back({"real models",
                       "",
                       d.filename().string(),
                       d,
                       {},
                       tolerance_of_model(d.filename().string())});
  for (const fs::path& suite : entries(shared / "suites"))
    for (const fs::path& d : entries(suite))
      if (has_outputs(d))
        cases.push_back(
            {suite.filename().string(), "", d.filename().string(), d, {}, tolerance_of_model("")});
}

using Sets = std::vector<const KernelSet*>;

Status run_case(const Case& c, const Sets& sets, double& max_ulp) {
  try {
    if (c.model.empty()) return run_data_sets(c.directory, sets, c.tolerance, 1, {}, &max_ulp);
    return run_light_model(c.model, sets, c.tolerance, &max_ulp);
  } catch (const std::exception& e) {
    return Error{ErrorCode::kUnsupported, std::string("exception: ") + e.what(), {}};
  }
}

std::string one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  std::replace(text.begin(), text.end(), '|', '/');
  return text;
}

// Why cases fail that are known to: of those whose name begins so.
struct Reason {
  std::string_view name, why;
};
constexpr Reason kReasons[] = {
    {"test_bernoulli",
     "random: the values come from a generator that the standard leaves open; onnx says that the "
     "case is there for information"},
    {"test_dft_inverse",
     "the expected value is 1.9e-7 where the transform is 0: rounding of numpy's float32 FFT, "
     "beyond the tolerance of 1e-7"},
    {"test_image_decoder", "no decoder for this form: JPEG, PNG and PPM only"},
    {"test_gradient", "training: the operator that differentiates a graph is not claimed"},
    {"dummy_t5", "generation of text (BeamSearch) is not claimed"},
    {"dropout",
     "Dropout-10 that drops nothing: the mask is true for what was kept; ONNX Runtime leaves it "
     "false before opset 12"},
    {"icm-31000000518483", "the model declares shapes that contradict its nodes"},
    {"node_output_not_used", "the model declares shapes that contradict its nodes"},
    {"gh_issue_17392", "the model declares shapes that contradict its nodes"},
    {"fusion__",
     "float16: every result is rounded, as the model says; ONNX Runtime, whose results are "
     "expected, computes in float between Casts"},
};

std::string_view reason_of(std::string_view name) {
  for (const Reason& r : kReasons)
    if (name.starts_with(r.name)) return r.why;
  return "unknown";
}

using Rows = std::map<std::string, Row>;

void write_rows(std::ofstream& out, const char* title, const Rows& rows) {
  out << "\n| " << title << " | Passed | Failed | Largest error (ULP) |\n|---|--:|--:|--:|\n";
  for (const auto& [name, row] : rows) {
    char ulp[32];
    std::snprintf(ulp, sizeof ulp, row.max_ulp < 100 ? "%.1f" : "%.3g", row.max_ulp);
    out << "| " << name << " | " << row.passed << " | " << row.failed << " | " << ulp << " |\n";
  }
}

void write_table(const fs::path& path, const Rows& suites, const Rows& operators,
                 const std::vector<std::pair<std::string, std::string>>& failures,
                 const std::string& summary, const std::string& kernels) {
  std::ofstream out(path);
  out << "# Conformance\n\n"
         "Written by `scripts/conformance.sh`, which runs onnx 1.22's test cases through the "
      << kernels
      << " "
         "kernels, with\n"
         "onnx's own tolerances (relative 1e-3, absolute 1e-7), and other suites of the same "
         "layout where they are\n"
         "present, whose expected values another runtime computed in float (absolute 1e-4, or what "
         "a model's\n"
         "arithmetic allows). A case that cannot run has failed.\n\n"
         "The largest error is in units in the last place of the expected element, or of 1e-4 "
         "where that is larger.\n\n"
      << summary << "\n";
  write_rows(out, "Suite", suites);
  out << "\n## Operators of the suite `node`\n";
  write_rows(out, "Operator", operators);
  if (!failures.empty()) out << "\n## Failures\n\n| Case | Found | Why |\n|---|---|---|\n";
  for (const auto& [name, found] : failures)
    out << "| " << name << " | " << one_line(found) << " | " << reason_of(name) << " |\n";
}

// Operators that the device of `sets` has a kernel for; none without a device.
std::set<std::string> operators_of_device(const Sets& sets) {
  std::set<std::string> ops;
  for (const KernelSet* set : sets)
    if (set->device)
      for (const KernelInfo* k : set->kernels)
        ops.insert(operator_name(k->op, k->domain));
  return ops;
}

int run(const fs::path& onnx_data, const fs::path& shared, const fs::path& table,
        const std::string& device) {
  const auto loaded = load_kernel_sets("cpu", device);
  if (!loaded.ok()) {
    std::cerr << "error: " << loaded.error().message << "\n";
    return 2;
  }
  std::string kernels;
  for (const KernelSet* set : loaded->sets)
    kernels += (kernels.empty() ? "`" : " and `") + std::string(set->name) + "`";
  std::vector<Case> cases = cases_of_onnx(onnx_data);
  if (cases.empty()) {
    std::cerr << "error: " << onnx_data.string() << ": no test cases\n";
    return 2;
  }
  add_shared_cases(shared, cases);
  Rows suites, operators;
  std::vector<std::pair<std::string, std::string>> failures;
  int passed = 0;
  for (const Case& c : cases) {
    double max_ulp = 0;
    const Status s = run_case(c, loaded->sets, max_ulp);
    const auto count = [&](Row& row) {
      ++(s.ok() ? row.passed : row.failed);
      row.max_ulp = std::max(row.max_ulp, max_ulp);
    };
    count(suites[c.suite]);
    if (!c.op.empty()) count(operators[c.op]);
    passed += s.ok();
    if (s.ok()) continue;
    failures.emplace_back(c.name, s.error().message);
    std::cout << c.name << ": " << s.error().message << "\n";
  }
  const std::string summary =
      std::to_string(passed) + " passed, " + std::to_string(failures.size()) + " failed, 0 skipped";
  write_table(table, suites, operators, failures, summary, kernels);
  if (const std::set<std::string> ops = operators_of_device(loaded->sets); !ops.empty()) {
    Row there;
    for (const auto& [op, row] : operators)
      if (ops.contains(op)) there.passed += row.passed, there.failed += row.failed;
    std::cout << "of the suite node, about one of the " << ops.size()
              << " operators with a kernel on the device: " << there.passed << " passed, "
              << there.failed << " failed\n";
  }
  std::cout << summary << "\n";
  return failures.empty() ? 0 : 1;
}

}  // namespace
}  // namespace onnxtool::testing

int main(int argc, char** argv) {
  if (argc != 4 && argc != 5) {
    std::cerr << "usage: onnxtool_conformance ONNX_DATA SHARED_DATA TABLE [DEVICE]\n";
    return 2;
  }
  return onnxtool::testing::run(argv[1], argv[2], argv[3], argc == 5 ? argv[4] : "cpu");
}
