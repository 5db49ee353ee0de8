// The search for an accuracy target: the layer that is to blame goes back to float, and no other.

#include "quant/accuracy.h"

#include "tests/quant/small_models.h"

namespace onnxtool {
namespace {

using testing::all_layers;
using testing::cpu_run;
using testing::numbers;

// Four products with a Relu between; with one scale a tensor the third suffers from its large
// weight, whose results the Relu takes away.
std::string four_layers() {
  std::string weights = "float[8,8] c = {-300, " + numbers(63, 0.5) + "}";
  std::string body;
  std::string from = "x";
  for (const std::string name : {"a", "b", "c", "d"}) {
    if (name != "c") weights += ", float[8,8] " + name + " = {" + numbers(64, 1) + "}";
    body += " [layer_" + name + "] p" + name + " = MatMul (" + from + ", " + name + ")\n";
    if (name != "d") body += " r" + name + " = Relu (p" + name + ")\n";
    from = "r" + name;
  }
  return "<ir_version: 8, opset_import: [\"\" : 17]> g (float[2,8] x) => (float pd)\n<" + weights +
         "> {\n" + body + "}";
}

// Three products that suffer from a large weight each, one that does less, and five additions,
// which suffer least and are nothing without a product.
std::string products_and_additions() {
  std::string weights = "float[8] k = {" + numbers(8, 0.25) + "}";
  std::string body;
  std::string from = "x";
  for (const std::string name : {"a", "b", "c", "d"}) {
    weights += ", float[8,8] " + name + " = {" + (name == "d" ? "-30, " : "-300, ") +
               numbers(63, 0.5) + "}";
    body += " [layer_" + name + "] p" + name + " = MatMul (" + from + ", " + name + ")\n r" + name +
            " = Relu (p" + name + ")\n";
    from = "r" + name;
    const int additions = name == "d" ? 0 : name == "a" ? 1 : 2;
    for (int i = 0; i < additions; ++i) {
      const std::string to = "s" + name + std::to_string(i);
      body += " " + to + " = Add (" + from + ", k)\n";
      from = to;
    }
  }
  return "<ir_version: 8, opset_import: [\"\" : 17]> g (float[2,8] x) => (float rd)\n<" + weights +
         "> {\n" + body + "}";
}

struct Found {
  AccuracySearch search;
  Quantizer::Output out;
};

// Without rungs layers go back to float at once. What is reported must be what the model does.
struct Ways {
  const Target* runtime = &kOrtCpu;
  int64_t calibrated = 64;
  bool has_rungs = false;
  int* calibrations = nullptr;  // counts them
  std::string model = four_layers();
  int samples = 64;
};

Found reach(AccuracyTarget target, const Ways& ways) {
  QuantizeOptions options = all_layers();
  options.target = ways.runtime;
  options.per_channel = false;
  options.may_leave_in_float = true;
  const std::unique_ptr<Model> original = testing::parse(ways.model);
  REQUIRE(infer_graph(original->graph()).ok());
  const auto samples = testing::random_samples(*original, ways.samples);
  const Remake remake = [&](const QuantizeOptions& o,
                            const Quantizer* calibrated) -> Result<Quantizer> {
    ONNXTOOL_ASSIGN(Quantizer q, Quantizer::create(original->clone(), o));
    if (calibrated && q.use_summaries(calibrated->summaries(), calibrated->extremes()).ok())
      return q;
    if (ways.calibrations) ++*ways.calibrations;
    ONNXTOOL_TRY(q.calibrate(*samples, cpu_run()));
    return q;
  };
  auto quantizer = remake(options, nullptr);
  REQUIRE(quantizer.ok());
  auto out = quantizer->emit(samples.get(), cpu_run());
  REQUIRE(out.ok());
  const RunOptions run = cpu_run();
  auto found = reach_accuracy(
      *quantizer, *out, target,
      {original->graph(), *samples, ways.calibrated, run, ways.has_rungs ? remake : Remake()});
  REQUIRE_MESSAGE(found.ok(), (found.ok() ? "" : found.error().message));
  CHECK(found->runs <= found->budget);
  ComparisonOptions metrics;
  metrics.metrics.kl = true;
  auto compared = compare_models(original->graph(), out->model->graph(), *samples, run, metrics);
  REQUIRE(compared.ok());
  if (found->met) CHECK(accuracy_of(*compared, target) == found->after);
  return {*std::move(found), *std::move(out)};
}

Found search(AccuracyTarget target, int64_t calibrated = 64) {
  return reach(target, {.calibrated = calibrated});
}

TEST_CASE("accuracy target: the layer to blame, within the budget") {
  const Found none = search({AccuracyTarget::Kind::kSqnr, -50});
  CHECK(none.search.met);
  CHECK(none.search.in_float.empty());
  CHECK(none.search.trials.size() == 1);

  const double needed = none.search.before + 3;
  const Found one = search({AccuracyTarget::Kind::kSqnr, needed});
  REQUIRE(one.search.met);
  CHECK(one.search.after >= needed);
  REQUIRE(one.search.in_float.size() == 1);
  CHECK(one.search.in_float[0].layer == "layer_c");
  CHECK(one.search.runs <= one.search.budget);
  CHECK(one.out.model->graph().find("a_quantized"));
  CHECK_FALSE(one.out.model->graph().find("c_quantized"));
}

TEST_CASE("accuracy target: out of reach, and by other metrics") {
  const Found never = search({AccuracyTarget::Kind::kSqnr, 200});
  CHECK_FALSE(never.search.met);
  CHECK(never.search.runs <= never.search.budget);
  CHECK(never.search.after < 200);
  const Found kl = search({AccuracyTarget::Kind::kKl, 1e-3});
  CHECK(kl.search.before > 1e-3);
  REQUIRE(kl.search.met);
  CHECK(kl.search.after <= 1e-3);
  // Without calibration to compare with there is little to spend.
  const Found poor = search({AccuracyTarget::Kind::kSqnr, 200}, 0);
  CHECK_FALSE(poor.search.met);
}

// The same with rungs before float.
Found climb(AccuracyTarget target, const Target& runtime, int* calibrations = nullptr) {
  return reach(target, {&runtime, 256, true, calibrations});
}

TEST_CASE("accuracy target: scales per channel before layers in float") {
  const double before = search({AccuracyTarget::Kind::kSqnr, -50}).search.before;
  const Found found = climb({AccuracyTarget::Kind::kSqnr, before + 3}, kOrtCpu);
  REQUIRE(found.search.met);
  CHECK(found.search.in_float.empty());
  REQUIRE(!found.search.rungs.empty());
  const AccuracyRung& kept = found.search.rungs.back();
  CHECK(kept.setting == "weights");
  CHECK(kept.kept);
  CHECK(kept.after > kept.before);
  const auto scales = [&](const char* name) {
    const Value* v = found.out.model->graph().find(name);
    REQUIRE(v != nullptr);
    return v->constant()->count();
  };
  // The layer that needs them, and no other.
  REQUIRE(kept.layers.size() == 1);
  CHECK(kept.layers[0].layer == "layer_c");
  CHECK(scales("c_scale") == 8);
  CHECK(scales("a_scale") == 1);
}

TEST_CASE("accuracy target: what only the float model meets is missed, and says what ended it") {
  const Found found = search({AccuracyTarget::Kind::kSqnr, 400});
  CHECK_FALSE(found.search.met);
  CHECK(found.search.after < 400);
  CHECK_FALSE(found.search.cut_off);
  const Ways poor{.calibrated = 0, .samples = 8};
  CHECK(reach({AccuracyTarget::Kind::kSqnr, 60}, poor).search.cut_off);
}

TEST_CASE("accuracy target: what leaves nothing on integers is no reason to look further") {
  Ways ways{.calibrated = 2000, .model = products_and_additions()};
  const Found never = reach({AccuracyTarget::Kind::kSqnr, 400}, ways);
  CHECK_FALSE(never.search.met);
  CHECK_FALSE(never.search.cut_off);
  REQUIRE(never.search.in_float.size() == 3);
  for (const RankedLayer& l : never.search.in_float) CHECK(l.op == "MatMul");
  for (const AccuracyTrial& t : never.search.trials) CHECK(t.layers_in_float <= 3);
  // What three reach is found, though four are nothing.
  const double three = never.search.after;
  const Found found = reach({AccuracyTarget::Kind::kSqnr, three - 0.1}, ways);
  CHECK(found.search.met);
  CHECK(found.search.in_float.size() == 3);
}

TEST_CASE("accuracy target: what few samples say of all") {
  const AccuracyTarget sqnr{AccuracyTarget::Kind::kSqnr, 0}, kl{AccuracyTarget::Kind::kKl, 0},
      drop{AccuracyTarget::Kind::kDrop, 0};
  CHECK(carried_over(33, {30, 28}, sqnr) == 31);
  CHECK(carried_over(0.25, {0.5, 0.125}, kl) == 0.0625);
  CHECK(carried_over(0.5, {1, 2}, drop) == 0.5);
  // Another model that says nothing.
  CHECK(carried_over(33, {INFINITY, 28}, sqnr) == 33);
  CHECK(carried_over(0.25, {0, 0.125}, kl) == 0.25);
  CHECK(carried_over(33, {std::nan(""), 28}, sqnr) == 33);
}

TEST_CASE(
    "accuracy target: 16-bit activations where the target has them, without calibrating again") {
  int calibrations = 0;
  const double channels =
      climb({AccuracyTarget::Kind::kSqnr, 200}, kOrtCpu).search.rungs.back().after;
  const AccuracyTarget target{AccuracyTarget::Kind::kSqnr, channels + 2};
  const Found found = climb(target, kPortable, &calibrations);
  REQUIRE(found.search.met);
  REQUIRE(!found.search.rungs.empty());
  CHECK(found.search.rungs.back().setting == "activation-type");
  CHECK(found.search.rungs.back().kept);
  CHECK(found.out.model->opset("") == 21);
  CHECK(calibrations <= 3);
  for (const AccuracyRung& r : climb(target, kOrtCpu).search.rungs)
    CHECK(r.setting != "activation-type");
}

TEST_CASE(
    "accuracy target: outputs without floats or of the data's own size are not held against it") {
  QuantizeOptions options = all_layers();
  options.calibrator.automatic = true;
  options.quantize_outputs = true;
  const auto q = testing::quantize(
      "<ir_version: 8, opset_import: [\"\" : 17]> g (float[2,8] x) => (float y, int64 best, int64 "
      "where) "
      "<float[8,8] w = {" +
          numbers(64) +
          "}> { y = MatMul (x, w) best = ArgMax <axis = 1> (y) p = Relu (y) "
          "where = NonZero (p) }",
      options);
  REQUIRE(q.output.trials.size() == 4);
  for (const CalibratorTrial& t : q.output.trials) CHECK(t.sqnr_db > 20);
}

TEST_CASE("accuracy target: what is no target") {
  const auto t = parse_accuracy_target("sqnr=-3.5");
  REQUIRE(t.ok());
  CHECK(t->kind == AccuracyTarget::Kind::kSqnr);
  CHECK(t->limit == -3.5);
  CHECK(parse_accuracy_target("kl=0.01")->kind == AccuracyTarget::Kind::kKl);
  CHECK(parse_accuracy_target("drop=0.5")->kind == AccuracyTarget::Kind::kDrop);
  for (const char* wrong :
       {"", "sqnr", "sqnr=", "sqnr=x", "sqnr=35x", "sqnr=nan", "top1=3", "kl=-1", "drop=-1", "=3"})
    CHECK_FALSE(parse_accuracy_target(wrong).ok());
  // NaN meets nothing.
  CHECK_FALSE(t->met(std::nan("")));
  CHECK_FALSE(parse_accuracy_target("kl=1")->met(std::nan("")));
}

}  // namespace
}  // namespace onnxtool
