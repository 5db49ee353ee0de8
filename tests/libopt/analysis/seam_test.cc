#include "libopt/analysis/seam.h"

#include <doctest/doctest.h>

#include <climits>
#include <filesystem>

#include "libopt/analysis/effects.h"
#include "libopt/analysis/structure.h"
#include "libopt/io/encode.h"
#include "libopt/io/load.h"
#include "tests/support/data_set.h"

namespace onnxtool {
namespace {

namespace fs = std::filesystem;

std::unique_ptr<Model> parse(const std::string& text) {
  auto model = parse_text(text);
  REQUIRE_MESSAGE(model.ok(), (model.ok() ? "" : model.error().message));
  return *std::move(model);
}

std::string zeros(int count) {
  std::string text = "{0";
  for (int k = 1; k < count; ++k) text += ", 0";
  return text + "}";
}

std::string why(const Status& s) { return s.ok() ? "ok" : s.error().message; }

// `body` computes from p: bool, x: float[n, 3, 8, 8], i: int64[2].
std::unique_ptr<Model> inferred(const std::string& body, const std::string& opsets = R"("" : 21)") {
  auto m = parse("<ir_version: 10, opset_import: [" + opsets +
                 "]> g (bool p, float[n, 3, 8, 8] x, int64[2] i) => (y) " + body);
  CHECK(why(infer_graph(m->graph())) == "ok");
  return m;
}

std::string type_of(const Model& m, std::string_view name) {
  return format_type(m.graph().find(name)->type());
}
std::string result_type(const std::string& body, const std::string& opsets = R"("" : 21)") {
  return type_of(*inferred(body, opsets), "y");
}

TEST_CASE("shapes: symbols travel, arithmetic on static dims is done") {
  CHECK(result_type("{ y = Relu (x) }") == "float[n, 3, 8, 8]");
  CHECK(result_type("<float[4, 3, 3, 3] w = " + zeros(108) +
                    "> { y = Conv <strides = [2, 2]> (x, w) }") == "float[n, 4, 3, 3]");
  CHECK(result_type("{ y = Shape (x) }") == "int64[4]");
  CHECK(result_type("{ y = NonZero (x) }") == "int64[4, ?]");
  CHECK(result_type("{ y = Cast <to = 10> (x) }") == "float16[n, 3, 8, 8]");
}

TEST_CASE("shapes: the axes of a Squeeze stand in any order") {
  for (const char* opset : {R"("" : 9)", R"("" : 12)"})
    CHECK(result_type("{ t = Unsqueeze <axes = [1, 4]> (x)  y = Squeeze <axes = [4, 1]> (t) }",
                      opset) == "float[n, 3, 8, 8]");
}

TEST_CASE("shapes: an extent that is cut loses its name") {
  const std::string one = "<int64[1] s = {-2}, int64[1] e = {7}, int64[1] a = {";
  for (const char* opset : {R"("" : 10)", R"("" : 11)", R"("" : 13)"}) {
    CHECK(result_type(one + "0}> { y = Slice (x, s, e, a) }", opset) == "float[?, 3, 8, 8]");
    CHECK(result_type(one + "-4}> { y = Slice (x, s, e, a) }", opset) == "float[?, 3, 8, 8]");
    CHECK(result_type(one + "3}> { y = Slice (x, s, e, a) }", opset) == "float[n, 3, 8, 1]");
    CHECK(result_type(one + "3}> { y = Slice (x, s, e) }", opset) == "float[?, 3, 8, 8]");
  }
}

TEST_CASE("shapes: computed shapes are followed") {
  CHECK(result_type("<int64[3] s = {0, 3, -1}> { y = Reshape (x, s) }") == "float[n, 3, 64]");
  CHECK(result_type(R"(<int64[1] z = {0}, int64[1] o = {1}, int64[1] rest = {192}>
    { s = Shape (x)  b = Slice (s, z, o)  t = Concat <axis = 0> (b, rest)  y = Reshape (x, t) })") ==
        "float[n, 192]");
  CHECK(result_type("{ c = Constant <value_ints = [3, 64]> ()  s = Shape <end = 1> (x)  t = Concat "
                    "<axis = 0> (s, c)  y = Reshape (x, t) }") == "float[n, 3, 64]");
  // Two numbers that nobody knows still tell the rank.
  CHECK(result_type("{ y = Reshape (x, i) }") == "float[?, ?]");
  // An unknown bound is not zero.
  CHECK(
      result_type(
          R"(<int64[1] o = {4}> { s = Shape (x)  f = Gather (i, o)  a = Slice (s, f, o)  y = ConstantOfShape (a) })") !=
      "float[n, 3, 8, 8]");
}

// Rows of x cut out of a table, as positions are.
std::string with_table(const std::string& nodes, const std::string& begin = "zero") {
  return "<float[9, 192] table = " + zeros(9 * 192) +
         ", int64[1] zero = {0}, int64[1] one = {1}, int64[1] minus = {-1}, int64[2] flat = {0, "
         "-1}, int64[2] none = {-1, "
         "-1}, int64[2] ones = {1, 1}, int64 first = {0}, int64 step = {1}> { s = Shape (x) "
         "n = Slice (s, zero, one)  w = Reshape (x, flat)  part = Slice (table, " +
         begin + ", n, zero)  " + nodes + " }";
}

TEST_CASE("shapes: rows of a table meet as many of a sequence") {
  CHECK(result_type(with_table("y = Add (w, part)")) == "float[n, 192]");
  CHECK(result_type(with_table("y = Mul (part, w)")) == "float[n, 192]");
  CHECK(result_type(with_table("t = Concat <axis = 0> (n, zero)  y = Expand (part, n)")) ==
        result_type(with_table("y = Identity (part)")));
  // What does not begin at the table's beginning, or at the end of another sequence.
  CHECK(result_type(with_table("y = Add (w, part)", "one")) == "float[?, 192]");
  CHECK(result_type(with_table("o = NonZero (i)  k = Shape <start = 1> (o)  other = Slice (table, "
                               "zero, k, zero)  y = Add (w, other)")) == "float[?, 192]");
}

TEST_CASE("shapes: targets that Where picks, and ranges of known length") {
  CHECK(result_type(with_table("t = Concat <axis = 0> (n, minus)  e = Equal (t, none)  k = Where "
                               "(e, ones, t)  row = Slice (table, zero, one, zero)  y = Expand "
                               "(row, k)")) == "float[n, 192]");
  CHECK(result_type(with_table("a = Gather (s, first)  y = Range (first, a, step)")) == "int64[n]");
  CHECK(result_type(with_table(
            "a = Gather (s, first)  b = Add (a, step)  y = Range (a, b, step)")) == "int64[1]");
}

TEST_CASE("subgraphs: branches are joined, loops carry, outer values are seen") {
  const auto m = inferred(R"({ a = Neg (x)
    y = If (p) <then_branch = t () => (u) { u = Abs (a) }, else_branch = e () => (v) { v = Exp (a) }> })");
  CHECK(type_of(*m, "y") == "float[n, 3, 8, 8]");
  m->graph().find("y")->producer()->for_each_subgraph(
      [](Graph& sub) { CHECK(format_type(sub.outputs()[0]->type()) == "float[n, 3, 8, 8]"); });
  CHECK(result_type(R"(<int64 trips = {3}, bool go = {1}> { last, y = Loop (trips, go, i)
    <body = b (int64 k, bool c, int64[2] state) => (bool d, int64[2] next, int64[2] scan) { d = Identity (c)  next = Add (state, k)  scan = Neg (next) }> })") ==
        "int64[?, 2]");
  CHECK(
      result_type(
          R"({ y = Scan <num_scan_inputs = 1, body = b (float[3, 8, 8] row) => (float[3, 8, 8] out) { out = Neg (row) }> (x) })") ==
      "float[n, 3, 8, 8]");
}

