// Plans and run contexts: what they promise whatever the kernels are.
#include <doctest/doctest.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <optional>

#include "calib/exec/arena.h"
#include "calib/exec/folder.h"
#include "calib/exec/plan.h"
#include "calib/kernels/cpu/cpu_kernels.h"
#include "libopt/analysis/seam.h"
#include "libopt/io/load.h"
#include "tests/support/data_set.h"
#include "tests/support/fake_device.h"

namespace onnxtool::testing {
namespace {

namespace fs = std::filesystem;

std::unique_ptr<Model> model_of(const std::string& text) {
  auto model = parse_text(text);
  REQUIRE_MESSAGE(model.ok(), (model.ok() ? "" : model.error().message));
  REQUIRE(infer_graph((*model)->graph()).ok());
  return *std::move(model);
}

std::shared_ptr<const Plan> plan_of(const Model& model, PlanOptions options = {}) {
  if (options.kernel_sets.empty()) options.kernel_sets = {&cpu_kernel_set()};
  auto plan = Plan::compile(model.graph(), options);
  REQUIRE_MESSAGE(plan.ok(), (plan.ok() ? "" : plan.error().message));
  return *plan;
}

std::vector<Tensor> run(const std::shared_ptr<const Plan>& plan, const std::vector<Tensor>& inputs,
                        Observer* observer = nullptr) {
  RunContext context(plan);
  std::vector<Tensor> outputs;
  const Status s = context.run(inputs, &outputs, observer);
  REQUIRE_MESSAGE(s.ok(), (s.ok() ? "" : s.error().message));
  return outputs;
}

class Recorder final : public Observer {
 public:
  bool needs_plain() const override { return true; }
  Status observe(int watch, const ConstView& v) override {
    seen.emplace_back(watch, std::vector<float>(v.as<float>().begin(), v.as<float>().end()));
    return {};
  }
  std::vector<std::pair<int, std::vector<float>>> seen;
};

constexpr const char* kConvRelu = R"(<ir_version: 8, opset_import: ["" : 17]>
g (float[1,1,2,2] x) => (float[1,1,2,2] y)
<float[1,1,1,1] w = {2.0}, float[1] b = {-3.0}>
{ c = Conv (x, w, b)  r = Relu (c)  y = Sigmoid (r) })";

}  // namespace

TEST_CASE(
    "a profile names what was fused, and what ran in a subgraph before the node that holds it") {
  const auto model = model_of(R"(<ir_version: 8, opset_import: ["" : 17]>
g (float[1,1,2,2] x, bool c) => (float[1,1,2,2] y)
<float[1,1,1,1] w = {2.0}>
{ t = Conv (x, w)  r = Relu (t)
  y = If (c) <then_branch = a () => (float[1,1,2,2] u) { u = Sigmoid (r) }, else_branch = b () => (float[1,1,2,2] v) { v = Neg (r) }> })");
  RunContext context(plan_of(*model));
  const std::vector<Tensor> inputs = {
      Tensor::from_bytes(DataType::kFloat, {1, 1, 2, 2}, std::vector<std::byte>(16)),
      Tensor::from_bytes(DataType::kBool, {}, {std::byte{1}})};
  REQUIRE(context.run(inputs, nullptr).ok());
  CHECK(context.profile().empty());
  context.enable_profile();
  for (int i = 0; i < 2; ++i) REQUIRE(context.run(inputs, nullptr).ok());
  const auto steps = context.profile();
  REQUIRE(steps.size() == 6);
  CHECK(steps[3].operators == "Conv + Relu");
  CHECK(steps[3].kernels == "cpu");
  CHECK(steps[3].depth == 0);
  CHECK(steps[4].operators == "Sigmoid");
  CHECK(steps[4].depth == 1);
  CHECK(steps[5].operators == "If");
  CHECK(steps[5].kernels == "executor");
  CHECK(steps[5].start_ns <= steps[4].start_ns);
  CHECK(steps[5].duration_ns >= steps[4].duration_ns);
  CHECK(context.memory_bytes() > 0);
}

TEST_CASE("a watched value is shown once, even where it would have been fused away") {
  const auto model = model_of(kConvRelu);
  const Tensor x = Tensor::from<float>({1, 1, 2, 2}, std::vector<float>{1, 2, 3, 4});
  PlanOptions options;
  options.watched = {model->graph().find("c"), model->graph().find("x")};
  Recorder recorder;
  const auto watched = run(plan_of(*model, options), {x}, &recorder);
  REQUIRE(recorder.seen.size() == 2);
  CHECK(recorder.seen[0] == std::pair(1, std::vector<float>{1, 2, 3, 4}));
  CHECK(recorder.seen[1] == std::pair(0, std::vector<float>{-1, 1, 3, 5}));
  // Fused or not, the result is the same.
  CHECK(watched[0].same_content(run(plan_of(*model), {x})[0]));
}

