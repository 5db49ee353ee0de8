// 16-bit floats: which nodes take them, where Casts stand, and what stays float32.

#include "quant/half.h"

#include <set>

#include "tests/quant/small_models.h"

namespace onnxtool {
namespace {

using testing::cpu_run;
using testing::numbers;
using testing::parse;
using testing::random_samples;

struct Halved {
  std::unique_ptr<Model> reference, model;
  HalfReport report;
  std::map<std::string, std::string> reasons;  // of nodes in float32, by their first output
  double sqnr_db = 0;
  DataType type(const std::string& value) const {
    const Value* v = model->graph().find(value);
    REQUIRE_MESSAGE(v, value);
    return v->type().dtype;
  }
  int count(const std::string& op) const {
    int n = 0;
    for (const Node* node : all_nodes(model->graph())) n += node->op_type() == op;
    return n;
  }
};

Halved halve(const std::string& text, HalfOptions options = {}, bool measure = false) {
  Halved h;
  h.reference = parse(text);
  auto prepared = prepare_for_half(h.reference, options);
  REQUIRE_MESSAGE(prepared.ok(), (prepared.ok() ? "" : prepared.error().message));
  const auto samples = random_samples(*h.reference);
  HalfConstants constants(options.type);
  MeasuredRanges ranges;
  if (measure) ranges = *measure_ranges(*h.reference, *samples, cpu_run());
  const HalfPlan plan = plan_half(*h.reference, options, measure ? &ranges : nullptr, constants);
  for (const NodeDecision& d : plan.decisions)
    if (!d.integer) h.reasons[d.node->output(0).name()] = d.reason;
  h.model = h.reference->clone();
  h.report = apply_half(*h.model, plan, options, constants);
  // Every type agrees with its operator.
  const Status inferred = infer_graph(h.model->graph());
  REQUIRE_MESSAGE(inferred.ok(), (inferred.ok() ? "" : inferred.error().message));
  for (const Node* n : all_nodes(h.model->graph())) {
    const Status s = check_node(*n);
    CHECK_MESSAGE(s.ok(), (s.ok() ? "" : s.error().message));
  }
  ComparisonOptions compare;
  compare.metrics.allow_dtype_change = true;
  auto compared =
      compare_models(h.reference->graph(), h.model->graph(), *samples, cpu_run(), compare);
  REQUIRE_MESSAGE(compared.ok(), (compared.ok() ? "" : compared.error().message));
  h.sqnr_db = INFINITY;
  for (const auto& [name, m] : compared->outputs)
    h.sqnr_db = std::min(h.sqnr_db, m.value(Metric::kSqnr).value_or(-INFINITY));
  return h;
}

constexpr DataType kHalf = DataType::kFloat16, kFloat = DataType::kFloat;

std::string header(const std::string& signature, const std::string& constants, int opset = 17) {
  return "<ir_version: 8, opset_import: [\"\" : " + std::to_string(opset) + "]> g " + signature +
         " <" + constants + "> ";
}

TEST_CASE("half: a network without obstacles has no Cast, and names stay") {
  const std::string text =
      header("(float[2,4] x) => (float y)", "float[4,4] w = {" + numbers(16) + "}") +
      "{ a = MatMul (x, w) b = Relu (a) y = Softmax (b) }";
  const Halved h = halve(text);
  CHECK(h.report.casts == 0);
  CHECK(h.report.converted_bytes == 64);
  CHECK(h.type("x") == kHalf);
  CHECK(h.type("w") == kHalf);
  CHECK(h.type("y") == kHalf);
  CHECK(h.sqnr_db > 60);
  HalfOptions keep;
  keep.keep_io_types = true;
  const Halved k = halve(text, keep);
  CHECK(k.report.casts == 2);
  CHECK(k.type("x") == kFloat);
  CHECK(k.type("y") == kFloat);
  CHECK(k.type("w") == kHalf);
  CHECK(k.model->graph().outputs()[0]->name() == "y");
}

TEST_CASE("half: constants that do not fit leave their node in float32") {
  const Halved h =
      halve(header("(float[2,4] x) => (float y, float z)",
                   "float[4,4] w = {" + numbers(16) +
                       "}, float eps = {1e-12}, float large = {100000.0}, float[4,4] tiny = {" +
                       numbers(16, 1e-6) + "}") +
            "{ a = MatMul (x, w) b = Relu (a) c = Add (b, eps) d = Sqrt (c) y = MatMul (d, w) "
            "e = Mul (a, large) f = Tanh (e) g = MatMul (f, w) z = MatMul (g, tiny) }");
  CHECK(h.reasons.at("c") == "a constant is too small for the type");
  CHECK(h.reasons.at("d") == "values near zero decide");
  CHECK(h.reasons.at("e") == "a constant leaves the range of the type");
  CHECK(h.reasons.at("z") == "a constant is too small for the type");
  CHECK(h.type("a") == kHalf);
  CHECK(h.sqnr_db > 50);
}

TEST_CASE("half: what a constant takes beyond the range is read in float32") {
  const Halved h =
      halve(header("(float[2,4] x) => (float y, float z)",
                   "float[4,4] w = {" + numbers(16) +
                       "}, float large = {1000000.0}, float small = {0.001}, float near = {1e-7}") +
            "{ a = MatMul (x, w) b = Mul (a, large) c = Mul (b, small) y = MatMul (c, w) "
            "d = Div (a, near) e = Mul (d, small) f = Mul (e, small) z = MatMul (f, w) }");
  CHECK(h.reasons.at("c") == "its values may leave the range of the type");
  CHECK(h.reasons.at("e") == "its values may leave the range of the type");
  CHECK(h.type("a") == kHalf);
  CHECK(h.sqnr_db > 50);
}

TEST_CASE("half: what is quantized already stays together with its Q and DQ") {
  const std::string constants =
      "float[4,4] w = {" + numbers(16) +
      "}, float s = {0.02}, uint8 z = {128}, uint8 zero = {0}, int8[4,4] q = {1, 2, 3, 4, 5, 6, 7, "
      "8, 9, 10, 11, 12, 13, 14, 15, 16}, int8 qz = {0}";
  const std::string coded =
      "{ xq = QuantizeLinear (x, s, z) xd = DequantizeLinear (xq, s, z) wd = DequantizeLinear (q, "
      "s, qz) r = Relu (xd) t = Transpose (r) a = MatMul (t, wd) b = Relu (a) "
      "bq = QuantizeLinear (b, s, zero) bd = DequantizeLinear (bq, s, zero) ";
  const std::string signature = "(float[4,4] x) => (float y)";
  const Halved all = halve(header(signature, constants) + coded + "y = MatMul (bd, wd) }");
  CHECK(all.report.casts == 0);
  CHECK(all.report.converted_bytes == 0);
  CHECK(all.type("y") == kFloat);
  CHECK(all.reasons.at("a") == "is quantized already: a Cast would part it from Q and DQ");
  CHECK(all.reasons.at("b") == all.reasons.at("a"));
  CHECK(all.reasons.at("y") == all.reasons.at("a"));
  // What is left of float is converted.
  const Halved some = halve(header(signature, constants) + coded +
                            "c = MatMul (bd, w) d = Relu (c) y = MatMul (d, w) }");
  CHECK(some.report.casts == 1);
  CHECK(some.type("a") == kFloat);
  CHECK(some.type("b") == kFloat);
  CHECK(some.type("c") == kHalf);
  CHECK(some.type("w") == kHalf);
  CHECK(some.type("y") == kHalf);
}

TEST_CASE("half: scales of Q and DQ stay constants where only weights are stored in 16 bits") {
  std::string scales, codes, zeros;
  for (int i = 0; i < 256; ++i) {
    scales += i ? ", 0.5" : "0.5";
    codes += i ? ", 1" : "1";
    zeros += i ? ", 0" : "0";
  }
  const auto model = parse(
      header("(float[256,1] x) => (float y)", "float[256] s = {" + scales + "}, int8[1,256] q = {" +
                                                  codes + "}, int8[256] z = {" + zeros + "}") +
      "{ wd = DequantizeLinear <axis = 1> (q, s, z) y = MatMul (x, wd) }");
  HalfConstants constants(DataType::kBfloat16);
  const HalfReport report = store_half(*model, constants);
  CHECK(report.casts == 0);
  CHECK(report.converted_bytes == 0);
}

TEST_CASE("half: what needs float32 by the standard keeps it") {
  const Halved h =
      halve(header("(float[1,1,4,4] x) => (float y)", "float[4] scales = {1.0, 1.0, 2.0, 2.0}") +
            "{ y = Resize <mode = \"linear\"> (x, , scales) }");
  CHECK(h.type("scales") == kFloat);
  CHECK(h.type("y") == kHalf);
  CHECK(h.report.casts == 0);
}

TEST_CASE("half: one Cast for all nodes that read a tensor as float32") {
  HalfOptions o;
  o.exclude = *Selection::parse({"op:Sin", "op:Tanh"});
  const Halved h =
      halve(header("(float[4,4] x) => (float[4,4] y)", "float[4,4] w = {" + numbers(16) + "}") +
                "{ p = MatMul (x, w) e = Sin (p) t = Tanh (p) s = Add (e, t) y = MatMul (s, w) }",
            o);
  int readers = 0;
  const Value* p = h.model->graph().find("p");
  REQUIRE(p);
  for (const Use& u : p->uses()) readers += u.user->is("Cast");
  CHECK(readers == 1);
  std::set<std::string> results;
  for (const Node* n : all_nodes(h.model->graph()))
    for (const Value* v : n->outputs())
      if (v) CHECK(results.insert(v->name()).second);
}

TEST_CASE("half: growing operators only where they were measured") {
  const std::string text =
      header("(float[2,4] x) => (float y)", "float[4,4] w = {" + numbers(16) + "}") +
      "{ a = MatMul (x, w) b = Exp (a) y = MatMul (b, w) }";
  CHECK(halve(text).reasons.at("b") == "its values may leave the range of the type");
  CHECK(halve(text, {}, true).reasons.empty());
  const std::string large = header("(float[2,4] x) => (float y)",
                                   "float[4,4] w = {" + numbers(16) + "}, float k = {30000.0}") +
                            "{ a = MatMul (x, w) b = Mul (a, k) c = Mul (b, k) y = Tanh (c) }";
  CHECK(halve(large, {}, true).reasons.at("c") == "its values leave the range of the type");
}

TEST_CASE("half: attention masks end at -32768, and a row that is all masked has no NaN") {
  for (const char* kept : {"1.0", "0.0"}) {
    const Halved h =
        halve(header("(float[1,4,8] x, bool[1,1,4] keep) => (float y)",
                     "float one = {1.0}, float lowest = {-3.4e38}, float share = {" +
                         std::string(kept) + "}, float[8,8] w = {" + numbers(64) + "}") +
              "{ q = MatMul (x, w) k = Transpose <perm = [0, 2, 1]> (x) s = MatMul (q, k) "
              "c = Cast <to = 1> (keep) f = Mul (c, share) i = Sub (one, f) m = Mul (i, lowest) "
              "a = Add (s, m) p = Softmax <axis = -1> (a) y = MatMul (p, x) }");
    CHECK(h.type("p") == kHalf);
    CHECK(h.report.casts == 0);
    // What a row means that is masked as a whole nobody knows; it must be numbers.
    CHECK(h.sqnr_db > (kept[0] == '1' ? 40 : -20));
    for (const Value* v : h.model->graph().initializers())
      if (v->constant()->count() == 1 && is_float(v->constant()->dtype()))
        CHECK(v->constant()->to_doubles()[0] >= -32768);
  }
}

TEST_CASE("half: counts stay exact on the way to where they are used") {
  const Halved h =
      halve(header("(float[1,1,4,4] x) => (float y, int64 n)",
                   "float half_ = {0.5}, float[1,1,1,1] w = {0.5}, int64[1] at = {2}") +
            "{ y = Conv (x, w) s = Shape (x) e = Gather (s, at) f = Cast <to = 1> (e) "
            "g = Mul (f, half_) h = Floor (g) n = Cast <to = 7> (h) }");
  CHECK(h.type("y") == kHalf);
  for (const char* v : {"f", "g", "h"})
    if (const Value* found = h.model->graph().find(v)) CHECK(found->type().dtype == kFloat);
}

TEST_CASE("half: bodies of control flow keep float32 at their borders and use 16 bits within") {
  const Halved h = halve(
      header("(float[2,4] x, bool c) => (float y)", "float[4,4] w = {" + numbers(16) + "}") +
      "{ a = MatMul (x, w) b = If (c) <then_branch = t () => (float[2,4] u) { s = MatMul (a, w) "
      "u = Relu (s) }, else_branch = e () => (float[2,4] v) { v = Identity (a) }> y = MatMul (b, "
      "w) }");
  CHECK(h.type("a") == kHalf);
  CHECK(h.type("b") == kFloat);
  CHECK(h.sqnr_db > 55);
  CHECK(h.count("MatMul") == 3);
}

TEST_CASE("half: bfloat16 is stored where the target does not compute in it, else computed") {
  const std::string text =
      header("(float[2,16] x) => (float y)", "float[16,16] w = {" + numbers(256) + "}", 11) +
      "{ y = MatMul (x, w) }";
  HalfOptions options;
  options.type = DataType::kBfloat16;
  auto model = parse(text);
  REQUIRE(prepare_for_half(model, options).ok());
  CHECK(model->opset("") == 13);
  HalfConstants constants(options.type);
  auto stored = model->clone();
  CHECK(store_half(*stored, constants).casts == 1);
  CHECK(stored->graph().find("w")->type().dtype == DataType::kBfloat16);
  CHECK(stored->graph().find("y")->type().dtype == kFloat);
  const auto samples = random_samples(*model);
  auto compared = compare_models(model->graph(), stored->graph(), *samples, cpu_run(), {});
  REQUIRE(compared.ok());
  CHECK(compared->outputs[0].second.value(Metric::kSqnr).value_or(0) > 40);

  const Halved h = halve(text, options);
  CHECK(h.type("y") == DataType::kBfloat16);
  CHECK(h.sqnr_db > 35);
  options.no_opset_change = true;
  auto refused = parse(text);
  CHECK_FALSE(prepare_for_half(refused, options).ok());
}

TEST_CASE("half: no float16 product of a weight right behind a Transpose of the batch on ort-cpu") {
  const Halved h =
      halve(header("(float[2,3,4] x) => (float y)", "float[4,4] w = {" + numbers(16) + "}") +
            "{ r = Relu (x) t = Transpose <perm = [1, 0, 2]> (r) y = MatMul (t, w) }");
  // Neither of them, so that no Cast stands between.
  CHECK(h.reasons.contains("t"));
  CHECK(h.reasons.contains("y"));
}

TEST_CASE("half: weights that several nodes share are converted once") {
  const Halved h = halve(
      header("(float[2,4] x) => (float y, float z)",
             "float[4,4] w = {" + numbers(16) + "}, float[4,4] same = {" + numbers(16) + "}") +
      "{ a = MatMul (x, w) y = MatMul (a, w) z = MatMul (a, same) }");
  int weights = 0;
  for (const Value* v : h.model->graph().initializers()) weights += v->constant()->rank() == 2;
  CHECK(weights == 1);
}

TEST_CASE("half: what a ConstantOfShape fills with must fit") {
  const auto text = [](const char* value) {
    return header("(float[2,4] x) => (float y)",
                  "float[4,4] w = {" + numbers(16) + "}, int64[2] s = {2, 4}") +
           "{ p = MatMul (x, w) f = ConstantOfShape <value = float[1] {" + value +
           "}> (s) y = Max (p, f) }";
  };
  const HalfOptions options;
  for (const bool fits : {false, true}) {
    const std::unique_ptr<Model> m = parse(text(fits ? "0.5" : "1e6"));
    REQUIRE(infer_graph(m->graph()).ok());
    HalfConstants constants(options.type);
    std::string reason;
    for (const NodeDecision& d : plan_half(*m, options, nullptr, constants).decisions)
      if (d.node->is("ConstantOfShape")) reason = d.reason;
    CHECK((reason == "a constant leaves the range of the type") == !fits);
  }
}

}  // namespace
}  // namespace onnxtool