TEST_CASE("functions of the model are inferred through their bodies") {
  const std::string body = R"({ y = local.half (x) }
    <domain: "local", opset_import: ["" : 21]> half (i) => (o) { s = Constant <value = int64[3] {0, 3, 64}> ()  r = Reshape (i, s)  o = Cast <to = 10> (r) })";
  CHECK(result_type(body, R"("" : 21, "local" : 1)") == "float16[n, 3, 64]");
  CHECK(result_type("{ y = acme.Op (x) }", R"("" : 21, "acme" : 1)") == "unknown");
  // Two calls of different types and attributes, one through another function, of an older opset.
  const auto m = inferred(
      R"({ a = local.to <kind = 11> (i)  b = local.to (x)  c = local.both (x)  y = Neg (b) }
    <domain: "local", opset_import: ["" : 21]> to <kind: int = 10> (v) => (o) { o = Cast <to: int = @kind> (v) }
    <domain: "local", opset_import: ["" : 12, "local" : 1]> both (v) => (o) { s = Squeeze <axes = [1]> (v)  o = local.to <kind = 1> (v) })",
      R"("" : 21, "local" : 1)");
  CHECK(type_of(*m, "a") == "double[2]");
  CHECK(type_of(*m, "b") == "float16[n, 3, 8, 8]");
  CHECK(type_of(*m, "c") == "float[n, 3, 8, 8]");
  for (const Function& f : m->functions)  // what a call found is not left behind
    for (const Value* v : f.body->values()) CHECK(format_type(v->type()) == "unknown");
  // Shapes are followed through calls; a function that calls itself ends.
  CHECK(result_type(R"({ s = local.tail (x)  y = ConstantOfShape (s) }
    <domain: "local", opset_import: ["" : 21]> tail (v) => (o) { o = Shape <start = 2> (v) })",
                    R"("" : 21, "local" : 1)") == "float[8, 8]");
  CHECK(result_type(R"({ y = local.again (x) }
    <domain: "local", opset_import: ["" : 21, "local" : 1]> again (v) => (o) { o = local.again (v) })",
                    R"("" : 21, "local" : 1)") == "unknown");
}