TEST_CASE("parts that lie in one piece are views of the whole, unless they would keep much more") {
  struct Places final : Observer {
    Status observe(int watch, const ConstView& v) override {
      at[watch] = static_cast<const std::byte*>(v.data);
      return {};
    }
    std::map<int, const std::byte*> at;
  };
  // Rows of w are no pieces; h is a thousandth of the whole, which t would keep.
  const auto model = model_of(R"(<ir_version: 8, opset_import: ["" : 17]>
g (float[1,4,2] x, float[40,1000] z, string[3] n) => (float[1,2,2] c, float[1,2,2] e, float[1,1,2] s, float[1,4,1] w, float[1,1000] h, float[20,1000] t, string[1] u)
<int64[1] one = {1}, int64[1] two = {2}, int64[1] three = {3}, int64[1] twenty = {20}, int64[1] zero = {0}, int64[1] many = {1000}>
{ r = Neg (x)
  a, b = Split <axis = 1> (r)
  s = Slice (r, two, three, one)
  w = Slice (r, one, two, two)
  c = Relu (a)
  e = Neg (b)
  k = Neg (z)
  h = Slice (k, three, many, zero, many)
  t = Slice (k, twenty, many, zero)
  m = Identity (n)
  u = Slice (m, two, three, zero) })");
  PlanOptions options;
  for (const char* name : {"r", "a", "b", "s", "w", "k", "h", "t"})
    options.watched.push_back(model->graph().find(name));
  std::vector<float> x(8), z(40000);
  for (size_t i = 0; i < x.size(); ++i) x[i] = i % 2 ? float(i) : -float(i);
  for (size_t i = 0; i < z.size(); ++i) z[i] = -float(i);
  const std::vector<Tensor> inputs = {Tensor::from<float>({1, 4, 2}, x),
                                      Tensor::from<float>({40, 1000}, z),
                                      Tensor::from_strings({3}, {"k", "l", "m"})};
  const auto plan = plan_of(*model, options);
  RunContext context(plan);
  for (int turn = 0; turn < 2; ++turn) {  // from the heap, then from one block
    Places places;
    std::vector<Tensor> y;
    REQUIRE(context.run(inputs, &y, &places).ok());
    const auto offset = [&](int part, int whole) { return places.at[part] - places.at[whole]; };
    CHECK(offset(1, 0) == 0);
    CHECK(offset(2, 0) == 16);
    CHECK(offset(3, 0) == 16);
    CHECK((offset(4, 0) < 0 || offset(4, 0) >= 32));
    CHECK((offset(6, 5) < 0 || offset(6, 5) >= 160000));
    CHECK(offset(7, 5) == 80000);
    CHECK(y[0].values<float>() == std::vector<float>{0, 0, 2, 0});
    CHECK(y[1].values<float>() == std::vector<float>{-4, 5, -6, 7});
    CHECK(y[2].values<float>() == std::vector<float>{4, -5});
    CHECK(y[3].values<float>() == std::vector<float>{-1, -3, -5, -7});
    CHECK(y[4].values<float>()[1] == 3001);
    CHECK(y[5].values<float>()[999] == 20999);
    CHECK(y[6].strings()[0] == "m");
  }
}

TEST_CASE("sparse initializers are constants like others") {
  // y = x * [[0, 2], [0, 0], [3, 0]] + [0, 5]
  const auto model = load_model(
      (fs::path(ONNXTOOL_SOURCE_DIR) / "testdata" / "exec" / "sparse_initializers.onnx").string());
  REQUIRE(model.ok());
  (void)infer_graph((*model)->graph());
  const auto y =
      run(plan_of(**model), {Tensor::from<float>({1, 3}, std::vector<float>{1, 10, 100})});
  CHECK(y[0].values<float>() == std::vector<float>{300, 7});
}

TEST_CASE("operators of com.microsoft run where a model does not declare the domain") {
  const auto model = parse_text(
      R"(<ir_version: 8, opset_import: ["" : 17]> g (float[2] x) => (float[2] y) { y = com.microsoft.Gelu (x) })");
  REQUIRE(model.ok());
  (void)infer_graph((*model)->graph());
  const auto y = run(plan_of(**model), {Tensor::from<float>({2}, std::vector<float>{0, 100})});
  CHECK(y[0].values<float>() == std::vector<float>{0, 100});
}

