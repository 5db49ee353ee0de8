// Steps on a device that are recorded and replayed: the same bits as step by step. A context's
// first run with given shapes is step by step, so a fresh one says what is expected.
#include <doctest/doctest.h>

#include <thread>

#include "calib/exec/plan.h"
#include "calib/kernels/cpu/cpu_kernels.h"
#include "libopt/analysis/seam.h"
#include "tests/support/devices.h"

namespace onnxtool::testing {
namespace {

std::shared_ptr<const Plan> plan_to_record(const std::string& text, const KernelSet* device) {
  auto model = parse_text(text);
  REQUIRE_MESSAGE(model.ok(), (model.ok() ? "" : model.error().message));
  REQUIRE(infer_graph((*model)->graph()).ok());
  PlanOptions options;
  options.kernel_sets = {device, &cpu_kernel_set()};
  auto plan = Plan::compile((*model)->graph(), options);
  REQUIRE_MESSAGE(plan.ok(), (plan.ok() ? "" : plan.error().message));
  return *plan;
}

Tensor recorded_input(std::vector<int64_t> dims, uint32_t seed) {
  int64_t count = 1;
  for (const int64_t d : dims) count *= d;
  std::vector<float> v(static_cast<size_t>(count));
  for (float& x : v)
    x = static_cast<float>((seed = seed * 1664525u + 1013904223u) >> 8) / 8388608.0f - 1;
  return Tensor::from<float>(std::move(dims), v);
}

std::vector<Tensor> run_once(RunContext& context, const std::vector<Tensor>& inputs) {
  std::vector<Tensor> outputs;
  const Status s = context.run(inputs, &outputs);
  REQUIRE_MESSAGE(s.ok(), (s.ok() ? "" : s.error().message));
  return outputs;
}

// Runs `context` on inputs that a fresh one gets too.
bool gives_the_same(const std::shared_ptr<const Plan>& plan, RunContext& context,
                    const std::vector<Tensor>& inputs) {
  RunContext fresh(plan);
  const auto expected = run_once(fresh, inputs), found = run_once(context, inputs);
  bool same = expected.size() == found.size();
  for (size_t i = 0; same && i < expected.size(); ++i) same = expected[i].same_content(found[i]);
  return same;
}

bool is_stand_in(const KernelSet* set) { return set->isa == "host"; }

constexpr const char* kChain = R"(<ir_version: 10, opset_import: ["" : 21]>
g (float[N,4,6,6] x, float[N,4,6,6] other) => (y, early, view)
<int64[2] flat = {0, -1}, int64[1] axis = {1}>
{ v = Reshape (x, flat)  view = Neg (v)
  early = Relu (x)  s = Softmax <axis = -1> (early)  m = ReduceMean (s, axis)
  a = Add (s, m)  b = Mul (a, other)  c = Tanh (b)  r = Reshape (c, flat)  y = Exp (r) })";

TEST_CASE("recordings: runs of one shape see their own inputs and give the same bits") {
  for (const KernelSet* set : devices()) {
    const auto plan = plan_to_record(kChain, set);
    RunContext context(plan);
    if (is_stand_in(set)) stand_in_count("onnxtool_replays");
    for (uint32_t run = 0; run < 6; ++run)
      CHECK(gives_the_same(
          plan, context,
          {recorded_input({2, 4, 6, 6}, run), recorded_input({2, 4, 6, 6}, run + 50)}));
    if (is_stand_in(set)) CHECK(stand_in_count("onnxtool_replays") == 5);
  }
}

TEST_CASE("recordings: other shapes run step by step, and are recorded when they come again") {
  for (const KernelSet* set : devices()) {
    const auto plan = plan_to_record(kChain, set);
    RunContext context(plan);
    const struct {
      int64_t batch;
      int replays;
    } runs[] = {{2, 0}, {2, 1}, {3, 0}, {2, 1}, {2, 1}, {3, 0},
                {3, 1}, {3, 1}, {2, 0}, {1, 0}, {3, 1}};
    uint32_t seed = 1;
    for (const auto& run : runs) {
      const std::vector<int64_t> dims{run.batch, 4, 6, 6};
      if (is_stand_in(set)) stand_in_count("onnxtool_replays");
      CHECK(gives_the_same(plan, context,
                           {recorded_input(dims, ++seed), recorded_input(dims, ++seed)}));
      if (is_stand_in(set)) CHECK(stand_in_count("onnxtool_replays") == run.replays);
    }
  }
}

TEST_CASE("recordings: what looks at host memory, control flow and the CPU's steps part them") {
  const struct {
    const char* what;
    const char* text;
    int replays;  // in a run
  } cases[] = {
      {"a condition", R"(<ir_version: 10, opset_import: ["" : 21]>
g (float[5,7] x) => (y) <float zero = {0.0}>
{ a = Relu (x)  b = Exp (a)  c = Softmax (b)  d = Add (c, x)
  m = ReduceMax <keepdims = 0> (d)  is = Greater (m, zero)
  e = If (is) <then_branch = t () => (u) { u = Neg (d) }, else_branch = f () => (u) { u = Abs (d) }>
  h = Tanh (e)  i = Mul (h, d)  j = Sigmoid (i)  k = Add (j, h)  y = Sqrt (k) })",
       2},
      {"indices, which the host checks", R"(<ir_version: 10, opset_import: ["" : 21]>
g (float[5,7] x) => (y)
{ a = Relu (x)  b = Exp (a)  c = Softmax (b)  d = Add (c, x)
  m = ArgMax <keepdims = 0> (d)  p = Gather (d, m)
  h = Tanh (p)  i = Mul (h, p)  j = Sigmoid (i)  y = Add (j, h) })",
       2},
      {"too few steps", R"(<ir_version: 10, opset_import: ["" : 21]>
g (float[5,7] x) => (y) { a = Relu (x)  b = Exp (a)  y = Softmax (b) })",
       0},
  };
  for (const KernelSet* set : devices())
    for (const auto& c : cases) {
      const auto plan = plan_to_record(c.text, set);
      RunContext context(plan);
      for (uint32_t run = 0; run < 4; ++run) {
        if (is_stand_in(set)) stand_in_count("onnxtool_replays");
        CHECK_MESSAGE(gives_the_same(plan, context, {recorded_input({5, 7}, run * 9 + 1)}), c.what);
        if (is_stand_in(set))
          CHECK_MESSAGE(stand_in_count("onnxtool_replays") == (run ? c.replays : 0), c.what);
      }
    }
}