// Equations with anything but letters, commas and ellipses keep onnx's own function in a loop.
TEST_CASE("Einsum equations") {
  CHECK(result_type("<float[8, 5] w = " + zeros(40) +
                    "> { y = Einsum <equation = \"n...jk, kl -> n...jl\"> (x, w) }") ==
        "float[n, 3, 8, 5]");
  for (const char* equation : {">", "ij.", "i-j", "ab1c->a", "....ij", "abcd->a,b", "a\tbcd"}) {
    INFO(std::string(equation));
    auto m = parse(
        std::string(
            R"(<ir_version: 10, opset_import: ["" : 21]> g (float[2, 2, 2, 2] x) => (y) { y = Einsum <equation = ")") +
        equation + R"("> (x) })");
    CHECK(why(infer_graph(m->graph())) ==
          "node #0 (Einsum): equation '" + std::string(equation) + "' is not valid");
  }
}

// onnx's functions for some operators read the type of an input that may have none.
TEST_CASE("inputs without a type, or left out, crash nothing") {
  const std::string opsets = R"("" : 21, "ai.onnx.ml" : 4, "acme" : 1, "local" : 1)";
  CHECK(result_type("{ a = acme.Op (x)  y = ai.onnx.ml.LabelEncoder <keys_int64s = [1], "
                    "values_int64s = [2]> (a) }",
                    opsets) == "unknown");
  CHECK(result_type(R"({ y = local.f (x) }
    <domain: "local", opset_import: ["" : 21, "acme" : 1, "ai.onnx.ml" : 4]> f (v) => (o) { a = acme.Op (v)  o = ai.onnx.ml.LabelEncoder <keys_int64s = [1], values_int64s = [2]> (a) })",
                    opsets) == "unknown");
  auto m = parse(
      R"(<ir_version: 10, opset_import: ["" : 21]> g (bool p, float[2] x) => (y) { y = Where (p, , x) })");
  CHECK(why(infer_graph(m->graph())) == "node #0 (Where): required input 1 is left out");
}