TEST_CASE("a plan outlives its model and serves several contexts") {
  std::shared_ptr<const Plan> plan;
  {
    const auto model = model_of(kConvRelu);
    plan = plan_of(*model);
  }
  RunContext a(plan), b(plan);
  std::vector<Tensor> ya, yb;
  const Tensor x = Tensor::from<float>({1, 1, 2, 2}, std::vector<float>{1, 2, 3, 4});
  REQUIRE(a.run(std::vector<Tensor>{x}, &ya).ok());
  REQUIRE(b.run(std::vector<Tensor>{x}, &yb).ok());
  CHECK(ya[0].same_content(yb[0]));
}

TEST_CASE("every operator without a kernel is named at once") {
  const auto model = model_of(R"(<ir_version: 8, opset_import: ["" : 17, "acme" : 1]>
g (float[2] x) => (float[2] y) { a = acme.Frob (x)  b = acme.Blub (a)  y = Relu (b) })");
  PlanOptions options;
  options.kernel_sets = {&cpu_kernel_set()};
  const auto plan = Plan::compile(model->graph(), options);
  REQUIRE_FALSE(plan.ok());
  CHECK(plan.error().code == ErrorCode::kUnsupported);
  CHECK(plan.error().message.find("acme.Blub") != std::string::npos);
  CHECK(plan.error().message.find("acme.Frob") != std::string::npos);
}

TEST_CASE("shapes may change from run to run") {
  const auto model = model_of(R"(<ir_version: 8, opset_import: ["" : 17]>
g (float[n] x) => (float[n] y) { a = Exp (x)  b = Add (a, x)  y = Mul (b, a) })");
  RunContext context(plan_of(*model));
  for (const int64_t n : {3, 3, 70, 3, 70, 70, 1, 0}) {
    std::vector<Tensor> y;
    REQUIRE(context
                .run(std::vector<Tensor>{Tensor::from<float>(
                         {n}, std::vector<float>(static_cast<size_t>(n), 0.0f))},
                     &y)
                .ok());
    REQUIRE(y[0].dims() == std::vector<int64_t>{n});
    for (const float v : y[0].values<float>()) CHECK(v == 1.0f);
  }
}

TEST_CASE("a run with the wrong number of inputs is refused, and the context stays usable") {
  RunContext context(plan_of(*model_of(kConvRelu)));
  std::vector<Tensor> y;
  CHECK(context.run({}, &y).error().code == ErrorCode::kMismatch);
  const Tensor wrong = Tensor::from<float>({1, 2, 2, 2}, std::vector<float>(8, 1.0f));
  const Status s = context.run(std::vector<Tensor>{wrong}, &y);
  REQUIRE_FALSE(s.ok());
  CHECK(s.error().message.find("Conv") != std::string::npos);
  CHECK(
      context
          .run(std::vector<Tensor>{Tensor::from<float>({1, 1, 2, 2}, std::vector<float>(4, 1.0f))},
               &y)
          .ok());
}

TEST_CASE("control flow reads outer values, and loops carry state") {
  const auto model = model_of(R"(<ir_version: 8, opset_import: ["" : 17]>
g (int64 trips, float[2] x) => (float[2] y, float[k, 2] all)
<bool yes = {1}>
{ y, all = Loop (trips, yes, x) <body = b (int64 i, bool c, float[2] s) => (bool c2, float[2] s2, float[2] o) { c2 = Identity (c)  s2 = Add (s, x)  o = Identity (s2) }> })");
  const auto y = run(plan_of(*model), {Tensor::scalar<int64_t>(3),
                                       Tensor::from<float>({2}, std::vector<float>{1, 10})});
  CHECK(y[0].values<float>() == std::vector<float>{4, 40});
  CHECK(y[1].dims() == std::vector<int64_t>{3, 2});
  CHECK(y[1].values<float>() == std::vector<float>{2, 20, 3, 30, 4, 40});
}

TEST_CASE("the arena replays a run in one block and survives another order") {
  Arena arena;
  int a, b, c;
  for (int round = 0; round < 3; ++round) {
    void* p = arena.acquire(1000, &a);
    void* q = arena.acquire(500, &b);
    CHECK(p != q);
    arena.release(p, a);
    void* r = arena.acquire(900, &c);
    if (round > 0) CHECK(r == p);  // takes the dead buffer's place
    arena.release(q, b);
    arena.release(r, c);
    arena.finish_run();
  }
  // Now the first buffer lives on: nothing may be laid over it.
  auto* p = static_cast<char*>(arena.acquire(1000, &a));
  auto* q = static_cast<char*>(arena.acquire(500, &b));
  std::memset(p, 1, 1000);
  arena.release(q, b);
  auto* r = static_cast<char*>(arena.acquire(900, &c));
  std::memset(r, 2, 900);
  for (int i = 0; i < 1000; ++i) REQUIRE(p[i] == 1);
  arena.release(p, a);
  arena.release(r, c);
  arena.finish_run();
}

