// Runs testdata/passes/*.onnxtxt. A case is a comment line and the text of a model:
//
//   # CASE name    RUN pass [MAX-GROWTH bytes] [ALLOW-OPSET n] [ORT-CPU] [NO-EXECUTION]
//                [EXPECT-UNCHANGED reason]
//   <model>
//   # EXPECT
//   <model>
//   # -----
//
// An unchanged case has no EXPECT part; its reason must be what the pass says of a near miss
// (empty: the pass says nothing). Both sides are run on seeded inputs and compared, unless the
// executor lacks what the case needs (NO-EXECUTION). With ONNXTOOL_UPDATE_FIXTURES set in the
// environment, expectations that do not hold are rewritten with what the pass made: review the
// diff.

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>
#include <sstream>

#include "calib/exec/folder.h"
#include "calib/exec/plan.h"
#include "calib/kernels/cpu/cpu_kernels.h"
#include "libopt/analysis/seam.h"
#include "libopt/analysis/structure.h"
#include "libopt/io/decode.h"
#include "libopt/io/encode.h"
#include "libopt/rewrite/driver.h"
#include "passes/pass.h"

namespace onnxtool {
namespace {

namespace fs = std::filesystem;

struct Case {
  std::string name, pass, reason, before, expected;
  int64_t max_growth = 0;
  int allow_opset = 0;
  bool unchanged = false, executes = true, ort_cpu = false;
  bool asked_for = true;
  size_t chunk = 0;  // of the file, for updates
};

struct Fixture {
  fs::path path;
  std::vector<std::string> chunks;  // between separators, verbatim
  std::vector<Case> cases;
};

const std::string kSeparator = "# -----\n";
const std::string kExpect = "# EXPECT\n";

Case parse_case(const std::string& chunk, size_t index) {
  Case c;
  c.chunk = index;
  std::istringstream lines(chunk);
  std::string line;
  bool expecting = false;
  while (std::getline(lines, line)) {
    if (line.starts_with("# CASE ")) {
      if (const size_t at = line.find("EXPECT-UNCHANGED"); at != std::string::npos) {
        c.unchanged = true;
        c.reason = line.substr(std::min(line.size(), at + std::strlen("EXPECT-UNCHANGED ")));
        line.resize(at);
      }
      std::istringstream words(line.substr(2));
      for (std::string key; words >> key;) {
        if (key == "CASE")
          words >> c.name;
        else if (key == "RUN")
          words >> c.pass;
        else if (key == "MAX-GROWTH")
          words >> c.max_growth;
        else if (key == "ALLOW-OPSET")
          words >> c.allow_opset;
        else if (key == "ORT-CPU")
          c.ort_cpu = true;
        else if (key == "BY-DEFAULT")
          c.asked_for = false;
        else if (key == "NO-EXECUTION")
          c.executes = false;
        else
          FAIL_CHECK("unknown directive " << key);
      }
    } else if (line + "\n" == kExpect) {
      expecting = true;
    } else if (!line.starts_with("#")) {
      (expecting ? c.expected : c.before) += line + "\n";
    }
  }
  return c;
}

std::vector<Fixture> fixtures() {
  std::vector<Fixture> out;
  for (const auto& entry :
       fs::directory_iterator(fs::path(ONNXTOOL_SOURCE_DIR) / "testdata/passes"))
    if (entry.path().extension() == ".onnxtxt") out.push_back({entry.path(), {}, {}});
  std::ranges::sort(out, {}, &Fixture::path);
  for (Fixture& f : out) {
    std::ifstream file(f.path, std::ios::binary);
    std::string text((std::istreambuf_iterator<char>(file)), {});
    for (size_t start = 0; start < text.size();) {
      const size_t end = std::min(text.find(kSeparator, start), text.size());
      f.chunks.push_back(text.substr(start, end - start));
      f.cases.push_back(parse_case(f.chunks.back(), f.chunks.size() - 1));
      start = end + kSeparator.size();
    }
  }
  return out;
}

template <class StatusOrResult>
std::string why(const StatusOrResult& r) {
  return r.ok() ? "ok" : r.error().message;
}

// Operators that onnxruntime has in the standard's domain, in any opset: no schema describes them.
bool is_onnxruntimes(const Node& n) {
  return n.is("LayerNormalization") || n.is("SimplifiedLayerNormalization");
}

// nullptr after a failed check: one broken case must not hide those behind it.
std::unique_ptr<Model> parse_and_check(const std::string& text) {
  auto model = parse_text(text);
  CHECK_MESSAGE(model.ok(), why(model), "\n", text);
  if (!model.ok()) return nullptr;
  CHECK(why(infer_graph((*model)->graph())) == "ok");
  for (const Node& n : (*model)->graph().nodes())
    if (!is_onnxruntimes(n)) CHECK(why(check_node(n)) == "ok");
  return *std::move(model);
}

// As the model would come out of a file: what names alone can break breaks here.
std::unique_ptr<Model> reread(const Model& model) {
  struct Text final : Storage {
    std::string bytes;
  };
  auto text = std::make_shared<Text>();
  text->bytes = encode_model(model).flatten();
  auto read = decode_model({std::as_bytes(std::span(text->bytes)), text, nullptr});
  CHECK(why(read) == "ok");
  return read.ok() ? *std::move(read) : nullptr;
}

Tensor seeded_input(const Value& input, int64_t dynamic_extent, std::mt19937& random) {
  std::vector<int64_t> dims;
  for (const Dim& d : input.type().shape.value()) dims.push_back(d.value.value_or(dynamic_extent));
  int64_t count = 1;
  for (const int64_t d : dims) count *= d;
  const auto make = [&]<class T>(auto draw) {
    std::vector<T> values;
    for (int64_t i = 0; i < count; ++i) values.push_back(static_cast<T>(draw()));
    return Tensor::from(dims, values);
  };
  std::uniform_real_distribution<double> real(-2.0, 2.0);
  switch (input.type().dtype) {
    case DataType::kFloat: return make.operator()<float>([&] { return real(random); });
    case DataType::kFloat16: return make.operator()<Half>([&] { return real(random); });
    case DataType::kInt64: return make.operator()<int64_t>([&] { return random() % 2; });
    case DataType::kBool: {
      std::vector<std::byte> bytes;
      for (int64_t i = 0; i < count; ++i) bytes.push_back(std::byte(random() % 2));
      return Tensor::from_bytes(DataType::kBool, dims, std::move(bytes));
    }
    default: FAIL_CHECK("no inputs for " << name(input.type().dtype));
  }
  return {};
}

Result<std::vector<Tensor>> run(Model& model, const std::vector<Tensor>& inputs) {
  ONNXTOOL_TRY(infer_graph(model.graph()));
  PlanOptions options;
  options.kernel_sets = {&cpu_kernel_set()};
  ONNXTOOL_ASSIGN(std::shared_ptr<const Plan> plan, Plan::compile(model.graph(), options));
  RunContext context(plan);
  std::vector<Tensor> outputs;
  ONNXTOOL_TRY(context.run(inputs, &outputs));
  return outputs;
}

// Rounding moves where an affine step is folded: a few units in the last place of the largest
// value.
void compare(const Tensor& a, const Tensor& b, Exactness exactness) {
  if (exactness == Exactness::kExact || !is_float(a.dtype())) {
    CHECK(a.same_content(b));
    return;
  }
  CHECK(a.dtype() == b.dtype());
  CHECK(a.dims() == b.dims());
  if (a.dtype() != b.dtype() || a.dims() != b.dims()) return;
  const std::vector<double> x = a.to_doubles(), y = b.to_doubles();
  double largest = 0, error = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    largest = std::max(largest, std::abs(x[i]));
    error = std::max(error, std::abs(x[i] - y[i]));
  }
  const double unit = a.dtype() == DataType::kFloat16 ? 0x1p-10 : 0x1p-23;
  CHECK(error <= 8 * unit * largest);
}

void run_both(Model& before, Model& after, const PassInfo& pass) {
  std::mt19937 random(20240229);
  for (const int64_t extent : {int64_t{2}, int64_t{3}}) {
    std::vector<Tensor> inputs;
    for (const Value* v : before.graph().inputs())
      if (!v->initializer()) inputs.push_back(seeded_input(*v, extent, random));
    const auto expected = run(before, inputs), actual = run(after, inputs);
    CHECK(why(expected) == "ok");
    CHECK(why(actual) == "ok");
    if (!expected.ok() || !actual.ok()) return;
    CHECK(expected->size() == actual->size());
    for (size_t i = 0; i < expected->size(); ++i)
      compare((*expected)[i], (*actual)[i], pass.exactness);
  }
}

// Whether the fixture's text changed.
bool check_case(const Case& c, Fixture& fixture, bool update) {
  const PassInfo* pass = find_pass(c.pass);
  const auto before = parse_and_check(c.before);
  CHECK(pass);
  if (!pass || !before) return false;
  const auto after = before->clone();
  const auto folder = make_folder();
  std::set<std::string> reasons;
  PassContext context;
  context.folder = folder.get();
  context.max_growth_bytes = c.max_growth;
  context.allowed_opset = c.allow_opset;
  context.asked_for = c.asked_for;
  context.ort_cpu = c.ort_cpu || pass->level >= Level::kExtended;
  context.on_near_miss = [&](const PassInfo&, const Node&, const char* reason) {
    reasons.insert(reason);
  };
  const int fired = run_passes(*after, {&pass, 1}, context)[0].fired;
  const Status types = infer_graph(after->graph());
  CHECK_MESSAGE(types.ok(), types.error().message);
  const auto read_back = reread(*after);
  if (!read_back) return false;
  CHECK(structural_difference(*after, *read_back).value_or("") == "");
  if (c.unchanged) {
    CHECK(fired == 0);
    CHECK(structural_difference(*before, *read_back).value_or("") == "");
    const bool says_so = c.reason.empty() ? reasons.empty() : reasons.contains(c.reason);
    CHECK_MESSAGE(says_so, "it says: ", reasons.empty() ? "nothing" : *reasons.begin());
    return false;
  }
  const auto expected = parse_and_check(c.expected.empty() && update ? c.before : c.expected);
  const auto difference = expected ? structural_difference(*expected, *read_back)
                                   : std::optional<std::string>("not parsed");
  CHECK_MESSAGE(!difference, difference.value_or(""), "\n", print_text(*read_back));
  if (c.executes) run_both(*before, *read_back, *pass);
  const auto twice = after->clone();
  CHECK(run_passes(*twice, {&pass, 1}, context)[0].fired == 0);
  if (!difference || !update) return false;
  std::string& chunk = fixture.chunks[c.chunk];
  chunk.resize(std::min(chunk.size(), chunk.find(kExpect)));
  chunk += kExpect + print_text(*read_back) + "\n";
  return true;
}

}  // namespace

