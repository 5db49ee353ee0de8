// Quantized models: what is written for each operator, and that it computes the same.

#include "quant/emit.h"

#include "tests/quant/small_models.h"

namespace onnxtool {
namespace {

using testing::all_layers;
using testing::numbers;
using testing::quantize;
using testing::Quantized;

std::string image_model(const std::string& body, const std::string& constants = "") {
  return "<ir_version: 8, opset_import: [\"\" : 13]> g (float[1,4,8,8] x) => (float y) "
         "<float[4,4,1,1] w = {" +
         numbers(16) + "}, float[4,4,1,1] v = {" + numbers(16, 0.5) +
         "}, float[4] b = {0.1, -0.2, 0.3, 0.4}" + constants + "> { c = Conv (x, w, b) " + body +
         " }";
}

TEST_CASE("quantized: every operator between layers computes what it did") {
  const char* operators[] = {
      "t = Relu (c)",
      "t = Clip (c, zero, one)",
      "t = Add (c, c)",
      "t = Add (c, row)",
      "t = Mul (c, row)",
      "t = Mul (c, c)",
      "t = Sigmoid (c)",
      "t = LeakyRelu <alpha = 0.1> (c)",
      "t = Softmax <axis = 1> (c)",
      "t = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (c)",
      "t = GlobalAveragePool (c)",
      "t = MaxPool <kernel_shape = [2, 2]> (c)",
      "t = Transpose <perm = [0, 1, 3, 2]> (c)",
      "t = Resize <mode = \"nearest\"> (c, , scales)",
      "t = Pad (c, pads)",
      "f = Reshape (c, flat) t = Reshape (f, square)",
      "f = Squeeze (c, first) t = Unsqueeze (f, first)",
      "l, h = Split <axis = 1> (c) t = Concat <axis = 1> (h, l)",
      "t = Slice (c, from, to)",
      "t = ReduceMax <axes = [2]> (c)",
      "t = ReduceMin <axes = [3]> (c)",
      "t = GatherElements <axis = 3> (c, at)",
      "t = Where (which, c, one)",
      "t = Where (which, row, c)",
  };
  for (const char* op : operators) {
    INFO(std::string(op));
    const Quantized q = quantize(image_model(
        std::string(op) + " y = Conv (t, v)",
        ", float zero = {0.0}, float one = {1.0}, float[4,1,1] row = {0.5, -0.25, 1.0, 2.0}, "
        "float[4] scales = {1.0, 1.0, 2.0, 2.0}, int64[8] pads = {0, 0, 1, 1, 0, 0, 1, 1}, "
        "int64[3] flat = {1, 4, 64}, int64[4] square = {1, 4, 8, 8}, int64[1] first = {0}, "
        "int64[4] from = {0, 0, 1, 1}, int64[4] to = {1, 4, 8, 8}, "
        "int64[1,4,1,2] at = {0, 1, 2, 3, 4, 5, 6, 7}, bool[4,1,1] which = {1, 0, 0, 1}"));
    CHECK(q.sqnr_db > 30);
    CHECK(q.output.emitted.predicted.integer_operators.at("QLinearConv") == 2);
    CHECK(q.output.emitted.predicted.quantize == 1);
  }
}

TEST_CASE("quantized: sharp attention behind a mask of -3.4e38 keeps its rows apart") {
  std::string mask;
  for (int row = 0; row < 8; ++row)
    for (int column = 0; column < 8; ++column)
      mask += std::string(mask.empty() ? "" : ", ") + (column > row ? "-3.4e38" : "0.0");
  const auto weight = [](const char* name, double size) {
    return std::string(", float[16,16] ") + name + " = {" + numbers(256, size) + "}";
  };
  const Quantized q = quantize(
      "<ir_version: 8, opset_import: [\"\" : 17]> g (float[2,8,16] x) => (float y) "
      "<float[8,8] mask = {" +
      mask + "}" + weight("wq", 3) + weight("wk", 2) + weight("wv", 1) + weight("wo", 0.5) +
      "> { q = MatMul (x, wq) k = MatMul (x, wk) v = MatMul (x, wv) "
      "t = Transpose <perm = [0, 2, 1]> (k) s = MatMul (q, t) m = Add (s, mask) "
      "p = Softmax <axis = -1> (m) o = MatMul (p, v) y = MatMul (o, wo) }");
  CHECK(q.sqnr_db > 20);
  CHECK(q.output.emitted.predicted.integer_operators.contains("MatMulIntegerToFloat"));
}

TEST_CASE("quantized: where a range file lacks what was moved, it has the range of what moved it") {
  QuantizeOptions options = all_layers();
  options.exclude = *Selector::parse({"op:MaxPool"});
  auto quantizer = Quantizer::create(
      testing::parse(image_model("t = MaxPool <kernel_shape = [2, 2]> (c) y = Conv (t, v)")),
      options);
  REQUIRE(quantizer.ok());
  CHECK(!quantizer->use_ranges({{"x", {-1, 1}}, {"y", {-1, 1}}}).ok());
  REQUIRE(quantizer->use_ranges({{"x", {-1, 1}}, {"c", {-3, 2}}, {"y", {-1, 1}}}).ok());
  const auto output = quantizer->emit(nullptr, {});
  REQUIRE(output.ok());
  CHECK(output->ranges.at("t").min == -3);
}

TEST_CASE("quantized: an input that never changed is told, since its range fits nothing else") {
  for (const float value : {0.0F, 0.5F}) {
    auto quantizer = Quantizer::create(testing::parse(image_model("t = Relu (c) y = Conv (t, v)")),
                                       all_layers());
    REQUIRE(quantizer.ok());
    std::map<std::string, Summary> summaries;
    for (const Value* v : quantizer->placement().watched) {
      Summary s(Summary::Mode::kMinMax);
      s.add(std::vector<float>{value, v->is_graph_input() ? value : value + 1});
      summaries.emplace(v->name(), std::move(s));
    }
    REQUIRE(quantizer->use_summaries(std::move(summaries), {}).ok());
    const auto output = quantizer->emit(nullptr, {});
    REQUIRE(output.ok());
    REQUIRE(output->emitted.notes.size() == 1);
    CHECK(
        output->emitted.notes[0].starts_with(value == 0 ? "input 'x' is 0 " : "input 'x' is 0.5 "));
  }
}

TEST_CASE("quantized: grouped and depthwise convolutions have a scale for each output channel") {
  for (const auto& [group, columns] : {std::pair(2, 2), std::pair(4, 1)}) {
    const std::string weights = "float[8," + std::to_string(columns) + ",1,1] w";
    const Quantized q =
        quantize("<ir_version: 8, opset_import: [\"\" : 13]> g (float[1,4,8,8] x) => (float y) <" +
                 weights + " = {" + numbers(8 * columns) +
                 "}> { y = Conv <group = " + std::to_string(group) + "> (x, w) }");
    CHECK(q.output.model->graph().find("w_scale")->constant()->count() == 8);
    CHECK(q.sqnr_db > 30);
  }
}

TEST_CASE("quantized: Gemm in both layouts, and a bias of one element") {
  for (const char* layout : {"", "<transB = 1>"}) {
    const Quantized q = quantize(
        "<ir_version: 8, opset_import: [\"\" : 13]> g (float[3,6] x) => (float y) <float[6,6] w = "
        "{" +
        numbers(36) + "}, float[1] b = {0.25}> { y = Gemm " + std::string(layout) + " (x, w, b) }");
    CHECK(q.output.model->graph().find("w_scale")->constant()->count() == 6);
    CHECK(q.output.model->graph().find("b_quantized")->constant()->count() == 6);
    CHECK(q.sqnr_db > 30);
  }
}

TEST_CASE("quantized: a bias beyond 2^30 steps raises its channel's weight scale") {
  const Quantized q = quantize(
      "<ir_version: 8, opset_import: [\"\" : 13]> g (float[1,2,4,4] x) => (float y) "
      "<float[2,2,1,1] w = {1e-9, 1e-9, 0.5, -1.0}, float[2] b = {5.0, 0.5}> { y = Conv (x, w, b) "
      "}");
  const Tensor& bias = *q.output.model->graph().find("b_quantized")->constant();
  for (const int64_t v : bias.to_ints()) CHECK(std::abs(v) <= int64_t{1} << 30);
  CHECK(std::abs(bias.to_ints()[0]) > int64_t{1} << 29);
  REQUIRE(q.output.emitted.notes.size() == 1);
  CHECK(q.output.emitted.notes[0].find("weight scale raised for 1 channels") != std::string::npos);
  CHECK(q.sqnr_db > 35);
}

TEST_CASE("quantized: layers that share a weight share its integers") {
  const Quantized q = quantize(
      "<ir_version: 8, opset_import: [\"\" : 13]> g (float[2,4] x) => (float y) <float[4,4] w = {" +
      numbers(16) + "}> { a = MatMul (x, w) r = Relu (a) y = MatMul (r, w) }");
  int integers = 0;
  for (const Value* v : q.output.model->graph().initializers())
    integers += v->constant()->dtype() == DataType::kInt8 && v->constant()->rank() == 2;
  CHECK(integers == 1);
  CHECK(q.sqnr_db > 25);
}

TEST_CASE("quantized: layers that share a bias get one each") {
  const Quantized q = quantize(
      "<ir_version: 8, opset_import: [\"\" : 13]> g (float[1,2,4,4] x) => (float y) "
      "<float[2,2,1,1] w = {1.0, -0.5, 0.25, 2.0}, float[2,2,1,1] v = {0.1, 0.2, -0.3, 0.1}, "
      "float[2] b = {0.5, -1.0}> { a = Conv (x, w, b) y = Conv (a, v, b) }");
  int biases = 0;
  for (const Value* v : q.output.model->graph().initializers())
    biases += v->constant()->dtype() == DataType::kInt32 && v->name().starts_with("b_quantized") &&
              v->name().find("zero_point") == std::string::npos;
  CHECK(biases == 2);
  CHECK(q.sqnr_db > 30);
}

TEST_CASE("quantized: ort-compat keeps an input that is an output as well as it is") {
  QuantizeOptions options = testing::all_layers();
  options.include = {};
  options.ort_compat = options.quantize_outputs = true;
  const Quantized q = quantize(
      "<ir_version: 8, opset_import: [\"\" : 13]> g (float[2,4] x) => (float[2,4] y, float[2,4] x) "
      "<float[4,4] w = {" +
          numbers(16) + "}> { y = MatMul (x, w) }",
      options);
  const Graph& g = q.output.model->graph();
  REQUIRE(g.inputs().size() == 1);
  CHECK(g.inputs()[0]->name() == "x");
  REQUIRE(g.outputs().size() == 2);
  CHECK(g.outputs()[0]->name() == "y");
  CHECK(g.outputs()[1] == g.inputs()[0]);
  for (const Node& n : g.nodes())
    if (n.is("MatMul")) CHECK(n.input(0).producer()->is("DequantizeLinear"));
}

TEST_CASE("quantized: ort-compat numbers the copies of a bias from what has a number") {
  QuantizeOptions options = testing::all_layers();
  options.include = {};
  options.ort_compat = options.quantize_outputs = true;
  const auto has = [&](const std::string& other, const std::string& copy) {
    const Quantized q = quantize(
        "<ir_version: 8, opset_import: [\"\" : 13]> g (float[1,2,4,4] x) => (float y) "
        "<float[2,2,1,1] w = {1.0, -0.5, 0.25, 2.0}, float[2,2,1,1] v = {0.1, 0.2, -0.3, 0.1}, "
        "float[2] b = {0.5, -1.0}, float " +
            other + " = {2.0}> { a = Conv (x, w, b) c = Conv (a, v, b) y = Mul (c, " + other +
            ") }",
        options);
    return q.output.model->graph().find(copy) != nullptr;
  };
  CHECK(has("b7", "b8_quantized"));
  CHECK(has("bx", "b0_quantized"));
  CHECK(has("b9223372036854775807", "b0_quantized"));  // there is no number above
}

TEST_CASE("quantized: node names are new and unique, inputs and outputs keep theirs") {
  const Quantized q = quantize(
      "<ir_version: 8, opset_import: [\"\" : 13]> g (float[2,4] x) => (float[2,4] y) <float[4,4] w "
      "= {" +
      numbers(16) +
      "}> { [x_QuantizeLinear] a = MatMul (x, w) b = MatMul (x, w) s = Add (a, b) "
      "y = MatMul (s, w) }");
  std::map<std::string, int> names;
  for (const Node& n : q.output.model->graph().nodes())
    if (!n.name().empty()) CHECK(++names[n.name()] == 1);
  CHECK(q.output.model->graph().inputs()[0]->name() == "x");
  CHECK(q.output.model->graph().outputs()[0]->name() == "y");
  CHECK(q.output.model->graph().outputs()[0]->type().dtype == DataType::kFloat);
}

TEST_CASE("quantized: types and granularity that were asked for") {
  const std::string text = image_model("r = Relu (c) y = Conv (r, v)");
  QuantizeOptions options = all_layers();
  options.activation_type = DataType::kInt8;
  const Quantized s8 = quantize(text, options);
  CHECK(s8.output.model->graph().find("x_zero_point")->constant()->dtype() == DataType::kInt8);
  // Behind Relu the zero point is the lowest code.
  CHECK(s8.output.model->graph().find("r_zero_point")->constant()->to_ints()[0] == -128);
  CHECK(s8.sqnr_db > 30);
  options = all_layers();
  options.activation_symmetric = true;
  const Quantized symmetric = quantize(text, options);
  CHECK(symmetric.output.model->graph().find("x_zero_point")->constant()->to_ints()[0] == 128);
  CHECK(symmetric.output.model->graph().find("r_zero_point")->constant()->to_ints()[0] == 0);
  options = all_layers();
  options.per_channel = false;
  options.weight_type = DataType::kUint8;
  const Quantized u8 = quantize(text, options);
  CHECK(u8.output.model->graph().find("w_scale")->constant()->count() == 1);
  CHECK(u8.output.model->graph().find("w_quantized")->constant()->dtype() == DataType::kUint8);
  CHECK(u8.sqnr_db > 30);
}

TEST_CASE("quantized: an activation that was zero on all samples still holds its bounds") {
  QuantizeOptions options = all_layers();
  options.activation_type = DataType::kInt8;
  const auto zeros = [&](const std::string& activation) {
    return quantize(image_model("d = Conv (c, v, n) r = " + activation + " y = Conv (r, v)",
                                ", float[4] n = {-1e3, -1e3, -1e3, -1e3}, float low = {0.0}, "
                                "float high = {1.0}"),
                    options);
  };
  // The grid starts at zero.
  const Quantized relu = zeros("Relu (d)");
  CHECK(relu.count("Relu") == 0);
  CHECK(relu.output.model->graph().find("r_zero_point")->constant()->to_ints()[0] == -128);
  // One whose scale says nothing ends beyond the bound.
  CHECK(zeros("Clip (d, low, high)").count("Clip") == 1);
}

TEST_CASE("quantized: weights that are not finite are refused by name") {
  auto model = testing::parse(
      "<ir_version: 8, opset_import: [\"\" : 13]> g (float[2,2] x) => (float y) "
      "<float[2,2] w = {1.0, 2.0, 3.0, 4.0}> { y = MatMul (x, w) }");
  Value& w = *model->graph().find("w");
  model->graph().set_initializer(w,
                                 Tensor::from({2, 2}, std::vector<float>{1.0f, NAN, 3.0f, 4.0f}));
  const auto samples = testing::random_samples(*model);
  auto quantizer = Quantizer::create(std::move(model), all_layers());
  REQUIRE(quantizer.ok());
  REQUIRE(quantizer->calibrate(*samples, testing::cpu_run()).ok());
  const auto output = quantizer->emit(samples.get(), testing::cpu_run());
  REQUIRE(!output.ok());
  CHECK(output.error().code == ErrorCode::kNotFinite);
  CHECK(output.error().message.find("weight 'w'") != std::string::npos);
}

TEST_CASE("predicted graph: what constants decide is computed at load") {
  // The Q of a constant stays no node; a Q between Q and DQ of a pair that only moves elements
  // goes.
  auto model = testing::parse(
      "<ir_version: 8, opset_import: [\"\" : 13]> g (float[2,2] x) => (float y) "
      "<float[2,2] k = {1.0, 2.0, 3.0, 4.0}, float s = {0.1}, uint8 z = {3}> { "
      "xq = QuantizeLinear (x, s, z) xd = DequantizeLinear (xq, s, z) t = Transpose (k) "
      "kq = QuantizeLinear (t, s, z) kd = DequantizeLinear (kq, s, z) y = MatMul (xd, kd) }");
  REQUIRE(infer_graph(model->graph()).ok());
  const IntegerGraph g = fuse_qdq(*model, kOrtCpu);
  CHECK(g.integer_operators.at("MatMulIntegerToFloat") == 1);
  CHECK(g.quantize == 1);
  CHECK(g.dequantize == 0);
}

TEST_CASE("predicted graph: a DQ moves down to what reads integers behind it") {
  const auto predict = [](const std::string& mover) {
    auto model = testing::parse(
        "<ir_version: 8, opset_import: [\"\" : 17]> g (float[2,3,8] x) => (float y) "
        "<float s = {0.1}, uint8 z = {3}, float r = {0.2}, int8 o = {0}, int8[8,4] w = {" +
        std::string("1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, "
                    "3, 4, 5, 6, 7, 8") +
        "}, int64[2] to = {-1, 8}> { xq = QuantizeLinear (x, s, z) xd = DequantizeLinear (xq, s, "
        "z) "
        "wd = DequantizeLinear (w, r, o) m = " +
        mover + " y = MatMul (m, wd) }");
    REQUIRE(infer_graph(model->graph()).ok());
    return fuse_qdq(*model, kOrtCpu);
  };
  // Measured with onnxruntime 1.31.1, whose saved graphs have these.
  for (const char* mover : {"Reshape (xd, to)", "Transpose <perm = [1,0,2]> (xd)"}) {
    const IntegerGraph g = predict(mover);
    CHECK(g.integer_operators == std::map<std::string, int>{{"MatMulIntegerToFloat", 1}});
    CHECK(g.quantize == 1);
    CHECK(g.dequantize == 0);
  }
}

// Counts are those of graphs that onnxruntime 1.31.1 saves.
TEST_CASE("predicted graph: a scalar beside a DQ gets codes for a Where") {
  const auto predict = [](const std::string& scalar, const std::string& z_type = "uint8",
                          const std::string& last = "w = Where (c, k, xd)") {
    auto model = testing::parse(
        "<ir_version: 8, opset_import: [\"\" : 17]> g (float[2,3] x, bool[2,3] c) => (float y) "
        "<float s = {0.1}, uint8 z = {3}, " +
        z_type + " o = {0}, " + scalar +
        "> { xq = QuantizeLinear (x, s, z) xd = DequantizeLinear (xq, s, z) " + last +
        " q = QuantizeLinear (w, s, o) y = DequantizeLinear (q, s, o) }");
    REQUIRE(infer_graph(model->graph()).ok());
    return fuse_qdq(*model, kOrtArm64);
  };
  const IntegerGraph fused = predict("float k = {-0.5}");
  CHECK(fused.integer_operators == std::map<std::string, int>{{"QLinearWhere", 1}});
  CHECK(fused.quantize == 1);
  CHECK(fused.dequantize == 1);
  CHECK(predict("float[1] k = {-0.5}").integer_operators.empty());
  CHECK(predict("float k = {-0.5}", "int8").integer_operators.empty());
  CHECK(predict("float k = {-0.5}", "uint8", "v = Where (c, k, xd) w = Relu (v)")
            .integer_operators.empty());
}

TEST_CASE("quantized: a Where in float keeps its scalar away from the target") {
  const std::string text = image_model("t = Where (which, c, half) y = Conv (t, v)",
                                       ", float half = {0.5}, bool[4,1,1] which = {1, 0, 0, 1}");
  QuantizeOptions options = all_layers();
  options.exclude = *Selector::parse({"op:Where"});
  const Quantized q = quantize(text, options);
  CHECK(!q.output.emitted.predicted.integer_operators.contains("QLinearWhere"));
  CHECK(q.output.emitted.predicted.integer_operators.at("QLinearConv") == 2);
  for (const NodeDecision& d : q.output.decisions)
    if (d.node->is("Where")) CHECK(std::string_view(d.reason) == "excluded");
}

TEST_CASE("predicted graph: a product and the sum behind it become a Gemm first") {
  const auto predict = [](const std::string& inputs, const std::string& addend) {
    auto model = testing::parse(
        "<ir_version: 8, opset_import: [\"\" : 17]> g (" + inputs +
        ") => (float y) <float s = {0.1}, uint8 z = {3}, float r = {0.2}, int8 o = {0}, "
        "int8[4,2] w = {1, 2, 3, 4, 5, 6, 7, 8}, float[2] b = {1.0, 2.0}, float[3,1] c = {1.0, "
        "2.0, "
        "3.0}, float[1,3,2] d = {1, 2, 3, 4, 5, 6}> { xq = QuantizeLinear (x, s, z) "
        "xd = DequantizeLinear (xq, s, z) wd = DequantizeLinear (w, r, o) m = MatMul (xd, wd) "
        "a = Add (m, " +
        addend + ") y = Tanh (a) }");
    REQUIRE(infer_graph(model->graph()).ok());
    const IntegerGraph g = fuse_qdq(*model, kOrtCpu);
    const int products = g.integer_operators.contains("MatMulIntegerToFloat");
    CHECK(g.fused.contains("m") == (products == 1));
    // In float both DQs stay: the Gemm's, and that of weights which no MatMulNBits takes beside it.
    CHECK(g.dequantize == (products ? 0 : 2));
    return products;
  };
  // Measured with onnxruntime 1.31.1, whose saved graphs have these.
  CHECK(predict("float[3,4] x", "b") == 0);
  CHECK(predict("float[3,4] x", "c") == 0);
  CHECK(predict("float[3,4] x", "d") == 1);
  CHECK(predict("float[n,4] x", "b") == 0);
  CHECK(predict("float[n,4] x, float[n,2] t", "t") == 0);
  CHECK(predict("float[n,4] x, float[k,2] t", "t") == 1);
  CHECK(predict("float[5,3,4] x", "b") == 0);
  CHECK(predict("float[n,3,4] x", "b") == 1);
  CHECK(predict("float[5,3,4] x", "d") == 1);
}

TEST_CASE("quantized: a product in float between integer ones does not get its weights rounded") {
  // A Gemm between DQ and Q does, at load, and product and sum become one.
  const auto head = [](const std::string& outputs) {
    return "<ir_version: 8, opset_import: [\"\" : 17]> g (float[3,8] x) => (" + outputs +
           ") <float s = {0.1}, uint8 z = {3}, float[8,8] w = {" + numbers(64) +
           "}, float[8,8] u = {" + numbers(64, 0.5) + "}, float[8] b = {" + numbers(8) + "}> { ";
  };
  auto model = testing::parse(head("float y") +
                              "xq = QuantizeLinear (x, s, z) xd = DequantizeLinear (xq, s, z) "
                              "m = MatMul (xd, w) a = Add (m, b) aq = QuantizeLinear (a, s, z) "
                              "ad = DequantizeLinear (aq, s, z) y = Tanh (ad) }");
  REQUIRE(infer_graph(model->graph()).ok());
  CHECK(fuse_qdq(*model, kOrtCpu).integer_operators == std::map<std::string, int>{{"QGemm", 1}});
  QuantizeOptions options = all_layers();
  options.exclude = *Selection::parse({"tensor:m", "op:Add"});
  // `v` wants the integers of p, and `m` reads what they stand for.
  const Quantized q = quantize(head("float y, float v") +
                                   "p = MatMul (x, w) m = MatMul (p, w) a = Add (m, b) y = MatMul "
                                   "(a, w) v = MatMul (p, u) }",
                               options);
  CHECK(q.count("Sum") == 1);
  CHECK(!q.output.emitted.predicted.integer_operators.contains("QGemm"));
  CHECK(q.sqnr_db > 30);
}

TEST_CASE("predicted graph: equal Qs in a row are one") {
  // The later ones go while nodes are visited, the very next one among them.
  auto model = testing::parse(
      "<ir_version: 8, opset_import: [\"\" : 13]> g (float[2,2] x) => (float y) "
      "<float s = {0.1}, uint8 z = {3}> { q1 = QuantizeLinear (x, s, z) "
      "q2 = QuantizeLinear (x, s, z) q3 = QuantizeLinear (x, s, z) d1 = DequantizeLinear (q1, s, "
      "z) "
      "d2 = DequantizeLinear (q2, s, z) d3 = DequantizeLinear (q3, s, z) a = MatMul (d1, d2) "
      "p = QuantizeLinear (a, s, z) b = DequantizeLinear (p, s, z) y = MatMul (b, d3) }");
  REQUIRE(infer_graph(model->graph()).ok());
  const IntegerGraph g = fuse_qdq(*model, kOrtCpu);
  CHECK(g.integer_operators.at("QLinearMatMul") == 1);
  CHECK(g.integer_operators.at("MatMulIntegerToFloat") == 1);
  CHECK(g.quantize == 1);
  CHECK(g.dequantize == 0);
}

TEST_CASE("predicted graph: s8 pairs become u8 only where one DQ reads the Q") {
  const auto predict = [](const std::string& tail) {
    auto model = testing::parse(
        "<ir_version: 8, opset_import: [\"\" : 13]> g (float[1,1,2,2] x) => (float y) "
        "<float s = {0.1}, int8 z = {3}> { xq = QuantizeLinear (x, s, z) "
        "xd = DequantizeLinear (xq, s, z) a = Sigmoid (xd) aq = QuantizeLinear (a, s, z) "
        "ad = DequantizeLinear (aq, s, z) " +
        tail + " }");
    REQUIRE(infer_graph(model->graph()).ok());
    return fuse_qdq(*model, kOrtCpu).integer_operators;
  };
  CHECK(predict("y = Tanh (ad)").at("QLinearSigmoid") == 1);
  // Two readers: the result stays s8 while the input has become u8.
  CHECK(predict("b = Tanh (ad) c = Exp (ad) y = Add (b, c)").empty());
}

TEST_CASE("predicted graph: scales in 16 bits, and nodes that lack what they move") {
  const auto predict = [](const std::string& body, bool is_right) {
    const auto model = testing::parse(
        "<ir_version: 10, opset_import: [\"\" : 21]> g (float16[1,1,2,2] x) => (float16 y) " +
        body);
    CHECK(infer_graph(model->graph()).ok() == is_right);
    return fuse_qdq(*model, kOrtCpu);
  };
  const char* half =
      "<float16 s = {11878}, uint8 z = {0}, int8[1,1,1,1] w = {1}, int8 o = {0}, float16 low = "
      "{0}, "
      "float16 high = {22080}> { xq = QuantizeLinear (x, s, z) xd = DequantizeLinear (xq, s, z) "
      "wd = DequantizeLinear (w, s, o) c = Conv (xd, wd) t = Clip (c, low, high) "
      "q = QuantizeLinear (t, s, z) y = DequantizeLinear (q, s, z) }";
  CHECK(predict(half, true).quantize == 1);
  // Models that are wrong are looked at, too.
  for (const char* mover :
       {"m = Slice () q = QuantizeLinear (m, s, z)",
        "q = QuantizeLinear (x, s, z) d = DequantizeLinear (q, s, z) = Squeeze (d)"})
    CHECK(predict(std::string("<float16 s = {11878}, uint8 z = {0}> { ") + mover +
                      " y = DequantizeLinear (q, s, z) }",
                  false)
              .quantize == 1);
}

TEST_CASE("predicted graph: products of floats read the codes of their weights") {
  std::string weights = "1";
  for (int i = 1; i < 64; ++i) weights += ", 1";
  const auto packed = [&](const std::string& dq, const std::string& rest) {
    auto model = testing::parse(
        "<ir_version: 10, opset_import: [\"\" : 21]> g (float[2,32] x) => (float y) "
        "<float s = {0.1}, float[2] sc = {0.1, 0.2}, float[2,2] sb = {0.1, 0.2, 0.3, 0.4}, "
        "int8[32,2] w = {" +
        weights + "}> { wd = DequantizeLinear " + dq + rest + " }");
    REQUIRE(infer_graph(model->graph()).ok());
    const IntegerGraph g = fuse_qdq(*model, kOrtCpu);
    CHECK(g.dequantize == (g.integer_operators.contains("MatMulNBits") ? 0 : 1));
    return g.dequantize == 0;
  };
  const std::string product = " y = MatMul (x, wd)";
  CHECK(packed("(w, s)", product));
  CHECK(packed("(w, s)", " y = Gemm (x, wd)"));
  CHECK(packed("<axis = 1> (w, sc)", product));
  CHECK(packed("<axis = 0, block_size = 16> (w, sb)", product));
  CHECK_FALSE(packed("(w, s)", " y = Gemm <alpha = 0.5> (x, wd)"));
  CHECK_FALSE(packed("<axis = -1> (w, sc)", product));
  CHECK_FALSE(packed("(w, s)", " z = Relu (wd) y = MatMul (x, z)"));
}

}  // namespace
}  // namespace onnxtool
