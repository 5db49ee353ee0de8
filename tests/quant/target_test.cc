// What targets ask of types, zero points and biases.

#include "libopt/target/target.h"

#include "tests/quant/small_models.h"

namespace onnxtool {
namespace {

using testing::all_layers;
using testing::numbers;
using testing::quantize;
using testing::Quantized;

// A convolution with a Relu, one with a Clip that lets negative values through, and a product.
std::string layers() {
  return "<ir_version: 8, opset_import: [\"\" : 13]> g (float[2,4,6,6] x) => (float y) "
         "<float[8,4,3,3] w = {" +
         numbers(288) + "}, float[8] b = {" + numbers(8) + "}, float[8,8,1,1] v = {" + numbers(64) +
         "}, float[8,16] m = {" + numbers(128) + "}, float[16] c = {" + numbers(16) +
         "}, float low = {-0.5}, float high = {3.0}> { p = Conv (x, w, b) r = Relu (p) "
         "q = Conv (r, v, b) k = Clip (q, low, high) a = GlobalAveragePool (k) f = Flatten (a) "
         "y = Gemm (f, m, c) }";
}

QuantizeOptions options_for(const Target& target) {
  QuantizeOptions o = all_layers();
  o.target = &target;
  o.activation_type = target.data_types[0];
  o.weight_type = target.weight_types[0];
  return o;
}

int zero_points_other_than_0(const Graph& graph) {
  int found = 0;
  for (const Node& n : graph.nodes())
    if ((n.is("QuantizeLinear") || n.is("DequantizeLinear")) && n.has_input(2))
      for (const int64_t z : n.input(2).constant()->to_ints()) found += z != 0;
  return found;
}

TEST_CASE("targets: names are unique, types are given, and what is never run has no row") {
  std::set<std::string_view> names;
  for (const Target* t : all_targets()) {
    CHECK(names.insert(t->name).second);
    CHECK(find_target(t->name) == t);
    CHECK(!t->summary.empty());
    CHECK(!t->data_types.empty());
    CHECK(!t->weight_types.empty());
    std::set<std::string_view> ops;
    for (const TargetOp& op : t->ops) {
      CHECK(ops.insert(op.op).second);
      CHECK(op.fusion != Fusion::kNever);
    }
  }
}

TEST_CASE("targets: every one that runs integers gets a model that is close to the float one") {
  for (const Target* t : all_targets()) {
    if (t->ops.empty()) continue;
    CAPTURE(t->name);
    const Quantized q = quantize(layers(), options_for(*t));
    CHECK(q.sqnr_db > 25);
    CHECK(q.count("QuantizeLinear") >= 3);
    CHECK(q.count("Conv") == 2);
  }
}

TEST_CASE("targets: nothing is quantized for one without integer kernels") {
  auto made = Quantizer::create(testing::parse(layers()), options_for(kOrtCuda));
  REQUIRE(!made.ok());
  CHECK(made.error().code == ErrorCode::kNegative);
  CHECK(made.error().message.find("the target never runs it on integers") != std::string::npos);
}

TEST_CASE("targets: TensorRT's zero points are 0, its biases floats, and activations stay") {
  const Quantized q = quantize(layers(), options_for(kTensorRt));
  const Graph& graph = q.output.model->graph();
  CHECK(zero_points_other_than_0(graph) == 0);
  CHECK(q.count("Relu") == 1);
  CHECK(q.count("Clip") == 1);
  for (const Node& n : graph.nodes())
    if (n.is("Conv") || n.is("Gemm")) CHECK(n.input(2).constant());
  // With zero points of their own, ranges express both.
  const Quantized u8 = quantize(layers(), options_for(kOrtCpu));
  CHECK(zero_points_other_than_0(u8.output.model->graph()) > 0);
  CHECK(u8.count("Relu") + u8.count("Clip") == 0);
}

TEST_CASE("targets: a symmetric grid does not stand for a Clip below it") {
  QuantizeOptions o = options_for(kOrtCpu);
  o.activation_symmetric = true;
  const Quantized q = quantize(layers(), o);
  CHECK(q.count("Relu") == 0);
  CHECK(q.count("Clip") == 1);
  CHECK(q.sqnr_db > 25);
}

TEST_CASE("targets: without VNNI no pair of weights saturates, and most have 8 bits") {
  const Quantized q = quantize(layers(), options_for(kOrtCpuNoVnni));
  int weights = 0, wide = 0;
  for (const Node& n : q.output.model->graph().nodes()) {
    if (!n.is("Conv") && !n.is("Gemm")) continue;
    ++weights;
    const Tensor& codes = *n.input(1).producer()->input(0).constant();
    CHECK(count_saturating_pairs(*pair_order(n, codes.dims()), codes.values<int8_t>()) == 0);
    for (const int64_t code : codes.to_ints()) wide += std::abs(code) > 64;
  }
  CHECK(weights == 3);
  CHECK(wide > 20);
  CHECK(q.output.emitted.predicted.integer_operators.at("QLinearConv") == 2);
}

TEST_CASE("targets: without VNNI unsigned weights keep their 8 bits, whose sums do not saturate") {
  QuantizeOptions o = options_for(kOrtCpuNoVnni);
  o.weight_type = DataType::kUint8;
  const Quantized q = quantize(layers(), o);
  int64_t most = 0;
  for (const Value* v : q.output.model->graph().initializers())
    if (v->initializer()->dtype() == DataType::kUint8 && v->initializer()->rank() >= 2)
      for (const int64_t code : v->initializer()->to_ints()) most = std::max(most, code);
  CHECK(most == 255);
}

TEST_CASE("targets: s8 stays s8 on ARM, and convolutions run on it") {
  QuantizeOptions o = options_for(kOrtArm64);
  o.activation_type = DataType::kInt8;
  const Quantized q = quantize(layers(), o);
  CHECK(q.output.emitted.predicted.integer_operators.at("QLinearConv") == 2);
}

TEST_CASE("targets: 16-bit activations and 4-bit weights raise the opset to 21") {
  for (const DataType data : {DataType::kUint16, DataType::kInt16})
    for (const DataType weight :
         {DataType::kInt8, DataType::kUint8, DataType::kInt4, DataType::kUint4, DataType::kInt16}) {
      QuantizeOptions o = options_for(kPortable);
      o.activation_type = data;
      o.weight_type = weight;
      CAPTURE(name(data));
      CAPTURE(name(weight));
      const Quantized q = quantize(layers(), o);
      CHECK(q.output.model->opset("") == 21);
      CHECK(q.output.model->ir_version >= 10);
      CHECK(q.sqnr_db > (bits_of(weight) == 4 ? 12 : 40));
    }
  QuantizeOptions fixed = options_for(kPortable);
  fixed.activation_type = DataType::kUint16;
  fixed.no_opset_change = true;
  CHECK(!Quantizer::create(testing::parse(layers()), fixed).ok());
}

TEST_CASE("targets: NNAPI takes layers only where their results are quantized, ARM's kernels not") {
  const std::string text =
      "<ir_version: 8, opset_import: [\"\" : 13]> g (float[2,8] x) => (float y) "
      "<float[8,16] m = {" +
      numbers(128) + "}> { p = MatMul (x, m) y = Exp (p) }";
  CHECK(quantize(text, options_for(kOrtMobile)).count("QuantizeLinear") == 2);
  CHECK(quantize(text, options_for(kOrtArm64)).count("QuantizeLinear") == 1);
}

// Two convolutions with `body` between them, which makes t of c.
std::string around(const std::string& body) {
  return "<ir_version: 9, opset_import: [\"\" : 20]> g (float[1,8,6,6] x) => (float y) "
         "<float[8,8,1,1] w = {" +
         numbers(64) + "}, float[8] scale = {" + numbers(8) + "}, float[8] bias = {" +
         numbers(8, 0.5) + "}, float[6] row = {" + numbers(6) + "}, float[8,1,1] slope = {" +
         numbers(8, 0.25) +
         "}, float two = {2.0}, float zero = {0.0}, int64[8] pads = {0, 0, 1, 1, 0, 0, 1, 1}, "
         "int64[2] axes = {2, 3}, float[4] scales = {1.0, 1.0, 2.0, 2.0}, bool[8,1,1] which = {1, "
         "0, 0, 1, 1, 0, 1, 0}> { c = Conv (x, w) " +
         body + " y = Conv (t, w) }";
}

TEST_CASE("targets: operators that accelerators run between Q and DQ, and others do not") {
  struct Case {
    const char* body;
    bool qnn = true, openvino = false, tensorrt = false;
  };
  const Case cases[] = {
      {"t = Sub (c, two)", true, true},
      {"t = Div (c, two)"},
      {"t = Max (c, slope)"},
      {"t = Min (c, slope)"},
      {"t = PRelu (c, slope)", true, true},
      {"t = Tanh (c)"},
      {"t = Elu (c)"},
      {"t = HardSwish (c)"},
      {"t = Gelu (c)"},
      {"t = ReduceMean (c, axes)", true, true},
      {"t = ReduceSum (c, axes)", true, true},
      {"t = InstanceNormalization (c, scale, bias)"},
      {"t = LayerNormalization (c, row)"},
      {"t = LayerNormalization (c, row, row)"},
      {"t = Where (which, c, two)"},
      {"t = Pad <mode = \"reflect\"> (c, pads)", true, true, true},
      {"t = Resize <mode = \"linear\"> (c, , scales)", true, true, true},
      {"s = SpaceToDepth <blocksize = 2> (c) t = DepthToSpace <blocksize = 2> (s)", true, false,
       true},
      {"t = Exp (c)", false},
  };
  for (const Case& c : cases) {
    INFO(std::string(c.body));
    for (const auto& [target, runs] : {std::pair(&kQnn, c.qnn), std::pair(&kOpenVino, c.openvino),
                                       std::pair(&kTensorRt, c.tensorrt)}) {
      CAPTURE(target->name);
      const Quantized q = quantize(around(c.body), options_for(*target));
      CHECK(q.sqnr_db > 25);
      for (const NodeDecision& d : q.output.decisions)
        if (d.node->has_output(0) && d.node->output(0).name() == "t")
          CHECK_MESSAGE(d.integer == runs, d.reason);
    }
    // What onnxruntime's CPU provider does not fuse stays without Q and DQ of its own.
    const Quantized cpu = quantize(around(c.body), options_for(kOrtArm64));
    for (const NodeDecision& d : cpu.output.decisions)
      if (!d.node->is("Where")) CHECK(d.integer == d.node->is("Conv"));
  }
}

TEST_CASE("targets: what would divide by zero or move zero stays in float") {
  const auto reason = [](const std::string& body) {
    const Quantized q = quantize(around(body), options_for(kQnn));
    for (const NodeDecision& d : q.output.decisions)
      if (d.node->has_output(0) && d.node->output(0).name() == "t") return std::string(d.reason);
    return std::string();
  };
  CHECK(reason("a = Abs (c) s = Add (a, two) t = Div (c, s)") ==
        "its divisor is no constant number");
  CHECK(reason("t = Div (c, row)") == "its divisor is no constant number");
  CHECK(reason("t = Pad (c, pads, two)") == "it pads with another number than 0");
  CHECK(reason("t, mean = LayerNormalization (c, row) u = Relu (mean)") == "its means are read");
}

TEST_CASE("targets: a normalization's scale has 8 bits without a sign, its bias 32") {
  QuantizeOptions options = options_for(kQnn);
  options.activation_type = DataType::kUint16;
  const Quantized q = quantize(around("t = InstanceNormalization (c, scale, bias)"), options);
  for (const Node& n : q.output.model->graph().nodes()) {
    if (!n.is("InstanceNormalization")) continue;
    const Node &scale = *n.input(1).producer(), &bias = *n.input(2).producer();
    CHECK(scale.input(0).constant()->dtype() == DataType::kUint8);
    CHECK(bias.input(0).constant()->dtype() == DataType::kInt32);
    const double x = n.input(0).producer()->input(1).constant()->to_doubles()[0];
    CHECK(bias.input(1).constant()->to_doubles()[0] ==
          doctest::Approx(x * scale.input(1).constant()->to_doubles()[0]));
  }
  CHECK(q.count("InstanceNormalization") == 1);
}

}  // namespace
}  // namespace onnxtool
