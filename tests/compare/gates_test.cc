#include "calib/compare/gates.h"

#include <doctest/doctest.h>

#include <cmath>

#include "libopt/analysis/seam.h"

namespace onnxtool {
namespace {

ModelComparison one_output(const std::string& name, const Tensor& r, const Tensor& t) {
  ModelComparison c;
  c.samples = 1;
  c.outputs.emplace_back(name, OutputMetrics());
  auto m = compare_sample(view_of(r), view_of(t), {});
  REQUIRE(m.ok());
  c.outputs[0].second.add(0, *std::move(m));
  return c;
}

Verdict verdict_of(const ModelComparison& c, const std::string& gate,
                   DataType type = DataType::kFloat) {
  GateRules rules;
  rules.given.push_back(*parse_gate(gate));
  const auto results = judge(c, rules, {type});
  REQUIRE(results.ok());
  REQUIRE(results->size() == 1);
  return (*results)[0].verdict;
}

TEST_CASE("a gate is split at the last = and the last colon before it") {
  const auto g = parse_gate("model/head:0:a=b:sqnr=-3.5");
  REQUIRE(g.ok());
  CHECK(g->output == "model/head:0:a=b");
  CHECK(g->metric == Metric::kSqnr);
  CHECK(g->limit == -3.5);
  CHECK(parse_gate("accuracy-drop=0.5")->metric == std::nullopt);
  for (const char* text : {"", "=", "sqnr", "sqnr=", "sqnr=x", "sqnr=nan", "sqnr=inf", "=3", "y:=3",
                           "y:accuracy-drop=1", "sqnr=3 "})
    CHECK_MESSAGE(!parse_gate(text).ok(), text);
}

TEST_CASE("a limit is one that the metric can have") {
  for (const char* text : {"argmax=99", "argmax=-0.1", "top-k=1.5", "mismatch=2", "outside=-1",
                           "flips=5", "cosine=2", "cosine=-1.5", "max-abs=-1", "mean-abs=-1e-9",
                           "rmse=-1", "ulp=-1", "kl=-1", "gain=-1", "accuracy-drop=101"})
    CHECK_MESSAGE(!parse_gate(text).ok(), text);
  for (const char* text : {"argmax=0.99", "argmax=1", "cosine=-1", "cosine=1", "sqnr=-5",
                           "psnr=400", "max-abs=0", "gain=3", "accuracy-drop=-2"})
    CHECK_MESSAGE(parse_gate(text).ok(), text);
  CHECK(parse_gate("argmax=99").error().hint == "it is a share of the whole: write 0.99");
}

TEST_CASE("gates name outputs that there are, and metrics that these have") {
  const std::vector<OutputInfo> outputs = {
      {"logits", DataType::kFloat}, {"ids", DataType::kInt64}, {"any", DataType::kUndefined}};
  const auto check = [&](const char* gate) { return check_gates({*parse_gate(gate)}, outputs); };
  for (const char* gate : {"sqnr=3", "logits:sqnr=3", "ids:max-abs=1", "any:sqnr=3"})
    CHECK_MESSAGE(check(gate).ok(), gate);
  CHECK(check("ids:sqnr=3").error().code == ErrorCode::kUsage);
  const Status unknown = check("logit:sqnr=3");
  REQUIRE_FALSE(unknown.ok());
  CHECK(unknown.error().code == ErrorCode::kUsage);
  CHECK(unknown.error().hint == "did you mean 'logits'? outputs are 'logits', 'ids', 'any'");
}

TEST_CASE("every metric can be gated in its direction") {
  const auto c =
      one_output("y", Tensor::vector<float>({1, 2, 3, 4}), Tensor::vector<float>({1, 2, 3, 4.5}));
  for (const Metric m : all_metrics()) {
    const auto v = c.outputs[0].second.value(m);
    if (!v) continue;
    const std::string name(info(m).name);
    CAPTURE(name);
    const bool higher = info(m).higher_is_better;
    const double at = m == Metric::kGain ? std::fabs(*v - 1) : *v;
    const auto gate = [&](double limit) { return name + "=" + std::to_string(limit); };
    CHECK(verdict_of(c, gate(at + (higher ? -0.01 : 0.01))) == Verdict::kPass);
    // Where the limit is one that the metric can reach.
    if (const std::string beyond = gate(at + (higher ? 0.01 : -0.01)); parse_gate(beyond).ok())
      CHECK(verdict_of(c, beyond) == Verdict::kFail);
  }
}

TEST_CASE("an output that no gate is for gets the gate of its type") {
  const auto floats =
      one_output("y", Tensor::vector<float>({1, 2}), Tensor::vector<float>({1, 2.1f}));
  GateRules rules;
  CHECK((*judge(floats, rules, {DataType::kFloat}))[0].gate.text() == "outside=0");
  rules.test = ModelKind::kQuantized;
  CHECK((*judge(floats, rules, {DataType::kFloat}))[0].gate.text() == "sqnr=20");
  rules.band_given = true;
  CHECK((*judge(floats, rules, {DataType::kFloat}))[0].verdict == Verdict::kFail);
  const auto codes =
      one_output("y", Tensor::vector<uint8_t>({1, 2}), Tensor::vector<uint8_t>({1, 3}));
  CHECK((*judge(codes, rules, {DataType::kUint8}))[0].verdict == Verdict::kPass);
  CHECK((*judge(codes, rules, {DataType::kBool}))[0].verdict == Verdict::kFail);
  CHECK(default_band(ModelKind::kFloat, ModelKind::kHalf).atol == 1e-3);
  CHECK(default_gate(DataType::kFloat8E4M3FN, ModelKind::kFloat, ModelKind::kFloat, false).text() ==
        "ulp=1");
  CHECK(default_gate(DataType::kFloat8E4M3FN, ModelKind::kFloat, ModelKind::kFloat, true).text() ==
        "outside=0");
}

TEST_CASE("no gate hides an output that is not there to judge") {
  const float nan = std::nanf("");
  auto c = one_output("y", Tensor::vector<float>({1, 0}), Tensor::vector<float>({nan, nan}));
  const Tensor scores = Tensor::vector<float>({1, 0});
  REQUIRE(c.accuracy.add(0, view_of(scores), view_of(scores), 0).ok());
  GateRules rules;
  rules.given.push_back(*parse_gate("accuracy-drop=0"));
  const auto verdict = [&] {
    Verdict all = Verdict::kPass;
    const auto results = judge(c, rules, {DataType::kFloat});
    for (const GateResult& g : *results) all = combine(all, g.verdict);
    return all;
  };
  CHECK(verdict() == Verdict::kFail);
  c.outputs[0].second = OutputMetrics();
  CHECK(verdict() == Verdict::kNone);
  c.outputs[0].second.add_failure(0, "shape is [3], but [2] in the reference");
  CHECK(verdict() == Verdict::kFail);
  c.outputs = one_output("y", scores, Tensor::vector<float>({9, 0})).outputs;
  CHECK(verdict() == Verdict::kPass);
}

TEST_CASE("a given band judges beside the gates") {
  const auto c = one_output("y", Tensor::vector<float>({1, 2}), Tensor::vector<float>({1, 2.1f}));
  GateRules rules;
  rules.given.push_back(*parse_gate("sqnr=10"));
  CHECK(judge(c, rules, {DataType::kFloat})->size() == 1);
  rules.band_given = true;
  const auto both = judge(c, rules, {DataType::kFloat});
  REQUIRE(both->size() == 2);
  CHECK((*both)[0].verdict == Verdict::kPass);
  CHECK((*both)[1].gate.text() == "outside=0");
  CHECK((*both)[1].verdict == Verdict::kFail);
  rules.given[0] = *parse_gate("outside=0.5");
  CHECK(judge(c, rules, {DataType::kFloat})->size() == 1);
}

TEST_CASE("gates that would judge nothing are refused, comparisons of nothing never pass") {
  const auto codes = one_output("y", Tensor::vector<uint8_t>({1}), Tensor::vector<uint8_t>({1}));
  GateRules rules;
  rules.given.push_back(*parse_gate("sqnr=1"));
  CHECK(judge(codes, rules, {DataType::kUint8}).error().code == ErrorCode::kUsage);
  const auto empty = one_output("y", Tensor::vector<float>({}), Tensor::vector<float>({}));
  CHECK(verdict_of(empty, "max-abs=1") == Verdict::kNone);
  ModelComparison unlabelled = codes;
  CHECK(verdict_of(unlabelled, "accuracy-drop=1", DataType::kUint8) == Verdict::kNone);
}

TEST_CASE("the kind of a model follows its weights and operators") {
  const auto kind = [](const std::string& body) {
    const auto model = parse_text(
        "<ir_version: 8, opset_import: [\"\" : 17]> g (float[2] x) => (float[2] y) " + body);
    REQUIRE(model.ok());
    return kind_of(**model);
  };
  CHECK(kind("{ y = Relu (x) }") == ModelKind::kFloat);
  CHECK(kind("<float16[2] w = {1, 2}> { h = Cast <to = 10> (x)  s = Add (h, w)  y = Cast <to = 1> "
             "(s) }") == ModelKind::kHalf);
  CHECK(kind("<float s = {1.0}, uint8 z = {0}> { q = QuantizeLinear (x, s, z)  y = "
             "DequantizeLinear (q, s, z) }") == ModelKind::kQuantized);
}

}  // namespace
}  // namespace onnxtool
