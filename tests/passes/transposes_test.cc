// Every operator that takes another order of its axes: between a Transpose and what undoes it both
// go, whichever way round they stand, and nothing else becomes of the results.
#include <doctest/doctest.h>

#include <algorithm>

#include "calib/exec/folder.h"
#include "calib/exec/plan.h"
#include "calib/kernels/cpu/cpu_kernels.h"
#include "libopt/analysis/seam.h"
#include "libopt/io/encode.h"
#include "libopt/rewrite/driver.h"
#include "passes/pass.h"

namespace onnxtool {
namespace {

// x is [2, 3, 4, 5] in one order, t and u what a Transpose makes of x and z.
struct Moves {
  std::string nodes;           // that make r of t (and u)
  std::string constants = {};  // of the graph
  int opset = 21;
};

// For orders that are cycles of the last three axes, so that axes 1, 2 and 3 all move.
const std::vector<Moves> kKeepRank = {
    {"r = Relu (t)"},
    {"i = IsNaN (t)  r = Cast <to = 1> (i)"},
    {"r = Clip (t, k, one)", "float k = {-0.5}, float one = {0.5}"},
    {"r = CastLike (t, k)", "double k = {1}"},
    {"c = Cast <to = 12> (t)  r = BitwiseNot (c)"},
    {"c = Cast <to = 12> (t)  r = BitShift <direction = \"LEFT\"> (c, k)", "uint32 k = {3}"},
    {"c = Cast <to = 12> (t)  d = Cast <to = 12> (u)  r = BitwiseXor (c, d)"},
    {"c = Cast <to = 12> (t)  d = Cast <to = 12> (u)  r = BitwiseAnd (c, d)"},
    {"r = Add (t, u)"},
    {"r = Max (t, u)"},
    {"l = Less (t, u)  r = Where (l, t, u)"},
    {"r = Concat <axis = -1> (t, u)"},
    {"a, b = Split <axis = 2, num_outputs = 2> (t)  r = Concat <axis = 2> (b, a)"},
    {"r = Softmax <axis = 1> (t)"},
    {"r = LogSoftmax <axis = -2> (t)"},
    {"r = Softmax <axis = 1> (t)", "", 11},
    {"r = LogSoftmax <axis = 1> (t)", "", 9},
    {"r = Hardmax <axis = 2> (t)"},
    {"r = LpNormalization <axis = 1, p = 2> (t)"},
    {"r = ArgMax <axis = 2> (t)"},
    {"r = ArgMin <axis = -1, select_last_index = 1> (t)"},
    {"r, w = TopK <axis = 2> (t, k)", "int64[1] k = {2}"},
    {"r = CumSum (t, k)", "int32 k = {-1}"},
    {"r = Gather <axis = 1> (t, k)", "int64[2] k = {1, 0}"},
    {"i = ArgMax <axis = 3> (t)  r = GatherElements <axis = 3> (t, i)"},
    {"i = ArgMax <axis = 3> (t)  v = ReduceMax (t, k)  r = ScatterElements <axis = 3> (t, i, v)",
     "int64[1] k = {3}"},
    {"r = ReduceSum (t, k)", "int64[2] k = {1, -1}"},
    {"r = ReduceMean <axes = [2]> (t)", "", 13},
    {"r = Pad (t, k)", "int64[8] k = {0,1,2,0,0,0,3,1}"},
    {"r = Pad (t, k, , a)", "int64[4] k = {1,0,2,3}, int64[2] a = {1,-1}"},
    {"r = Pad <pads = [0,1,2,0,0,0,3,1]> (t)", "", 9},
    {"r = Slice (t, a, b, c)", "int32[2] a = {1,0}, int32[2] b = {3,-1}, int32[2] c = {2,-1}"},
    {"r = Slice (t, a, b)", "int64[3] a = {0,1,0}, int64[3] b = {2,3,2}"},
    {"r = Slice <starts = [0,1], ends = [2,3]> (t)", "", 9},
    {"r = Tile (t, k)", "int64[4] k = {1,2,1,3}"},
    {"m = ReduceMax (t, a)  r = Expand (m, k)", "int64[1] a = {2}, int64[4] k = {1,1,6,1}"},
    {"r = QuantizeLinear <axis = 1> (t, s)", "float[Q] s = {S}"},
};

// What has the rest of its axes in the order of x already: the Transpose in front goes.
const std::vector<Moves> kDropAxes = {
    {"r = ReduceSum <keepdims = 0> (t, k)", "int64[2] k = {A,B}"},
    {"r = ReduceMax <axes = [A,B], keepdims = 0> (t)", "", 13},
    {"m = ReduceMin (t, k)  r = Squeeze (m, k)", "int64[2] k = {A,B}"},
    {"m = ReduceMin <axes = [A,B]> (t)  r = Squeeze <axes = [A,B]> (m)", "", 11},
};

using Order = std::string;
constexpr const char* kFirst[] = {"[0, 2, 3, 1]", "[0, 3, 1, 2]"};  // each undoes the other

std::unique_ptr<Model> model_of(const std::string& nodes, const std::string& constants, int opset,
                                const std::string& result) {
  auto model = parse_text("<ir_version: 10, opset_import: [\"\" : " + std::to_string(opset) +
                          "]> g (float[2,3,4,5] x, float[2,3,4,5] z) => (" + result + " y) " +
                          (constants.empty() ? "" : "<" + constants + "> ") + "{ " + nodes + " }");
  REQUIRE_MESSAGE(model.ok(), model.error().message);
  REQUIRE(infer_graph((*model)->graph()).ok());
  return *std::move(model);
}

std::vector<Tensor> results(Model& model) {
  PlanOptions options;
  options.kernel_sets = {&cpu_kernel_set()};
  const auto plan = Plan::compile(model.graph(), options);
  REQUIRE_MESSAGE(plan.ok(), plan.error().message);
  std::vector<float> x(120), z(120);
  for (size_t i = 0; i < x.size(); ++i) {
    x[i] = static_cast<float>((i * 37) % 61) * 0.125f;
    z[i] = static_cast<float>((i * 23) % 59) * 0.25f;
  }
  std::vector<Tensor> outputs;
  const std::vector<Tensor> inputs = {Tensor::from({2, 3, 4, 5}, x), Tensor::from({2, 3, 4, 5}, z)};
  const Status done = RunContext(*plan).run(inputs, &outputs);
  REQUIRE_MESSAGE(done.ok(), done.error().message);
  return outputs;
}

void check_moves(const std::unique_ptr<Model>& model) {
  const auto after = model->clone();
  const auto folder = make_folder();
  PassContext context;
  context.folder = folder.get();
  const PassInfo* passes[] = {&kEliminateDeadCode, &kPushTransposes};
  run_passes(*after, passes, context);
  for (const Node& n : after->graph().nodes())
    CHECK_MESSAGE(!n.is("Transpose"), print_text(*after));
  REQUIRE(infer_graph(after->graph()).ok());
  const auto before = results(*model), now = results(*after);
  REQUIRE(before.size() == now.size());
  for (size_t i = 0; i < before.size(); ++i) {
    CHECK(before[i].dims() == now[i].dims());
    const std::vector<double> a = before[i].to_doubles(), b = now[i].to_doubles();
    REQUIRE(a.size() == b.size());
    for (size_t k = 0; k < a.size(); ++k) CHECK(std::abs(a[k] - b[k]) <= 1e-6 * std::abs(a[k]));
  }
}

std::string replaced(std::string text, const std::string& what, const std::string& with) {
  for (size_t at; (at = text.find(what)) != std::string::npos;) text.replace(at, what.size(), with);
  return text;
}

TEST_CASE("Transposes go through every operator that takes another order of its axes") {
  for (const Moves& m : kKeepRank)
    for (const int way : {0, 1}) {
      INFO(m.nodes, ", way ", way);
      // The extent of axis 1, and a scale for each.
      const std::string scales = way == 0 ? "1,2,3,4" : "1,2,3,4,5";
      const std::string constants =
          replaced(replaced(m.constants, "Q", way == 0 ? "4" : "5"), "S", scales);
      const std::string before = std::string("t = Transpose <perm = ") + kFirst[way] +
                                 "> (x)  u = Transpose <perm = " + kFirst[way] + "> (z)  ";
      const std::string behind =
          std::string("  y = Transpose <perm = ") + kFirst[1 - way] + "> (r)";
      std::string type = "float";
      if (m.nodes.find("CastLike") != std::string::npos) type = "double";
      if (m.nodes.find("to = 12") != std::string::npos) type = "uint32";
      if (m.nodes.starts_with("r = Arg")) type = "int64";
      if (m.nodes.find("Quantize") != std::string::npos) type = "uint8";
      check_moves(model_of(before + m.nodes + behind, constants, m.opset, type + "[a,b,c,d]"));
    }
}

TEST_CASE("Transposes go before what leaves the other axes in order") {
  for (const Moves& m : kDropAxes)
    for (const int way : {0, 1}) {
      INFO(m.nodes, ", way ", way);
      // [0, 2, 3, 1]: without 1 and 2 the axes 0 and 1 of x are left; [0, 3, 1, 2]: without 2
      // and 3.
      const auto filled = [&](const std::string& text) {
        return replaced(replaced(text, "A", way == 0 ? "1" : "2"), "B", way == 0 ? "2" : "-1");
      };
      check_moves(model_of(std::string("t = Transpose <perm = ") + kFirst[way] + "> (x)  " +
                               replaced(filled(m.nodes), "r =", "y ="),
                           filled(m.constants), m.opset, "float[a,b]"));
    }
}

TEST_CASE("Transposes go before a row, an index of the largest and behind new axes") {
  for (const char* text :
       {"t = Transpose <perm = [0, 2, 3, 1]> (x)  y = Gather <axis = 3> (t, k)",
        "t = Transpose <perm = [0, 2, 3, 1]> (x)  y = ReduceMax <keepdims = 0> (t, three)",
        "t = Transpose <perm = [3, 0, 1, 2]> (x)  y = Gather (t, k)"}) {
    INFO(text);
    check_moves(model_of(text, "int64 k = {1}, int64[1] three = {-1}", 21, "float[a,b,c]"));
  }
  check_moves(
      model_of("t = Transpose <perm = [0, 2, 3, 1]> (x)  y = ArgMax <axis = 3, keepdims = 0> (t)",
               "", 21, "int64[a,b,c]"));
  check_moves(
      model_of("m = ReduceSum <keepdims = 0> (x, k)  u = Unsqueeze (m, k)  e = Exp (u)  "
               "y = Transpose <perm = [0, 2, 3, 1]> (e)",
               "int64[2] k = {2, 3}", 21, "float[a,b,c,d]"));
}

TEST_CASE("what is resized stays in the order that runtimes resize") {
  const std::string resize =
      "  r = Resize <mode = \"linear\"> (t, , k)  y = Transpose <perm = [0, 3, 1, 2]> (r)";
  check_moves(model_of("t = Transpose <perm = [0, 2, 3, 1]> (x)" + resize, "float[4] k = {1,2,3,1}",
                       13, "float[a,b,c,d]"));
  for (const auto& [first, mode] :
       {std::pair("[0, 3, 1, 2]", "linear"), {"[0, 2, 3, 1]", "cubic"}}) {
    const bool last = first == std::string("[0, 2, 3, 1]");
    const auto model = model_of(
        std::string("t = Transpose <perm = ") + first + "> (x)  r = Resize <mode = \"" + mode +
            "\"> (t, , k)  y = Transpose <perm = " + (last ? kFirst[1] : kFirst[0]) + "> (r)",
        last ? "float[4] k = {1,2,3,1}" : "float[4] k = {1,1,2,3}", 13, "float[a,b,c,d]");
    const PassInfo* pass = &kPushTransposes;
    CHECK(run_passes(*model, {&pass, 1}, {})[0].fired == 0);
  }
}

}  // namespace
}  // namespace onnxtool