TEST_CASE("recordings: what cannot be replayed runs step by step, from the start of its run") {
  // More launches than the stand-in takes, behind others that it takes.
  std::string steps =
      "a0 = Relu (x)  a1 = Exp (a0)  a2 = Softmax (a1)  b = Add (a2, x)  m = ArgMax "
      "<keepdims = 0> (b)  c0 = Gather (b, m) ";
  for (int i = 0; i < 120; ++i)
    steps += " c" + std::to_string(i + 1) + (i % 2 ? " = Tanh (c" : " = Neg (c") +
             std::to_string(i) + ")";
  const std::string text =
      "<ir_version: 10, opset_import: [\"\" : 21]> g (float[5,7] x) => (c120) { " + steps + " }";
  for (const KernelSet* set : devices()) {
    const auto plan = plan_to_record(text, set);
    RunContext context(plan);
    if (is_stand_in(set)) stand_in_count("onnxtool_replays");
    for (uint32_t run = 0; run < 4; ++run)
      CHECK(gives_the_same(plan, context, {recorded_input({5, 7}, run)}));
    // The first stretch in three runs, and once more in the one that began anew.
    if (is_stand_in(set)) CHECK(stand_in_count("onnxtool_replays") == 4);
  }
}

TEST_CASE("recordings: parameters of launches and memory that is used again are the recording's") {
  // Indices, sizes and matrices of a product travel to the device in each run.
  const char* const text = R"(<ir_version: 10, opset_import: ["" : 21]>
g (float[2,3,8,8] x) => (y) <int64[4] to = {2, 3, 13, 5}, int64[3] picks = {2, 0, 1}>
{ r = Resize <mode = "cubic", antialias = 1> (x, , , to)  a = Gather <axis = 1> (r, picks)
  b = Concat <axis = 1> (a, r)  c = Softmax <axis = 2> (b)
  d, e = Split <axis = 1, num_outputs = 2> (c)  f = Transpose <perm = [0,1,3,2]> (e)
  h = MatMul (d, f)  y = Relu (h) })";
  for (const KernelSet* set : devices()) {
    const auto plan = plan_to_record(text, set);
    const auto runs = [&](uint32_t seed) {
      RunContext context(plan);
      bool same = true;
      for (uint32_t run = 0; run < 20; ++run)
        same = gives_the_same(plan, context, {recorded_input({2, 3, 8, 8}, seed + run)}) && same;
      return same;
    };
    if (is_stand_in(set)) stand_in_count("onnxtool_replays");
    bool same[3] = {};
    std::vector<std::thread> threads;
    for (uint32_t t = 0; t < 3; ++t) threads.emplace_back([&, t] { same[t] = runs(100 * t); });
    for (std::thread& t : threads) t.join();
    for (const bool s : same) CHECK(s);
    if (is_stand_in(set)) CHECK(stand_in_count("onnxtool_replays") == 3 * 19);
  }
}

}  // namespace
}  // namespace onnxtool::testing