TEST_CASE("passes do what their fixtures say") {
  const bool update = std::getenv("ONNXTOOL_UPDATE_FIXTURES") != nullptr;
  for (Fixture& fixture : fixtures()) {
    bool changed_file = false;
    for (const Case& c : fixture.cases) {
      INFO(fixture.path.stem().string(), ": ", c.name);
      changed_file |= check_case(c, fixture, update);
    }
    if (!changed_file) continue;
    std::ofstream file(fixture.path, std::ios::binary);
    for (size_t i = 0; i < fixture.chunks.size(); ++i)
      file << (i ? kSeparator : "") << fixture.chunks[i];
  }
}

TEST_CASE("every pass has a fixture that fires and one that does not") {
  const auto all = fixtures();
  for (const PassInfo* pass : all_passes()) {
    INFO(pass->name);
    std::string stem(pass->name);
    std::ranges::replace(stem, '-', '_');
    const auto found =
        std::ranges::find_if(all, [&](const Fixture& f) { return f.path.stem() == stem; });
    REQUIRE(found != all.end());
    CHECK(std::ranges::any_of(found->cases, [](const Case& c) { return !c.unchanged; }));
    CHECK(std::ranges::any_of(found->cases, [](const Case& c) { return c.unchanged; }));
  }
}

TEST_CASE("pass names are unique and follow their constants' order") {
  const auto all = all_passes();
  CHECK(std::ranges::is_sorted(all, {}, [](const PassInfo* p) { return p->name; }));
  for (const PassInfo* p : all) CHECK(find_pass(p->name) == p);
  CHECK(find_pass("no-such-pass") == nullptr);
}

}  // namespace onnxtool