TEST_CASE("operators of com.microsoft that optimizers leave") {
  const std::string opsets = R"("" : 21, "com.microsoft" : 1)";
  CHECK(result_type("{ y = com.microsoft.Gelu (x) }", opsets) == "float[n, 3, 8, 8]");
  CHECK(result_type("<float[8, 5] w = " + zeros(40) +
                        "> { y = com.microsoft.FusedMatMul <transA = 1> (x, w) }",
                    opsets) == "float[n, 3, 8, 5]");
  CHECK(result_type("<float[5, 3, 1, 1] w = " + zeros(15) +
                        "> { y = com.microsoft.FusedConv <activation = \"Relu\"> (x, w) }",
                    opsets) == "float[n, 5, 8, 8]");
  CHECK(result_type("<float s = {1}, uint8 z = {0}> { y = com.microsoft.QuantizeLinear (x, s, z) }",
                    opsets) == "uint8[n, 3, 8, 8]");
  CHECK(result_type("<float s = {1}, uint8 z = {0}> { q = QuantizeLinear (x, s, z)  y = "
                    "com.microsoft.QLinearGlobalAveragePool (q, s, z, s, z) }",
                    opsets) == "uint8[n, 3, 1, 1]");
  CHECK(
      result_type("<int64[3] d = {10, 2, 64}, float s = {1}, uint8 z = {0}> { r = Reshape (x, d)  "
                  "a, y, c = com.microsoft.DynamicQuantizeLSTM <hidden_size = 5> "
                  "(r, z, z, , , , , , s, z, s, z) }",
                  opsets) == "float[1, 2, 5]");
  CHECK(result_type("{ y = com.microsoft.NobodyKnows (x) }", opsets) == "unknown");
  CHECK(find_schema("FusedConv", "com.microsoft", 1));
  CHECK_FALSE(find_schema("FusedConv", "", 21));
}

TEST_CASE("behind an operator that nobody knows there are no errors") {
  CHECK(result_type("{ a = acme.Op (x)  b = InstanceNormalization (a, a, a)  y = Shape (a) }",
                    R"("" : 21, "acme" : 1)") == "int64[?]");
}

TEST_CASE("what is declared stays where it says more") {
  const auto declared = [](const std::string& type, const std::string& body) {
    auto m = parse(
        "<ir_version: 10, opset_import: [\"\" : 21]> g (float[n, m] x, float[2, 3] c) => (float[2, "
        "q] y) <" +
        type + " t> " + body);
    const std::string status = why(infer_graph(m->graph()));
    return status == "ok" ? type_of(*m, "t") : status;
  };
  CHECK(declared("float[4, m]", "{ t = Neg (x)  y = Neg (c) }") == "float[4, m]");
  CHECK(declared("float[a, b]", "{ t = Neg (x)  y = Neg (c) }") == "float[a, b]");
  CHECK(declared("float[a, b]", "{ t = Neg (c)  y = Neg (c) }") == "float[2, 3]");
  CHECK(declared("float", "{ t = Identity (c)  y = Neg (c) }") ==
        "node #0 (Identity): value 't' is declared as float[], but inferred as float[2, 3]");
  CHECK(declared("float[2, 4]", "{ t = Neg (c)  y = Neg (c) }") ==
        "node #0 (Neg): value 't' is declared as float[2, 4], but inferred as float[2, 3]");
  CHECK(declared("int64[2, 3]", "{ t = Neg (c)  y = Neg (c) }") ==
        "node #0 (Neg): value 't' is declared as int64[2, 3], but inferred as float[2, 3]");
  CHECK(declared("float[0, 3]", "{ t = Neg (c)  y = Neg (c) }") ==
        "float[2, 3]");  // zero for "unknown"
  // A main graph's output is a promise to callers: its symbols stay symbols.
  auto m = parse(
      "<ir_version: 10, opset_import: [\"\" : 21]> g (float[2, 3] c) => (float[2, q] y) { y = Neg "
      "(c) }");
  CHECK(why(infer_graph(m->graph())) == "ok");
  CHECK(type_of(*m, "y") == "float[2, q]");
}

TEST_CASE("an error names the node, and inference goes on behind it") {
  auto m = parse(
      R"(<ir_version: 10, opset_import: ["" : 21]> g (float[2, 3] a, float[2, 3] b) => (float z) { y = MatMul (a, b)  s = Shape (a)  z = ReduceSum (y) })");
  CHECK(why(infer_graph(m->graph())) ==
        "node #0 (MatMul): incompatible dimensions for matrix multiplication");
  CHECK(type_of(*m, "s") == "int64[2]");
  auto inner = parse(R"(<ir_version: 10, opset_import: ["" : 21]> g (bool p, float[2, 3] a) => (y)
    { y = If (p) <then_branch = t () => (u) { u = MatMul (a, a) }, else_branch = e () => (v) { v = Abs (a) }> })");
  CHECK(why(infer_graph(inner->graph())) ==
        "node #0 (If): node #0 (MatMul): incompatible dimensions for matrix multiplication");
}

