#include "libopt/analysis/difference.h"

#include <doctest/doctest.h>

#include "libopt/analysis/digest.h"
#include "libopt/analysis/seam.h"
#include "libopt/analysis/structure.h"
#include "libopt/io/encode.h"

namespace onnxtool {
namespace {

std::unique_ptr<Model> parsed(
    const std::string& body,
    const std::string& head = R"(<ir_version: 8, opset_import: ["" : 17]>)") {
  auto m = parse_text(head + " g (float[1,4] x) => (float[1,4] y) " + body);
  REQUIRE(m.ok());
  return *std::move(m);
}

std::string text_of(const std::vector<Difference>& list) {
  std::string out;
  for (const Difference& d : list) {
    out += d.kind == Difference::Kind::kAdded     ? "+"
           : d.kind == Difference::Kind::kRemoved ? "-"
                                                  : "~";
    out += d.place + (d.what.empty() ? "" : ": " + d.what) + "\n";
  }
  return out;
}

const char* const kBase =
    "<float[4] w = {1, 2, 3, 4}> { a = Mul (x, w)  b = Relu (a)  c = Add (b, x)  y = Elu <alpha = "
    "0.5> (c) }";

TEST_CASE("names, order and where constants stand are no differences") {
  const auto other = parsed(
      "{ k = Constant <value = float[4] {1, 2, 3, 4}> ()  p = Mul (x, k)  q = Relu (p)  r = Add "
      "(q, x)  y = Elu <alpha = 0.5> (r) }");
  CHECK(text_of(model_differences(*parsed(kBase), *other)).empty());
}

TEST_CASE("a default that is written out is no difference, at the opset that has it") {
  const auto changes = [](const std::string& a, const std::string& b, int opset) {
    const std::string head =
        "<ir_version: 8, opset_import: [\"\" : " + std::to_string(opset) + "]>";
    return text_of(model_differences(*parsed("{ y = " + a + " (x) }", head),
                                     *parsed("{ y = " + b + " (x) }", head)));
  };
  CHECK(changes("Softmax", "Softmax <axis = -1>", 13).empty());
  CHECK(changes("Softmax", "Softmax <axis = 1>", 12).empty());
  CHECK(changes("Softmax", "Softmax <axis = -1>", 12) ==
        "~node #0 (Softmax): attribute 'axis': absent -> -1\n");
  CHECK(changes("LeakyRelu <alpha = 0.01>", "LeakyRelu", 16).empty());
  CHECK(changes("LeakyRelu <alpha = 0.02>", "LeakyRelu", 16) ==
        "~node #0 (LeakyRelu): attribute 'alpha': 0.02 -> absent\n");
}

TEST_CASE("each change is found alone, although all behind it reads it") {
  const auto base = parsed(kBase);
  const auto difference = [&](const std::string& body) {
    return text_of(model_differences(*base, *parsed(body)));
  };
  const std::string weight = difference(
      "<float[4] w = {1, 2, 3, 5}> { a = Mul (x, w)  b = Relu (a)  c = Add (b, x)  y = Elu <alpha "
      "= 0.5> (c) }");
  CHECK(weight.starts_with("~node #0 (Mul): input 1: float[4] sha256:"));
  CHECK(weight.find("SQNR 14.77 dB, largest difference 1\n") != std::string::npos);
  CHECK(std::count(weight.begin(), weight.end(), '\n') == 1);
  CHECK(difference("<float[4] w = {1, 2, 3, 4}> { a = Mul (x, w)  b = Relu (a)  c = Add (b, x)  y "
                   "= Elu <alpha = 0.25> (c) }") ==
        "~node #3 (Elu): attribute 'alpha': 0.5 -> 0.25\n");
  CHECK(difference("<float[4] w = {1, 2, 3, 4}> { a = Mul (x, w)  b = Relu (a)  t = Tanh (b)  c = "
                   "Add (t, x)  y = Elu <alpha = 0.5> (c) }") ==
        "+node #2 (Tanh)\n~node #3 (Add): input 0: reads the result of node #2 (Tanh) now\n");
  CHECK(difference("<float[4] w = {1, 2, 3, 4}> { a = Mul (x, w)  c = Add (a, x)  y = Elu <alpha = "
                   "0.5> (c) }") ==
        "-node #1 (Relu)\n~node #1 (Add): input 0: reads the result of node #0 (Mul) now\n");
  CHECK(difference("<float[4] w = {1, 2, 3, 4}> { a = Mul (x, w)  b = Sigmoid (a)  c = Add (b, x)  "
                   "y = Elu <alpha = 0.5> (c) }") ==
        "-node #1 (Relu)\n+node #1 (Sigmoid)\n~node #2 (Add): input 0: reads the result of node #1 "
        "(Sigmoid) now\n");
}

TEST_CASE("what programs see of a model is compared by name") {
  const auto base = parsed("{ y = Relu (x) }");
  const auto other = parsed("{ y = Relu (x) }", R"(<ir_version: 9, opset_import: ["" : 18]>)");
  CHECK(text_of(model_differences(*base, *other)) ==
        "~IR version: 8 -> 9\n~opset 'ai.onnx': 17 -> 18\n");
  const auto renamed = parse_text(
      R"(<ir_version: 8, opset_import: ["" : 17]> g (float[1,5] x) => (float[1,5] z) { z = Relu (x) })");
  const std::string text = text_of(model_differences(*base, **renamed));
  CHECK(text ==
        "~input 'x': float[1, 4] -> float[1, 5]\n-output 'y': float[1, 4]\n+output 'z': float[1, "
        "5]\n");
}

TEST_CASE("swapped outputs and changed subgraphs do not hide") {
  const auto two = [](const std::string& body) {
    return *parse_text(
        "<ir_version: 8, opset_import: [\"\" : 17]> g (float[1,4] x) => (float[1,4] y, float[1,4] "
        "z) " +
        body);
  };
  CHECK(text_of(model_differences(*two("{ y = Relu (x)  z = Elu (x) }"),
                                  *two("{ z = Relu (x)  y = Elu (x) }"))) ==
        "~output 'y': is made by another node\n~output 'z': is made by another node\n");
  const auto with_if = [](const std::string& op) {
    return *parse_text(
        "<ir_version: 8, opset_import: [\"\" : 17]> g (bool c, float[1,4] x) => (float[1,4] y) { y "
        "= If (c) <then_branch = t () => (float[1,4] p) { p = " +
        op + " (x) }, else_branch = e () => (float[1,4] q) { q = Neg (x) }> }");
  };
  CHECK(model_differences(*with_if("Relu"), *with_if("Relu")).empty());
  CHECK(text_of(model_differences(*with_if("Relu"), *with_if("Elu"))) ==
        "~node #0 (If): then_branch: output 'p': is made by another node\n"
        "-node #0 (If): then_branch: node #0 (Relu)\n"
        "+node #0 (If): then_branch: node #0 (Elu)\n");
  CHECK(text_of(model_differences(*with_if("Elu <alpha = 0.5>"), *with_if("Elu"))) ==
        "~node #0 (If): then_branch: node #0 (Elu): attribute 'alpha': 0.5 -> absent\n");
}

TEST_CASE("inner graphs behind a change are no change themselves") {
  const auto with_if = [](const std::string& before, const std::string& w,
                          const std::string& type) {
    return *parse_text(
        "<ir_version: 8, opset_import: [\"\" : 17]> g (bool c, float[1,4] x, int64 n) => "
        "(float[1,4] y) { a = " +
        before + " (x)  y = If (c) <then_branch = t () => (float[1,4] p) <float[1] w = {" + w +
        "}> { p = Mul (a, w) }, else_branch = e () => (float[1,4] q) { q = Loop (n, c, a) <body = "
        "o (int64 i, bool k, " +
        type +
        " v) => (bool l, float[1,4] u) { l = Identity (k)  u = Neg "
        "(v) }> }> }");
  };
  const auto base = with_if("Elu", "1.0", "float[1,4]");
  CHECK(text_of(model_differences(*base, *with_if("Elu <alpha = 0.5>", "1.0", "float[4,1]"))) ==
        "~node #0 (Elu): attribute 'alpha': absent -> 0.5\n");
  // Which constant, with digests and SQNR, and how deep inside.
  const std::string weight =
      text_of(model_differences(*base, *with_if("Elu", "1.1", "float[1,4]")));
  CHECK(weight.starts_with("~node #1 (If): then_branch: node #0 (Mul): input 1: float[1] sha256:"));
  CHECK(weight.find("SQNR") != std::string::npos);
  CHECK(text_of(model_differences(*base, *with_if("Elu", "1.0", "uint16[1,4]"))) ==
        "~node #1 (If): else_branch: node #0 (Loop): body: input 'v': float[...] -> "
        "uint16[...]\n");
}

TEST_CASE("how many results are asked for is part of what a node computes") {
  const auto split = [](const std::string& outputs) {
    return *parse_text(
        "<ir_version: 8, opset_import: [\"\" : 17]> g (float[6] x) => (float[N] y) { " + outputs +
        " = Split (x)  y = Relu (a) }");
  };
  CHECK(text_of(model_differences(*split("a, b"), *split("a, b, c"))) ==
        "~node #0 (Split): results: 2 -> 3\n");
  CHECK(text_of(model_differences(*split("a, b"), *split("a, c"))).empty());
}

// A sparse initializer 'sp' of the shape [4], in the bytes of its field.
std::string sparse_field(float value, int64_t index) {
  const auto field = [](int number, const std::string& content) {
    return std::string(1, static_cast<char>(number * 8 + 2)) + static_cast<char>(content.size()) +
           content;
  };
  const NamedTensor values{"sp", Tensor::vector(std::vector<float>{value})};
  const NamedTensor indices{"", Tensor::vector(std::vector<int64_t>{index})};
  const std::string body = field(1, encode_tensor(values.name, values.tensor).flatten()) +
                           field(2, encode_tensor(indices.name, indices.tensor).flatten()) +
                           std::string("\x18\x04", 2);
  return std::string(1, static_cast<char>(15 * 8 + 2)) + static_cast<char>(body.size()) + body;
}

TEST_CASE("sparse initializers are compared by what they hold") {
  const auto with_sparse = [](float value, int64_t index) {
    auto m = parsed("<float[4] sp = {1, 2, 3, 4}> { y = Mul (x, sp) }");
    Graph& graph = m->graph();
    graph.clear_initializer(*graph.find("sp"));
    graph.opaque_fields.push_back(sparse_field(value, index));
    return m;
  };
  const auto base = with_sparse(2, 1);
  CHECK(text_of(model_differences(*base, *with_sparse(2, 1))).empty());
  CHECK(semantic_digest(*base) == semantic_digest(*with_sparse(2, 1)));
  for (const auto& other : {with_sparse(9, 1), with_sparse(2, 3)}) {
    const std::string found = text_of(model_differences(*base, *other));
    CHECK(found.starts_with("~node #0 (Mul): input 1: sparse float[4] sha256:"));
    CHECK(outline(*base) != outline(*other));
    CHECK(semantic_digest(*base) != semantic_digest(*other));
  }
}

TEST_CASE("the outline tells floats from integers") {
  const auto with = [](const std::string& value) {
    return outline(
        **parse_text("<ir_version: 8, opset_import: [\"\" : 17, \"own\" : 1]> g "
                     "(float[1] x) => (float[1] y) { y = own.Op <a = " +
                     value + "> (x) }"));
  };
  CHECK(with("1") != with("1.0"));
  CHECK(with("[1, 2]") != with("[1.0, 2.0]"));
}

TEST_CASE("names of extents are told from numbers, and from two names") {
  const auto with_input = [](std::vector<Dim> dims) {
    auto m = *parse_text(
        "<ir_version: 8, opset_import: [\"\" : 17]> g (float x) => (float[2] y) "
        "<float[2] w = {1, 2}> { y = Relu (w) }");
    m->graph().find("x")->set_type(ValueType::tensor(DataType::kFloat, std::move(dims)));
    return m;
  };
  const auto difference = [&](std::vector<Dim> a, std::vector<Dim> b) {
    return text_of(model_differences(*with_input(std::move(a)), *with_input(std::move(b))));
  };
  const Dim two = Dim::of(2);
  CHECK(difference({two}, {Dim::named("2")}) == "~input 'x': float[2] -> float['2']\n");
  CHECK(difference({Dim::named("a, b")}, {Dim::named("a"), Dim::named("b")}) ==
        "~input 'x': float['a, b'] -> float[a, b]\n");
  CHECK(difference({Dim()}, {Dim::named("?")}) == "~input 'x': float[?] -> float['?']\n");
  CHECK(difference({Dim::named("floor(h/2) + 1")}, {Dim::named("floor(h/2) + 1")}) == "");
}

TEST_CASE("inner graphs: nodes that nothing reads count, and inputs of several graphs differ") {
  const auto with_if = [](const std::string& more) {
    return *parse_text(
        "<ir_version: 8, opset_import: [\"\" : 17]> g (bool c, float[1,4] x) => (float[1,4] y) { y "
        "= If (c) <then_branch = t () => (float[1,4] p) { p = Relu (x) " +
        more + " }, else_branch = e () => (float[1,4] q) { q = Neg (x) }> }");
  };
  CHECK(
      model_differences(*with_if("d = Exp (x)  e = Abs (x)"), *with_if("e = Abs (x)  d = Exp (x)"))
          .empty());
  CHECK(text_of(model_differences(*with_if(""), *with_if("d = Exp (x)"))) ==
        "+node #0 (If): then_branch: node #1 (Exp)\n");
  const auto loops = [](const std::string& read) {
    return *parse_text(
        "<ir_version: 8, opset_import: [\"\" : 17]> g (int64 n, bool c, int64 s) => (int64 y) { y "
        "= "
        "Loop (n, c, s) <body = o (int64 i, bool k, int64 a) => (bool k2, int64 b) { k2 = Identity "
        "(k) b = Loop (n, c, a) <body = p (int64 j, bool l, int64 d) => (bool l2, int64 e) { l2 = "
        "Identity (l) e = Add (d, " +
        read + ") }> }> }");
  };
  CHECK(model_differences(*loops("i"), *loops("i")).empty());
  CHECK(model_differences(*loops("i"), *loops("j")).size() == 1);
}

TEST_CASE("the order of outputs counts, and so do constants that nothing reads") {
  const auto outputs = [](const std::string& list) {
    auto m = parse_text("<ir_version: 8, opset_import: [\"\" : 17]> g (float[1,4] x) => (" + list +
                        ") { y = Relu (x)  z = Abs (x) }");
    REQUIRE(m.ok());
    return *std::move(m);
  };
  CHECK(text_of(model_differences(*outputs("float[1,4] y, float[1,4] z"),
                                  *outputs("float[1,4] z, float[1,4] y"))) ==
        "~order of outputs: y, z -> z, y\n");
  const std::string nodes = "{ y = Relu (x) }";
  const auto plain = parsed(nodes), payload = parsed("<float[2] p = {1, 2}> " + nodes),
             other = parsed("<float[2] q = {1, 3}> " + nodes);
  CHECK(text_of(model_differences(*plain, *payload)).starts_with("+unread initializer 'p': "));
  CHECK(text_of(model_differences(*payload, *plain)).starts_with("-unread initializer 'p': "));
  CHECK(model_differences(*payload, *other).size() == 2);
  CHECK(model_differences(*payload, *parsed("<float[2] r = {1, 2}> " + nodes)).empty());
}

TEST_CASE("attributes that look alike differ") {
  const auto with = [](std::vector<Attribute> attributes) {
    auto m = *parse_text(
        R"(<ir_version: 8, opset_import: ["" : 17, "c" : 1]> g (float x) => (float y) { y = c.C (x) })");
    for (Attribute& a : attributes) (*m->graph().nodes().begin()).set_attribute(std::move(a));
    return m;
  };
  const auto difference = [&](std::vector<Attribute> a, std::vector<Attribute> b) {
    return text_of(model_differences(*with(std::move(a)), *with(std::move(b))));
  };
  const auto one = [](Attribute a) {
    std::vector<Attribute> out;
    out.push_back(std::move(a));
    return out;
  };
  std::vector<Attribute> two = one(Attribute::of<int64_t>("a", 1));
  two.push_back(Attribute::of<int64_t>("b", 2));
  CHECK(difference(std::move(two), one(Attribute::of<int64_t>("a=1 b", 2))) ==
        "~node #0 (c.C): attribute 'a': 1 -> absent\n~node #0 (c.C): attribute 'a=1 b': absent -> "
        "2\n~node #0 (c.C): attribute 'b': 2 -> absent\n");
  CHECK(difference(one(Attribute::of<float>("a", 1)), one(Attribute::of<int64_t>("a", 1))) ==
        "~node #0 (c.C): attribute 'a': float 1 -> int 1\n");
  using Strings = std::vector<std::string>;
  CHECK(difference(one(Attribute::of<Strings>("a", {"a", "b"})),
                   one(Attribute::of<Strings>("a", {"a\", \"b"}))) ==
        "~node #0 (c.C): attribute 'a': [\"a\", \"b\"] -> [\"a\\\", \\\"b\"]\n");
}

TEST_CASE("operators whose domain and name join to the same text differ") {
  const auto with = [](const std::string& domain, const std::string& op) {
    auto m = parsed("{ y = Relu (x) }");
    m->graph().set_op(*m->graph().nodes().begin(), op, domain);
    return m;
  };
  CHECK(text_of(model_differences(*with("d.e", "C"), *with("d", "e.C"))) ==
        "~output 'y': is made by another node\n-node #0 (d.e.C)\n+node #0 (d.e.C)\n");
}

// The function that all cases change: f.S (a, b) = LeakyRelu (a - b).
std::unique_ptr<Model> with_function(const std::string& head, const std::string& body) {
  auto m = parse_text(
      R"(<ir_version: 9, opset_import: ["" : 17, "f" : 1]> g (float[1,3] x, float[1,3] z) => )"
      R"((float[1,3] y) { y = f.S (x, z) } <domain: "f", opset_import: )" +
      head + body);
  REQUIRE_MESSAGE(m.ok(), (m.ok() ? "" : m.error().message));
  return *std::move(m);
}

TEST_CASE("functions are compared by signature, attributes, opsets and all their nodes") {
  const std::string head = R"(["" : 17]> S <alpha : float = 0.1> )";
  const std::string body =
      "(a, b) => (s) { t = Sub (a, b)  s = LeakyRelu <alpha : float = @alpha> (t) }";
  const auto base = with_function(head, body);
  const auto difference = [&](const std::string& other_head, const std::string& other_body) {
    return text_of(model_differences(*base, *with_function(other_head, other_body)));
  };
  CHECK(difference(head,
                   "(A, B) => (r) { u = Sub (A, B)  r = LeakyRelu <alpha : float = @alpha> "
                   "(u) }") == "");
  CHECK(difference(head,
                   "(b, a) => (s) { t = Sub (a, b)  s = LeakyRelu <alpha : float = @alpha> "
                   "(t) }") ==
        "~function 'f.S': node #0 (Sub): input 0: reads 'a' now\n"
        "~function 'f.S': node #0 (Sub): input 1: reads 'b' now\n");
  CHECK(difference(head,
                   "(a, b) => (s) { t = Sub (a, b)  d = Exp (a)  s = LeakyRelu <alpha : "
                   "float = @alpha> (t) }") == "+function 'f.S': node #1 (Exp)\n");
  CHECK(difference(head,
                   "(a, b, c) => (s) { t = Sub (a, b)  s = LeakyRelu <alpha : float = "
                   "@alpha> (t) }") ==
        "~function 'f.S': 2 inputs, 1 outputs -> 3 inputs, 1 outputs\n");
  CHECK(difference(R"(["" : 17]> S <alpha : float = 0.9> )", body) ==
        "~function 'f.S': default of attribute 'alpha': 0.1 -> 0.9\n");
  CHECK(difference(R"(["" : 17]> S <alpha> )", body) ==
        "~function 'f.S': default of attribute 'alpha': 0.1 -> none\n");
  CHECK(difference(R"(["" : 13]> S <alpha : float = 0.1> )", body) ==
        "~function 'f.S': opset 'ai.onnx': 17 -> 13\n");
}

TEST_CASE("the outline changes exactly where the model does") {
  const std::string a = outline(*parsed(kBase));
  CHECK(a.find("'a' = Mul 'x' 'w'\n") != std::string::npos);
  CHECK(a.find("alpha=0.5") != std::string::npos);
  CHECK(a != outline(*parsed("<float[4] w = {1, 2, 3, 5}> { a = Mul (x, w)  b = Relu (a)  c = Add "
                             "(b, x)  y = Elu <alpha = 0.5> (c) }")));
}

}  // namespace
}  // namespace onnxtool
