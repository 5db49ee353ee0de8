// Overrides: what is read, what is refused, and what each key does to a model.

#include "quant/overrides.h"

#include "tests/quant/small_models.h"

namespace onnxtool {
namespace {

using testing::all_layers;
using testing::numbers;
using testing::quantize;

// Two products with a Relu between; per-channel scales in both.
std::string two_layers() {
  return "<ir_version: 8, opset_import: [\"\" : 17]> g (float[2,8] x) => (float y)\n<float[8,4] w "
         "= {" +
         numbers(32) + "}, float[4,4] v = {" + numbers(16, 3) +
         "}> {\n [first] a = MatMul (x, w)\n r = Relu (a)\n [second] b = MatMul (r, v)\n y = "
         "Sigmoid (b) }";
}

// With the model, whose nodes the decisions are about.
auto quantized(std::vector<std::string> overrides, bool per_channel = true) {
  QuantizeOptions options = all_layers();
  options.per_channel = per_channel;
  auto parsed = Overrides::parse(overrides);
  REQUIRE_MESSAGE(parsed.ok(), (parsed.ok() ? "" : parsed.error().message));
  options.overrides = *std::move(parsed);
  return quantize(two_layers(), options);
}

Quantizer::Output with(std::vector<std::string> overrides, bool per_channel = true) {
  return quantized(std::move(overrides), per_channel).output;
}

const Tensor& tensor(const Quantizer::Output& out, const std::string& name) {
  const Value* v = out.model->graph().find(name);
  REQUIRE_MESSAGE(v, name);
  REQUIRE(v->constant());
  return *v->constant();
}

TEST_CASE("overrides: weights of one layer") {
  const auto plain = with({});
  CHECK(tensor(plain, "w_scale").count() == 4);
  CHECK(tensor(plain, "v_scale").count() == 4);
  const auto coarse = with({"name:second:weights=per-tensor"});
  CHECK(tensor(coarse, "w_scale").count() == 4);
  CHECK(tensor(coarse, "v_scale").count() == 1);
  const auto fine = with({"tensor:a:weights=per-channel"}, /*per_channel=*/false);
  CHECK(tensor(fine, "w_scale").count() == 4);
  CHECK(tensor(fine, "v_scale").count() == 1);
  const auto u8 = with({"name:first:weight-type=u8"});
  CHECK(tensor(u8, "w_quantized").dtype() == DataType::kUint8);
  CHECK(tensor(u8, "v_quantized").dtype() == DataType::kInt8);
}

TEST_CASE("overrides: ranges of one tensor, the later wish wins") {
  const auto range_of = [](const Quantizer::Output& out, const std::string& name) {
    for (const CalibratedTensor& t : out.tensors)
      if (t.name == name) return t.range;
    FAIL("no tensor " << name);
    return Range{};
  };
  const Range seen = range_of(with({}), "r");
  CHECK(seen.max > 0);
  CHECK(range_of(with({"tensor:r:range=-1,0.5"}), "r") == Range{0, 0.5});  // behind a Relu
  CHECK(range_of(with({"tensor:x:range=-1,0.5"}), "x") == Range{-1, 0.5});
  CHECK(range_of(with({"name:first:range=0,0.25"}), "r") == Range{0, 0.25});  // its result
  CHECK(range_of(with({"tensor:r:range=0,1", "op:Relu:range=0,2"}), "r") == Range{0, 2});
  CHECK(range_of(with({"tensor:x:percentile=50"}), "x").max < range_of(with({}), "x").max);
  CHECK(range_of(with({"tensor:x:percentile=50"}), "r") == seen);
  CHECK(range_of(with({"tensor:x:calibrator=moving-average"}), "x").max <
        range_of(with({}), "x").max);
  const auto symmetric = with({"tensor:x:symmetric=yes"});
  CHECK(tensor(symmetric, "x_zero_point").to_ints()[0] == 128);
  CHECK(tensor(with({}), "x_zero_point").to_ints()[0] != 128);
}

TEST_CASE("overrides: the type of one activation, for which the opset is raised") {
  QuantizeOptions options = all_layers();
  options.target = &kPortable;
  options.overrides = *Overrides::parse({"name:first:activation-type=u16"});
  const auto wide = quantize(two_layers(), options);
  CHECK(wide.output.model->opset("") == 21);
  CHECK(tensor(wide.output, "r_zero_point").dtype() == DataType::kUint16);
  CHECK(tensor(wide.output, "x_zero_point").dtype() == DataType::kUint8);
  options.overrides = {};
  const auto narrow = quantize(two_layers(), options);
  CHECK(tensor(narrow.output, "r_zero_point").dtype() == DataType::kUint8);
  CHECK(wide.sqnr_db > narrow.sqnr_db);
}

TEST_CASE("overrides: type=float leaves a layer in float, after everything was calibrated") {
  const auto all = quantized({"name:second:type=float"});
  const auto& out = all.output;
  CHECK_FALSE(out.model->graph().find("v_quantized"));
  CHECK(out.model->graph().find("w_quantized"));
  bool found = false;
  for (const NodeDecision& d : out.decisions)
    if (d.node->name() == "second") {
      found = true;
      CHECK_FALSE(d.integer);
      CHECK(std::string(d.reason) == "left in float for accuracy");
    }
  CHECK(found);
}

TEST_CASE("overrides: what they refuse") {
  const auto refused = [](const std::string& text) {
    const auto r = Overrides::parse({text});
    REQUIRE_FALSE(r.ok());
    CHECK(r.error().code == ErrorCode::kUsage);
    return r.error().message;
  };
  CHECK(refused("op:Conv") == "--override op:Conv: expected SELECTOR:KEY=VALUE");
  CHECK(refused("op=Conv") == "--override op=Conv: expected SELECTOR:KEY=VALUE");
  CHECK(refused("op:Conv:best=1") == "--override op:Conv:best=1: 'best' is no key");
  CHECK(refused("Conv:type=float").find("is not of the form") != std::string::npos);
  CHECK(refused("op:Conv:type=u8") ==
        "--override op:Conv:type=u8: 'u8' is no value of type, expected float");
  for (const char* wrong :
       {"weights=no", "weight-type=s16", "activation-type=s4", "calibrator=auto", "percentile=0",
        "percentile=x", "percentile=101", "range=1", "range=1,2", "range=-2,-1", "range=0,0",
        "range=-1,nan", "symmetric=1"})
    CHECK(refused(std::string("op:Conv:") + wrong).find("is no value of") != std::string::npos);
  const auto none = Overrides::parse({"name:third:type=float"});
  REQUIRE(none.ok());
  CHECK(none->check(*testing::parse(two_layers())).error().message ==
        "--override name:third:type=float: selector 'name:third' matches no node");
}

}  // namespace
}  // namespace onnxtool