TEST_CASE("known elements: only what follows from constants and dims") {
  const auto elements = [](const std::string& body) {
    const auto m = inferred(body);
    const auto known = known_elements(*m->graph().find("y"));
    return known ? format_dims(*known) : std::string("none");
  };
  CHECK(elements("{ y = Shape <start = 1> (x) }") == "[3, 8, 8]");
  CHECK(elements("{ y = Shape (x) }") == "none");
  CHECK(elements("{ s = Shape <start = 1> (x)  y = Size (s) }") == "[3]");
  CHECK(elements("<int64 o = {1}> { s = Shape (x)  y = Gather (s, o) }") == "[3]");
  CHECK(elements("<int64 o = {0}> { s = Shape (x)  y = Gather (s, o) }") == "none");
  CHECK(elements("{ y = Neg (i) }") == "none");
  CHECK(elements("<int64 two = {2}> { s = Shape <start = 1> (x)  y = Div (s, two) }") ==
        "[1, 4, 4]");
  CHECK(elements("<int64 zero = {0}> { s = Shape <start = 1> (x)  y = Div (s, zero) }") == "none");
  CHECK(elements("<int64[1] a = {-7}, int64[1] b = {2}> { y = Div (a, b) }") == "[-3]");
}

TEST_CASE("payloads are not copied: inference of a large constant costs nothing") {
  Model model;
  model.ir_version = 10;
  model.opsets = {{"", 21}};
  Graph& g = model.graph();
  std::vector<Attribute> attributes;
  // Copied two hundred times it would take seconds.
  attributes.push_back(Attribute::of(
      "value", NamedTensor{"t", Tensor::from_bytes(DataType::kUint8, {64 << 20},
                                                   std::vector<std::byte>(64 << 20))}));
  Value& c = g.add_value("c");
  g.add_node("Constant", "", "", {}, {&c}, std::move(attributes));
  for (int k = 0; k < 200; ++k) CHECK(infer_node(*c.producer()).ok());
  CHECK(format_type(c.type()) == "uint8[67108864]");
  CHECK(why(check_node(*c.producer())) == "ok");
}

TEST_CASE("schemas") {
  const auto conv = find_schema("Conv", "", 21);
  REQUIRE(conv);
  CHECK(conv->since_version == 11);
  CHECK(conv->min_inputs == 2);
  CHECK(conv->max_inputs == 3);
  CHECK(conv->deterministic);
  CHECK(find_schema("Conv", "ai.onnx", 10)->since_version == 1);
  CHECK_FALSE(find_schema("RandomNormal", "", 21)->deterministic);
  CHECK(find_schema("Upsample", "", 10)->deprecated);
  CHECK(find_schema("Sum", "", 21)->max_inputs == INT_MAX);
  CHECK(find_schema("TreeEnsembleClassifier", "ai.onnx.ml", 3));
  CHECK(find_schema("If", "", 21)->deterministic);
  CHECK_FALSE(find_schema("Nothing", "", 21));
}

TEST_CASE("nodes are checked one by one") {
  const auto error = [](const std::string& body) {
    auto m = parse(
        "<ir_version: 10, opset_import: [\"\" : 21, \"acme\" : 1]> g (bool p, float[2] x) => (y) " +
        body);
    for (const Node& n : m->graph().nodes())
      if (const Status s = check_node(n); !s.ok()) return why(s);
    return std::string("ok");
  };
  CHECK(error("{ y = Neg (x) }") == "ok");
  CHECK(error("{ y = acme.Whatever (x) }") == "ok");
  CHECK(error("{ y = If (p) <then_branch = t () => (u) { u = Abs (x) }, else_branch = e () => (v) "
              "{ v = Exp (x) }> }") == "ok");
  CHECK(error("{ y = Nothing (x) }") ==
        "node #0 (Nothing): no Op registered for Nothing with domain_version of 21");
  CHECK(error("{ y = Cast (x) }") == "node #0 (Cast): required attribute 'to' is missing");
  CHECK(error("{ y = Neg (x, x) }").starts_with("node #0 (Neg): "));
  CHECK(error("{ y = Neg <made_up = 1> (x) }").find("made_up") != std::string::npos);
}