namespace {

// Lends other elements to the first watched value; at the second, asks whether they are still held.
class Lender final : public Observer {
 public:
  Status observe(int watch, const ConstView& v) override {
    if (watch == 1) let_go = lent.expired();
    if (watch == 0) dims_.assign(v.dims.begin(), v.dims.end());
    return {};
  }
  std::optional<Replacement> replacement(int watch) override {
    if (watch != 0) return std::nullopt;
    std::shared_ptr<void> memory(std::aligned_alloc(64, 64), std::free);
    const float other[] = {10, -20, 30, -40};
    std::memcpy(memory.get(), other, sizeof other);
    lent = memory;
    const ConstView value{DataType::kFloat, dims_, memory.get(), 4, MemorySpace::kHost, layout};
    return Replacement{value, std::move(memory)};
  }
  Layout layout = Layout::kPlain;
  std::weak_ptr<void> lent;
  bool let_go = false;

 private:
  std::vector<int64_t> dims_;
};

}  // namespace

TEST_CASE("what an observer lends takes a value's place, and goes back behind its last reader") {
  const auto model = model_of(R"(<ir_version: 8, opset_import: ["" : 17]>
g (float[1,2,1,2] x) => (float[1,2,1,2] y, double[4] z)
<int64[1] all = {4}>
{ a = Exp (x)  b = Neg (a)  f = Reshape (b, all)  z = Cast <to = 11> (f)  c = Tanh (x)  y = Relu (c) })");
  const std::vector<float> numbers{1, 2, 3, 4};
  const std::vector<Tensor> inputs = {Tensor::from({1, 2, 1, 2}, numbers)};
  PlanOptions options;
  options.watched = {model->graph().find("a"), model->graph().find("y")};
  const auto plan = plan_of(*model, options);
  Lender plain, last;
  last.layout = Layout::kChannelsLast;
  CHECK(run(plan, inputs, &plain)[1].values<double>() == std::vector<double>{-10, 20, -30, 40});
  CHECK(plain.let_go);
  // [N, H, W, C]: pixels (10, -20) and (30, -40).
  CHECK(run(plan, inputs, &last)[1].values<double>() == std::vector<double>{-10, -30, 20, 40});
  CHECK(last.let_go);
}

TEST_CASE("a second memory space with missing operators gives the same bits") {
  const fs::path root = shared_data("models");
  if (root.empty()) return;
  const int64_t before = fake_device_copies();
  for (const char* name : {"cifar10_cnn", "blazeface_front", "bert_toy", "silero_vad_16k_op15",
                           "ppocr_cls", "scan_lstm_cntk", "yolox_nano"}) {
    const Status s =
        run_data_sets(root / name, {&fake_device_set(), &cpu_kernel_set()}, {1e-3, 1e-4});
    CHECK_MESSAGE(s.ok(), name << ": " << (s.ok() ? "" : s.error().message));
  }
  CHECK(fake_device_copies() > before);
  CHECK(fake_device_live() == 0);
}

TEST_CASE("the same bits for any thread count") {
  const fs::path root = shared_data("models");
  if (root.empty()) return;
  for (const char* name : {"cifar10_cnn", "bert_toy", "yunet_s_320", "selfie_segmentation",
                           "ppocr_rec_en_number", "squeezenet_fp16", "mobilenetv2_qat_qdq"}) {
    auto loaded = load_model((root / name / "model.onnx").string());
    REQUIRE(loaded.ok());
    REQUIRE(infer_graph((*loaded)->graph()).ok());
    const auto inputs = load_inputs(root / name / "test_data_set_0", **loaded);
    REQUIRE(inputs.ok());
    std::vector<Tensor> first;
    for (const int threads : {1, 2, 3, 8}) {
      PlanOptions options;
      options.threads = threads;
      const auto outputs = run(plan_of(**loaded, options), *inputs);
      if (threads == 1) first = outputs;
      for (size_t i = 0; i < outputs.size(); ++i)
        CHECK_MESSAGE(outputs[i].same_content(first[i]), name << " with " << threads << " threads");
    }
  }
}

TEST_CASE("the folder computes constants and refuses what is none") {
  const auto model = model_of(R"(<ir_version: 8, opset_import: ["" : 17]>
g (float[2] x) => (float[2] y) <float[2] a = {1.0, 2.0}> { b = Mul (a, a)  y = Add (b, x) })");
  const auto folder = make_folder();
  const auto results = folder->evaluate(*model->graph().find("b")->producer());
  REQUIRE(results.ok());
  CHECK((*results)[0].values<float>() == std::vector<float>{1, 4});
  CHECK_FALSE(folder->evaluate(*model->graph().find("y")->producer()).ok());
}

}  // namespace onnxtool::testing
