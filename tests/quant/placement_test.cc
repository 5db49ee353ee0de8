// Which nodes run on integers, and why the others do not.

#include "quant/placement.h"

#include "tests/quant/small_models.h"

namespace onnxtool {
namespace {

using testing::all_layers;
using testing::decide;
using testing::numbers;
using testing::parse;

// A graph around `body`: x [1, 4, 8, 8] through the 1x1 convolution `c`, then what the body makes
// of it.
std::string image_model(const std::string& body, const std::string& outputs = "float y",
                        int opset = 13, const std::string& constants = "") {
  return "<ir_version: 8, opset_import: [\"\" : " + std::to_string(opset) +
         "]> g (float[1,4,8,8] x) => (" + outputs + ") <float[4,4,1,1] w = {" + numbers(16) +
         "}, float[4,4,1,1] v = {" + numbers(16, 0.5) + "}, float[4] b = {0.1, -0.2, 0.3, 0.4}" +
         constants + "> { c = Conv (x, w, b) " + body + " }";
}

TEST_CASE("placement: convolutions fuse with the activation behind them") {
  const auto d = decide(image_model("r = Relu (c) y = Conv (r, v)"));
  CHECK(d.at("c").kernel == "QLinearConv");
  CHECK(d.at("r").kernel == "absorbed");
  CHECK(d.at("y").kernel == "QLinearConv");
}

TEST_CASE("placement: Clip is absorbed where its bounds are constant and hold zero") {
  const auto with = [](const std::string& low) {
    return decide(image_model("r = Clip (c, low, high) y = Conv (r, v)", "float y", 13,
                              ", float low = {" + low + "}, float high = {6.0}"));
  };
  CHECK(with("0.0").at("r").kernel == "absorbed");
  CHECK(with("-1.0").at("r").kernel == "absorbed");
  CHECK(with("0.5").at("r").reason == "no integer form");
}

TEST_CASE("placement: operators between layers, each by its kernel") {
  const std::map<std::string, std::string> kernels = {
      {"t = Add (c, c)", "QLinearAdd"},
      {"t = Mul (c, c)", "QLinearMul"},
      {"t = Sigmoid (c)", "QLinearSigmoid"},
      {"t = LeakyRelu (c)", "QLinearLeakyRelu"},
      {"t = Softmax <axis = 1> (c)", "QLinearSoftmax"},
      {"t = Where (which, c, c)", "QLinearWhere"},
      {"t = Where (which, c, half)", "QLinearWhere"},
      {"t = AveragePool <kernel_shape = [2, 2]> (c)", "QLinearAveragePool"},
      {"t = GlobalAveragePool (c)", "QLinearGlobalAveragePool"},
      {"t = MaxPool <kernel_shape = [2, 2]> (c)", "on integers"},
      {"t = Transpose <perm = [0, 1, 3, 2]> (c)", "on integers"},
      {"t = Resize <mode = \"nearest\"> (c, , scales)", "on integers"},
  };
  for (const auto& [op, kernel] : kernels) {
    INFO(op);
    const auto d = decide(image_model(op + " y = Conv (t, v)", "float y", 13,
                                      ", float[4] scales = {1.0, 1.0, 2.0, 2.0}, float half = "
                                      "{0.5}, bool[4,1,1] which = {1, 0, 0, 1}"));
    CHECK(d.at("t").kernel == kernel);
    CHECK(d.at("y").kernel == "QLinearConv");
  }
}

TEST_CASE("placement: why operators stay in float") {
  struct Case {
    std::string body, node, reason;
    int opset = 13;
  };
  const Case cases[] = {
      {"t = Tanh (c) y = Conv (t, v)", "t", "no integer form"},
      {"t = Resize <mode = \"linear\"> (c, , scales) y = Conv (t, v)", "t",
       "only nearest Resize runs on integers"},
      {"t = ConvTranspose (c, v) y = Conv (t, v)", "t", "the target never runs it on integers"},
      {"t, i = MaxPool <kernel_shape = [2, 2]> (c) y = Conv (t, v)", "t",
       "the indices output keeps MaxPool in float"},
      {"t = Tanh (c) a = Add (c, t) y = Conv (a, v)", "a", "an input comes from a float operator"},
      {"t = Where (which, c, shut) y = Conv (t, v)", "t",
       "one side is a mask, whose value would take all of the range"},
      {"a = Add (c, c) y = Tanh (a)", "a", "nothing that runs on integers reads it"},
      {"y = Sigmoid (c)", "y", "is a graph output, where floats cost nothing"},
  };
  for (const Case& c : cases) {
    INFO(c.body);
    CHECK(decide(image_model(c.body, "float y", c.opset,
                             ", float[4] scales = {1.0, 1.0, 2.0, 2.0}, float shut = {-1e9}, "
                             "bool[4,1,1] which = {1, 0, 0, 1}"))
              .at(c.node)
              .reason == c.reason);
  }
}

TEST_CASE("placement: a pool that the target would miscount is kept from between DQ and Q") {
  const std::string pool =
      "AveragePool <kernel_shape = [3, 3], strides = [2, 2], ceil_mode = 1, count_include_pad = "
      "1, ";
  const auto d = decide(image_model("t = " + pool + "pads = [1, 1, 1, 1]> (c) y = Conv (t, v)"));
  CHECK(d.at("t").reason == "QLinearAveragePool miscounts padding under ceil_mode");
  CHECK(d.at("c").kernel.empty());
  CHECK(d.at("y").kernel == "QLinearConv");
  const auto moved = decide(image_model("m = Transpose <perm = [0, 1, 3, 2]> (c) t = " + pool +
                                        "pads = [1, 1, 1, 1]> (m) y = Conv (t, v)"));
  CHECK(moved.at("c").kernel.empty());
  const auto last = decide(image_model("y = " + pool + "pads = [1, 1, 1, 1]> (c)"));
  CHECK(last.at("c").kernel == "QLinearConv");
  CHECK(decide(image_model("t = " + pool + "pads = [0, 0, 0, 0]> (c) y = Conv (t, v)"))
            .at("t")
            .kernel == "QLinearAveragePool");
}

TEST_CASE("placement: onnxruntime loads no AveragePool with dilations between DQ and Q") {
  const auto pool = [](const std::string& dilations) {
    return image_model("t = AveragePool <kernel_shape = [2, 2], dilations = " + dilations +
                           "> (c) y = Conv (t, v)",
                       "float y", 19);
  };
  QuantizeOptions without = all_layers();
  without.exclude = *Selector::parse({"op:AveragePool"});
  QuantizeOptions portable = all_layers(), openvino = all_layers();
  portable.target = &kPortable;
  openvino.target = &kOpenVino;
  for (const QuantizeOptions& options : {all_layers(), without, portable, openvino}) {
    const auto d = decide(pool("[2, 2]"), options);
    CHECK(d.at("c").kernel.empty());
    CHECK(d.at("t").kernel.empty());
    CHECK(!d.at("y").kernel.empty());
  }
  // The neutral ones are dropped.
  CHECK(decide(pool("[1, 1]")).at("t").kernel == "QLinearAveragePool");
  for (const bool compat : {false, true}) {
    QuantizeOptions options = all_layers();
    options.ort_compat = compat;
    const auto neutral = Quantizer::create(parse(pool("[1, 1]")), options);
    REQUIRE(neutral.ok());
    for (const Node& n : neutral->prepared().graph().nodes()) CHECK(!n.attribute("dilations"));
  }
}

TEST_CASE("placement: a Sum of two is an Add where that runs on integers, else it stays") {
  const std::string text = image_model("a = Conv (c, v) s = Sum (a, c) y = Conv (s, w)");
  CHECK(decide(text).at("s").kernel == "QLinearAdd");
  const testing::Quantized q = testing::quantize(text);
  CHECK(q.count("Add") == 1);
  CHECK(q.count("Sum") == 0);
  CHECK(q.sqnr_db > 30);
  // Runtimes fuse an Add with the normalization behind it, and so the file has none.
  const testing::Quantized floats =
      testing::quantize(image_model("a = Conv (c, v) s = Sum (a, c) y = Tanh (s)"));
  CHECK(floats.count("Add") == 0);
  CHECK(floats.count("Sum") == 1);
  // What is named is left alone.
  QuantizeOptions options = all_layers();
  options.exclude = *Selection::parse({"op:Sum"});
  CHECK(testing::quantize(text, options).count("Sum") == 1);
  options = all_layers();
  options.exclude = {};
  options.overrides = *Overrides::parse({"tensor:s:percentile=99.9"});
  CHECK(testing::quantize(text, options).count("Sum") == 0);
  options.overrides = *Overrides::parse({"tensor:s:type=float"});
  CHECK(testing::quantize(text, options).count("Sum") == 1);
  options.overrides = *Overrides::parse({"op:Sum:type=float"});
  CHECK(testing::quantize(text, options).count("Sum") == 1);
}

// A Where whose condition changes from element to element costs more on integers than Q and DQ.
TEST_CASE("placement: a Where runs on integers where that is no slower") {
  const auto with = [](const std::string& condition) {
    return decide("<ir_version: 8, opset_import: [\"\" : 13]> g (float[1,32,28,28] x, bool[" +
                      condition + "] which) => (float y) <float[32,32,3,3] w = {" + numbers(9216) +
                      "}, float half = {0.5}> { c = Conv <pads = [1, 1, 1, 1]> (x, w) "
                      "t = Where (which, c, half) y = Conv <pads = [1, 1, 1, 1]> (t, w) }",
                  QuantizeOptions{});
  };
  CHECK(with("1,32,1,1").at("t").kernel == "QLinearWhere");
  CHECK(with("1,32,28,28").at("t").reason == kNoGain);
  CHECK(with("1,32,28,28").at("c").kernel == "QLinearConv");
}

TEST_CASE("placement: weights that are no constants, and selections") {
  const std::string text =
      "<ir_version: 8, opset_import: [\"\" : 13]> g (float[2,4] x, float[4,4] other) => (float y) "
      "<float[4,4] w = {" +
      numbers(16) + "}> { a = Gemm (x, w) b = Gemm (a, other) y = Gemm (b, w) }";
  CHECK(decide(text).at("a").kernel == "QGemm");
  CHECK(decide(text).at("b").reason == "the weight is a graph input that callers may override");
  QuantizeOptions options = all_layers();
  options.exclude = *Selector::parse({"op:Gemm"});
  const auto nothing = Quantizer::create(parse(text), options);
  REQUIRE(!nothing.ok());
  CHECK(nothing.error().code == ErrorCode::kNegative);
  CHECK(nothing.error().message == "nothing is worth quantizing: 3 x Gemm: excluded");
}

// Scores [2, 4, 4] between two products, with what stands before the Softmax.
std::string attention(const std::string& between, const std::string& constants) {
  return "<ir_version: 8, opset_import: [\"\" : 13]> g (float[2,4,8] x, bool[2,4,4] keep) => "
         "(float y) "
         "<float[8,8] w = {" +
         numbers(64) + "}" + constants +
         "> { q = MatMul (x, w) k = Transpose <perm = [0, 2, 1]> (q) s = MatMul (q, k) " + between +
         " p = Softmax <axis = -1> (m) o = MatMul (p, q) y = MatMul (o, w) }";
}

TEST_CASE("placement: what lies between an attention mask and its Softmax stays float") {
  const auto where = decide(attention("m = Where (keep, s, low)", ", float low = {-3.4e38}"));
  CHECK(where.at("m").reason == "lies between an attention mask and its Softmax");
  CHECK(where.at("p").reason == "lies between an attention mask and its Softmax");
  CHECK(where.at("s").kernel == "MatMulIntegerToFloat");
  CHECK(where.at("y").kernel == "MatMulIntegerToFloat");
  const auto masked =
      decide(attention("m = Add (s, mask)", ", float[4] mask = {0.0, 0.0, 0.0, -10000.0}"));
  CHECK(masked.at("m").reason == "lies between an attention mask and its Softmax");
  // A bias is no mask.
  const auto biased =
      decide(attention("m = Add (s, bias)", ", float[4] bias = {0.5, 0.0, 0.1, -1.0}"));
  CHECK(biased.at("m").kernel == "QLinearAdd");
  CHECK(biased.at("p").kernel == "QLinearSoftmax");
}

TEST_CASE("placement: ort-compat has masks put on by constants and inputs, not by layers") {
  QuantizeOptions options = all_layers();
  options.include = {};
  options.ort_compat = options.quantize_outputs = true;
  const auto is_masked = [&](const std::string& between, const std::string& constants) {
    return decide(attention(between, constants), options).at("p").reason ==
           "lies between an attention mask and its Softmax";
  };
  const std::string low = ", float low = {-3.4e38}, float half = {0.5}";
  CHECK(is_masked("m = Where (keep, s, low)", low));
  CHECK(is_masked("m = Where (keep, low, s)", low));
  CHECK(!is_masked("m = Where (keep, s, half)", low));
  CHECK(!is_masked("r = MatMul (k, q) t = MatMul (q, k) m = Where (keep, s, t)", ""));
  CHECK(!is_masked("t = MatMul (q, k) m = Add (s, t)", ""));
  CHECK(is_masked("e = Expand (low, size) m = Where (keep, s, e)",
                  low + ", int64[3] size = {2, 4, 4}"));
  CHECK(!is_masked("r = Clip (s, low) m = Where (keep, s, r)", low));
  // What depends on an input that layers read, and what on none.
  CHECK(!is_masked("f = ReduceMean <axes = [2]> (x) m = Add (s, f)", ""));
  CHECK(!is_masked("f = Gather (table, row) m = Add (s, f)",
                   ", float[3,4] table = {" + numbers(12) + "}, int64 row = {1}"));
  CHECK(is_masked("f = Cast <to = 1> (keep) m = Add (s, f)", ""));
  CHECK(is_masked("f = Cast <to = 1> (keep) g = Mul (f, low) m = Add (s, g)", low));
  // What a layer decides, and a constant shuts out.
  CHECK(is_masked("h = Greater (s, half) f = Cast <to = 1> (h) g = Mul (f, low) m = Add (s, g)",
                  low));
}

TEST_CASE("placement: ort-compat gives results of Softmax [0, 1], behind a mask as well") {
  QuantizeOptions options = all_layers();
  options.include = {};
  options.ort_compat = options.quantize_outputs = true;
  const std::string text = attention("m = Where (keep, s, low)", ", float low = {-3.4e38}");
  const auto unit_range = [&] {
    const auto quantizer = Quantizer::create(parse(text), options);
    REQUIRE(quantizer.ok());
    const auto& tensors = quantizer->placement().tensors;
    const auto p =
        std::ranges::find(tensors, "p", [](const QuantizedTensor& t) { return t.value->name(); });
    REQUIRE(p != tensors.end());
    return p->unit_range;
  };
  CHECK(unit_range());
  options.exclude = *Selector::parse({"op:Softmax"});
  CHECK(!unit_range());
}

TEST_CASE(
    "placement: ort-compat in QOperator form pools what was quantized, past what stays float") {
  QuantizeOptions options = all_layers();
  options.include = {};
  options.ort_compat = options.quantize_outputs = true;
  options.form = Form::kQOperator;
  const auto pool = [&](const std::string& before) {
    return decide(image_model(before + " p = GlobalAveragePool (s) y = Add (p, c)"), options)
        .at("p")
        .reason;
  };
  CHECK(pool("s = Sin (c)") == "an input comes from a float operator");
  // c has other readers, so that the Relu stays.
  CHECK(pool("s = Relu (c)") == "");
  CHECK(pool("q = Sin (c) s = Relu (q)") == "an input comes from a float operator");
}

TEST_CASE("placement: products give floats where nothing wants their integers") {
  const std::string text =
      "<ir_version: 8, opset_import: [\"\" : 13]> g (float[2,4] x) => (float[2,4] y) <float[4,4] w "
      "= {" +
      numbers(16) + "}> { a = MatMul (x, w) y = MatMul (a, w) }";
  CHECK(decide(text).at("a").kernel == "QLinearMatMul");
  CHECK(decide(text).at("y").kernel == "MatMulIntegerToFloat");
  QuantizeOptions options = all_layers();
  options.quantize_outputs = true;
  CHECK(decide(text, options).at("y").kernel == "QLinearMatMul");
}

// Two products of which one has few rows.
std::string two_sizes(const std::string& few) {
  return "<ir_version: 8, opset_import: [\"\" : 13]> g (float[" + few +
         ",64] x, float[256,64] z) => (float y, float u) <float[64,64] w = {" + numbers(4096) +
         "}> { y = MatMul (x, w) u = MatMul (z, w) }";
}

TEST_CASE("placement: layers too small to win stay float, whatever extents the samples have") {
  QuantizeOptions options = all_layers();
  options.include = {};
  const auto small = decide(two_sizes("1"), options);
  CHECK(small.at("y").reason == "would not run faster on integers");
  CHECK(small.at("u").kernel == "MatMulIntegerToFloat");
  CHECK(decide(two_sizes("256"), options).at("y").kernel == "MatMulIntegerToFloat");
  CHECK(decide(two_sizes("rows"), options).at("y").reason == "would not run faster on integers");
  options.input_shapes["x"] = {256, 64};
  CHECK(decide(two_sizes("rows"), options).at("y").kernel == "MatMulIntegerToFloat");
}

TEST_CASE("placement: what loses a little stays float beside what gains, and is taken alone") {
  QuantizeOptions options = all_layers();
  options.include = {};
  const auto model = [](const std::string& large, const std::string& output) {
    return "<ir_version: 8, opset_import: [\"\" : 13]> g (float[32,64] x, float[32,64] u) => "
           "(float y" +
           output + ") <float[64,64] w = {" + numbers(4096) + "}, float[64,512] l = {" +
           numbers(32768, 0.1) + "}> { y = MatMul (x, w) " + large + " }";
  };
  CHECK(decide(model("", ""), options).at("y").kernel == "MatMulIntegerToFloat");
  const auto beside = decide(model("z = MatMul (u, l)", ", float z"), options);
  CHECK(beside.at("z").kernel == "MatMulIntegerToFloat");
  CHECK(beside.at("y").reason == "would not run faster on integers");
}

// One head of attention over 64 rows of 64, beside a product that is large enough.
std::string attention(const std::string& scores) {
  std::string weights;
  for (const char* w : {"wq", "wk", "wv"})
    weights += (weights.empty() ? "" : ", ") + ("float[64,64] " + std::string(w)) + " = {" +
               numbers(4096, 0.1) + "}";
  return "<ir_version: 8, opset_import: [\"\" : 13]> g (float[1,64,64] x, float[1,1,64] mask) => "
         "(float y, float z) <" +
         weights + ", float[64,512] large = {" + numbers(32768, 0.1) +
         "}, float eight = {8.0}> { z = MatMul (x, large) q = MatMul (x, wq) k = MatMul (x, wk) v "
         "= MatMul (x, wv) "
         "t = Transpose <perm = [0, 2, 1]> (k) s = MatMul (q, t) d = Div (s, eight) " +
         scores + " y = MatMul (p, v) }";
}

TEST_CASE("placement: a small attention that the runtime fuses in float stays there as a whole") {
  QuantizeOptions options = all_layers();
  options.include = {};
  const auto fused = decide(attention("m = Add (d, mask) p = Softmax <axis = -1> (m)"), options);
  const auto apart = decide(attention("p = Softmax <axis = -1> (d)"), options);
  for (const char* product : {"q", "k", "v"}) {
    INFO(product);
    CHECK(fused.at(product).reason == "would not run faster on integers");
    CHECK(apart.at(product).reason == "");
  }
}

// Convolutions of one pixel between operators that stay in float, 8 by 8 pixels.
std::string pointwise(int channels, const std::string& layers) {
  const std::string c = std::to_string(channels);
  return "<ir_version: 8, opset_import: [\"\" : 13]> g (float[1," + c +
         ",8,8] x) => (float y) <float[" + c + "," + c + ",1,1] w = {" +
         numbers(channels * channels, 0.1) + "}> { a = Sqrt (x) c = Conv (a, w) " + layers + " }";
}

TEST_CASE("placement: Q, DQ and what changes the layout around them count") {
  QuantizeOptions options = all_layers();
  options.include = {};
  const auto alone = [&](int channels) {
    const auto made = Quantizer::create(parse(pointwise(channels, "y = Sqrt (c)")), options);
    return made.ok();
  };
  CHECK(!alone(64));
  CHECK(alone(256));
}

TEST_CASE("placement: x * Sigmoid(x) is one node in float and two on integers") {
  QuantizeOptions options = all_layers();
  options.include = {};
  const auto between = [&](const std::string& middle) {
    const auto made =
        Quantizer::create(parse(pointwise(64, middle + " d = Conv (m, w) y = Sqrt (d)")), options);
    return made.ok();
  };
  CHECK(between("m = Relu (c)"));
  CHECK(!between("s = Sigmoid (c) m = Mul (c, s)"));
}

TEST_CASE("placement: a Gemm that makes an output of the graph is weighed, too") {
  QuantizeOptions options = all_layers();
  options.include = {};
  CHECK(decide("<ir_version: 8, opset_import: [\"\" : 13]> g (float[64,256] x) => (float y) "
               "<float[256,256] w = {" +
                   numbers(65536) + "}> { y = Gemm (x, w) }",
               options)
            .at("y")
            .reason == "");
}

TEST_CASE("placement: ort-compat takes all arithmetic, and moves what was quantized before") {
  QuantizeOptions options = all_layers();
  options.include = {};
  options.ort_compat = options.quantize_outputs = true;
  CHECK(decide(image_model("y = Add (c, c)"), options).at("y").kernel == "QLinearAdd");
  CHECK(decide(image_model("y = Add (c, c)")).at("y").reason ==
        "is a graph output, where floats cost nothing");
  // Nobody quantizes x before its Transpose.
  const std::string moved =
      image_model("t = Transpose <perm = [0, 1, 3, 2]> (x) d = Conv (t, v) y = Add (c, d)");
  CHECK(decide(moved, options).at("t").reason == "");
  const std::string first =
      "<ir_version: 8, opset_import: [\"\" : 13]> g (float[1,4,8,8] x) => (float y) "
      "<float[4,4,1,1] "
      "v = {" +
      numbers(16) + "}> { t = Transpose <perm = [0, 1, 3, 2]> (x) y = Conv (t, v) }";
  CHECK(decide(first, options).at("t").reason == "an input comes from a float operator");
  CHECK(decide(first).at("t").reason == "");
}

TEST_CASE("placement: ort-compat gives a Relu behind a Reshape no Q of the Reshape's scale") {
  QuantizeOptions options = all_layers();
  options.include = {};
  options.ort_compat = options.quantize_outputs = true;
  const std::string text =
      "<ir_version: 8, opset_import: [\"\" : 13]> g (float[4,4] x) => (float y) <float[4,4] w = {" +
      numbers(16) +
      "}, float[4] b = {0.1, 0.2, 0.3, 0.4}, int64[3] s = {2, 2, 4}> "
      "{ a = Gemm (x, w, b) r = Reshape (a, s) t = Relu (r) y = MatMul (t, w) }";
  CHECK(decide(text, options).at("t").kernel == "absorbed");
  const auto quantizer = Quantizer::create(parse(text), options);
  REQUIRE(quantizer.ok());
  std::map<std::string, std::string> owners;
  for (const QuantizedTensor& t : quantizer->placement().tensors)
    owners[t.value->name()] = t.range_owner->name();
  CHECK(owners ==
        std::map<std::string, std::string>{{"x", "x"}, {"a", "a"}, {"t", "t"}, {"y", "y"}});
}

TEST_CASE("placement: what the target does not fuse with s8 stays in float, unless it is named") {
  // Two layers read c, whose codes stay s8 then.
  const std::string text = image_model("d = Conv (c, v) e = Conv (c, w) y = Add (d, e)");
  QuantizeOptions options = all_layers();
  options.activation_type = DataType::kInt8;
  options.activation_symmetric = true;
  const auto named = testing::quantize(text, options);
  REQUIRE(named.output.emitted.notes.size() == 1);
  CHECK_MESSAGE(named.output.emitted.notes[0].ends_with(
                    " slower than in the float model: uint8 activations fuse"),
                named.output.emitted.notes[0]);
  options.include = {};
  Target unweighed = kOrtCpu;
  unweighed.cost = nullptr;
  options.target = &unweighed;
  const auto chosen = Quantizer::create(parse(text), options);
  REQUIRE(!chosen.ok());
  CHECK(chosen.error().code == ErrorCode::kNegative);
  CHECK(chosen.error().message.find(kNotFused) != std::string::npos);
  // Alone it reads u8 when it is loaded.
  CHECK(decide(image_model("y = Conv (c, v)"), options).at("y").kernel == "QLinearConv");
}

TEST_CASE(
    "placement: ort-compat gives an AveragePool the scale of its input, and a Sigmoid its own") {
  QuantizeOptions options = all_layers();
  options.include = {};
  options.ort_compat = options.quantize_outputs = true;
  const auto quantizer = Quantizer::create(
      parse(image_model("a = AveragePool <kernel_shape = [2, 2]> (c) s = Sigmoid (a) "
                        "y = Conv (s, v)")),
      options);
  REQUIRE(quantizer.ok());
  bool pooled = false, sigmoid = false;
  for (const QuantizedTensor& t : quantizer->placement().tensors) {
    pooled |= t.value->name() == "a" && t.range_owner->name() == "c";
    sigmoid |= t.value->name() == "s" && !t.unit_range;
  }
  CHECK(pooled);
  CHECK(sigmoid);
}

TEST_CASE("placement: a product that becomes a Gemm keeps the names of its extents") {
  QuantizeOptions options = all_layers();
  options.include = *Selector::parse({"op:MatMul", "op:Gemm"});
  const auto quantizer = Quantizer::create(
      parse("<ir_version: 8, opset_import: [\"\" : 13]> g (float[batch,seq,4] x) => (float y) "
            "<float[4,4] w = {" +
            numbers(16) +
            "}, float[4] b = {0.1, 0.2, 0.3, 0.4}> "
            "{ m = MatMul (x, w) a = Add (m, b) y = Tanh (a) }"),
      options);
  REQUIRE(quantizer.ok());
  const Value* a = quantizer->prepared().graph().find("a");
  REQUIRE(a != nullptr);
  CHECK(a->producer()->is("Reshape"));
  CHECK(a->has_value_info);
  REQUIRE(a->type().shape.has_value());
  CHECK(a->type().shape->front().symbol == "batch");
}

TEST_CASE("placement: a model where nothing gains stays in float, but for what --include names") {
  QuantizeOptions options = all_layers();
  options.include = {};
  const std::string text =
      "<ir_version: 8, opset_import: [\"\" : 13]> g (float[1,4] x) => (float y) <float[4,4] w = {" +
      numbers(16) + "}> { y = MatMul (x, w) }";
  const auto none = Quantizer::create(parse(text), options);
  REQUIRE(!none.ok());
  CHECK(none.error().message.find("would not run faster on integers") != std::string::npos);
  CHECK(none.error().hint.find("--include") != std::string::npos);
  const auto named = Quantizer::create(parse(text), all_layers());
  REQUIRE(named.ok());
  CHECK(named->placement().nodes.size() == 1);
}

TEST_CASE(
    "placement: tables of Gather move as integers where only integer operators read the rows") {
  const auto text = [](const std::string& body) {
    return "<ir_version: 8, opset_import: [\"\" : 17]> g (int64[3] ids) => (float y) "
           "<float[8,4] table = {" +
           numbers(32) + "}, float[4,4] w = {" + numbers(16) + "}> { e = Gather (table, ids) " +
           body + " }";
  };
  const std::string product = "y = MatMul (e, w)";
  CHECK(decide(text(product)).at("e").kernel == "on integers");
  const auto moved = testing::quantize(text(product));
  CHECK(moved.count("QuantizeLinear") == 1);  // with the table's scale
  CHECK(moved.output.emitted.predicted.quantize == 0);
  CHECK(moved.output.model->graph().find("table_quantized")->type().dtype == DataType::kUint8);
  CHECK(moved.sqnr_db > 30);
  CHECK(!moved.output.model->graph().find("table"));
  // Floats read them: rows have scales of their own, where the selection names them.
  const std::string both = "t = Tanh (e) m = MatMul (e, w) y = Add (t, m)";
  QuantizeOptions options = all_layers();
  const auto packed = testing::quantize(text(both), options);
  CHECK(packed.count("Gather") == 2);
  CHECK(packed.output.model->graph().find("table_quantized")->type().dtype == DataType::kInt8);
  CHECK(!packed.output.model->graph().find("table"));
  CHECK(packed.sqnr_db > 30);
  options.include = *Selection::parse({"op:MatMul"});
  CHECK(decide(text(both), options).at("e").reason == std::string("float operators read its rows"));
  CHECK(testing::quantize(text(both), options).output.model->graph().find("table"));
  options.exclude = *Selection::parse({"op:Gather"});
  CHECK(decide(text(product), options).at("e").reason == std::string("excluded"));
}

TEST_CASE(
    "placement: what is excluded, yet fused by the target with its neighbours, is said to be") {
  QuantizeOptions options = all_layers();
  options.exclude = *Selection::parse({"op:Add"});
  const auto q =
      testing::quantize(image_model("d = Conv (c, v) s = Add (c, d) y = Conv (s, v)"), options);
  CHECK(q.output.emitted.predicted.integer_operators.at("QLinearAdd") == 1);
  int sums = 0;
  for (const NodeDecision& d : q.output.decisions)
    if (d.node->is("Add")) {
      ++sums;
      CHECK_FALSE(d.integer);
      CHECK(std::string(d.reason).starts_with("the target runs it on integers all the same"));
    }
  CHECK(sums == 1);
}

TEST_CASE("placement: a channel shuffle between convolutions is faster in float") {
  const auto block = [](const std::string& perm, const std::string& moved) {
    return "<ir_version: 8, opset_import: [\"\" : 13]> g (float[1,32,28,28] x) => (float y) "
           "<float[64,32,3,3] w = {" +
           numbers(64 * 32 * 9) + "}, float[32,64,3,3] v = {" + numbers(32 * 64 * 9) +
           "}, int64[5] apart = {1, 2, 32, 28, 28}, int64[4] together = {1, 64, 28, 28}> "
           "{ a = Conv <pads = [1, 1, 1, 1]> (x, w) r = Relu (a) s = Reshape (r, apart) "
           "t = Transpose <perm = " +
           perm + "> (s) u = Reshape (t, together) " + moved + " }";
  };
  QuantizeOptions options;  // weighed
  const std::string reader = "y = Conv <pads = [1, 1, 1, 1]> (u, v)";
  const auto shuffled = decide(block("[0, 2, 1, 3, 4]", reader), options);
  CHECK(shuffled.at("t").reason == kNoGain);
  CHECK(shuffled.at("a").kernel == "QLinearConv");
  CHECK(shuffled.at("y").kernel == "QLinearConv");
  // Rows and columns change places: an ordinary Transpose.
  CHECK(decide(block("[0, 1, 2, 4, 3]", reader), options).at("t").reason.empty());
}

}  // namespace
}  // namespace onnxtool