TEST_CASE("effects and randomness") {
  const auto m = parse(
      R"(<ir_version: 10, opset_import: ["" : 21, "acme" : 1, "local" : 1]> g (bool p, float[2] x) => (float[2] y)
    { a = acme.Op (x)  b = local.pure (x)  c = local.noisy (x)  d = RandomNormalLike (x)
      e = If (p) <then_branch = t () => (u) { u = RandomNormalLike (x) }, else_branch = f () => (v) { v = Exp (x) }>  y = Neg (x) }
    <domain: "local", opset_import: ["" : 21]> pure (i) => (o) { o = Neg (i) }
    <domain: "local", opset_import: ["" : 21, "acme" : 1]> noisy (i) => (o) { o = acme.Op (i) })");
  const auto node = [&](const char* name) -> const Node& {
    return *m->graph().find(name)->producer();
  };
  CHECK(may_have_effects(node("a")));
  CHECK_FALSE(may_have_effects(node("b")));
  CHECK(may_have_effects(node("c")));
  CHECK_FALSE(may_have_effects(node("d")));
  CHECK(is_deterministic(node("b")));
  CHECK_FALSE(is_deterministic(node("d")));
  CHECK_FALSE(is_deterministic(node("e")));
  CHECK(is_deterministic(node("y")));
  CHECK_FALSE(is_deterministic(node("a")));
}

TEST_CASE("text form: what cannot be read says where, what is printed can be read") {
  const auto broken =
      parse_text("<ir_version: 10, opset_import: [\"\" : 21]> g (float[2] x) => (y) { y = Neg (x ");
  REQUIRE_FALSE(broken.ok());
  CHECK(broken.error().message.starts_with("text: at position (line: 1 column: "));
  const auto m = parse(
      R"(<ir_version: 10, opset_import: ["" : 21]> g (float[n, 2] x) => (float[n, 2] y) <float[2] w = {0.1, -3e-8}> { a = Add (x, w)  y = Clip (a) })");
  CHECK(structural_difference(*m, *parse(print_text(*m))).value_or("") == "");
}

TEST_CASE("real models infer without contradiction") {
  const fs::path models = testing::shared_data("models");
  if (models.empty()) return;
  for (const auto& entry : fs::directory_iterator(models)) {
    const fs::path path = entry.path() / "model.onnx";
    if (!fs::exists(path) || entry.path().filename() == "gpt2_past") continue;
    INFO(path.string());
    auto model = load_model(path.string());
    REQUIRE(model.ok());
    CHECK(why(infer_graph((*model)->graph())) == "ok");
    CHECK(why(infer_graph((*model)->graph())) ==
          "ok");  // and what it found does not contradict itself
  }
}

// The values are those of onnx.shape_inference.infer_shapes(data_prop=True), onnx 1.23.2.
TEST_CASE("real models: known values") {
  const fs::path models = testing::shared_data("models");
  if (models.empty()) return;
  struct Known {
    const char *model, *value, *type;
  };
  for (const Known& k :
       {Known{"fsanet_1x1", "208", "float[1, 64, 16, 16]"},
        {"bert_toy", "117", "float[batch, max_seq_len_in_batch, 32]"},
        {"ultraface_rfb320", "313", "float[1, 64, 30, 40]"},
        {"ppocr_rec_en_number", "conv2d_67.tmp_0", "float[p2o.DynamicDimension.0, 30, 1, 1]"},
        {"nnsplit_en", "155", "float[2, batch, 128]"},
        {"selfie_segmentation", "mul_15:0", "float[1, 96, 9, 16]"}}) {
    INFO(k.model, " ", k.value);
    auto model = load_model((models / k.model / "model.onnx").string());
    REQUIRE(model.ok());
    CHECK(why(infer_graph((*model)->graph())) == "ok");
    const Value* v = (*model)->graph().find(k.value);
    REQUIRE(v);
    CHECK(format_type(v->type()) == k.type);
  }
}

}  // namespace
}  // namespace onnxtool
