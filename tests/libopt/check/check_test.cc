// The findings of check on small models, whole and broken. Verdicts on many files are compared with
// onnx's checker in tests/python/test_check.py.
#include "libopt/check/check.h"

#include <doctest/doctest.h>

#include <set>

#include "libopt/analysis/digest.h"
#include "libopt/analysis/seam.h"
#include "libopt/io/decode.h"
#include "libopt/io/encode.h"
#include "tests/libopt/check/checked.h"

namespace onnxtool {
namespace {

using testing::check_bytes;
using testing::encoded_text;

std::unique_ptr<Model> parsed(const std::string& text) {
  auto model = parse_text(text);
  REQUIRE_MESSAGE(model.ok(), model.error().message);
  return *std::move(model);
}

// Same length, so that no length field changes.
std::string replaced(std::string bytes, const std::string& from, const std::string& to) {
  REQUIRE(from.size() == to.size());
  const size_t at = bytes.find(from);
  REQUIRE(at != std::string::npos);
  return bytes.replace(at, from.size(), to);
}

std::set<std::string> codes(const CheckResult& r) {
  std::set<std::string> out;
  for (const CheckFinding& f : r.findings) out.insert(std::string(f.rule().code));
  return out;
}

using Codes = std::set<std::string>;

const std::string kHead = "<ir_version: 8, opset_import: [\"\" : 17]> g ";
const std::string kTwoNodes =
    kHead +
    "(float[2] inside) => (float[2] outside) <float[2] weight = {1.0, 2.0}> "
    "{ [first] middle = Add (inside, weight)  [second] outside = Relu (middle) }";

TEST_CASE("check: of two imports of a domain the last counts, and it is said") {
  // Field 8, an OpsetImport of 2 bytes: `version`, for the domain "".
  const auto again = [](char version) { return std::string("\x42\x02\x10", 3) + version; };
  const CheckResult r = check_bytes(encoded_text(kTwoNodes) + again(12));
  CHECK(codes(r) == Codes{"duplicate-opset-import"});
  REQUIRE(r.findings.size() == 1);
  CHECK(r.findings[0].message.find("at version 17 and again at 12") != std::string::npos);
  REQUIRE(r.model != nullptr);
  CHECK(r.model->opset("") == 12);
  CHECK(r.model->opsets.size() == 1);
  CHECK(check_bytes(encoded_text(kTwoNodes) + again(12) + again(13)).model->opset("") == 13);
}

TEST_CASE("check: a sound model has no findings") {
  const CheckResult r = check_bytes(encoded_text(kTwoNodes));
  CHECK(codes(r) == Codes{});
  CHECK(r.model != nullptr);
}

// A graph with the extent given to input `x` and output `y`, as files can have them: below 0, too.
std::string with_extents(std::optional<int64_t> of_x, std::optional<int64_t> of_y) {
  auto model = parsed(kHead + "(float[n] x) => (float[n] y) { [a] y = Relu (x) }");
  const auto type = [](std::optional<int64_t> extent) {
    return ValueType::tensor(DataType::kFloat, std::vector<Dim>{{extent, {}, {}}});
  };
  model->graph().find("x")->set_type(type(of_x));
  model->graph().find("y")->set_type(type(of_y));
  return encode_model(*model).flatten();
}

TEST_CASE("check: a negative extent is a number, which inference must agree with") {
  CHECK(codes(check_bytes(with_extents(-1, -1))) == Codes{});
  CHECK(codes(check_bytes(with_extents(-1, {}))) == Codes{});
  CHECK(codes(check_bytes(with_extents({}, -1))) == Codes{});
  CHECK(codes(check_bytes(with_extents(3, -1))) == Codes{"type-conflict"});
  CHECK(codes(check_bytes(with_extents(-1, 3))) == Codes{"type-conflict"});
  CHECK(codes(check_bytes(with_extents(-1, -2))) == Codes{"type-conflict"});
  const CheckResult r = check_bytes(with_extents(-1, 3));
  CHECK(r.findings[0].hint.find("name an extent that varies") != std::string::npos);
  // The graph that is left has none, since no other code knows them.
  CHECK_FALSE(r.model->graph().find("x")->type().shape->at(0).value.has_value());
}

TEST_CASE("check: every declaration of a value says the same") {
  // The last time that `from` stands in the file: among the declarations, which follow the nodes.
  const auto declared = [](const std::string& graph, const std::string& from,
                           const std::string& to) {
    std::string bytes = encoded_text(kHead + graph);
    return check_bytes(bytes.replace(bytes.rfind(from), from.size(), to));
  };
  const auto passed = [&](const std::string& type) {
    const std::string op = type.starts_with("int64") ? "Cast <to = 7>" : "Neg";
    const CheckResult r = declared("(float[m] inp) => (float[m] y, " + type +
                                       " out) { [a] y = Relu (inp)  [b] out = " + op + " (inp) }",
                                   "out", "inp");
    return codes(r).contains("type-conflict");
  };
  CHECK_FALSE(passed("float[m]"));
  CHECK_FALSE(passed("float[5]"));  // a promise on what varies
  CHECK(passed("int64[m]"));
  CHECK(passed("float[m, 1]"));
  // An extent that nothing else meets is a contradiction that no runtime looks at.
  const auto given_on = [&](const std::string& read) {
    return codes(
        declared("(float[3] inp, float[3] oth) => (float[3] y, float[4] out) { [a] y = "
                 "Relu (" +
                     read + ")  [b] out = Relu (oth) }",
                 "out", "inp"));
  };
  CHECK(given_on("oth").contains("possible-type-conflict"));
  CHECK_FALSE(given_on("oth").contains("type-conflict"));
  CHECK(given_on("inp").contains("type-conflict"));
  // A subgraph that calls a value of the outer graph something else: ONNX Runtime refuses that too.
  const auto branch = [&](const std::string& type) {
    return declared(
        "(bool c, float[2] inp) => (float[2] y) { [a] y = If (c) <then_branch = t () => "
        "(float[2] p) <" +
            type +
            " qqq> { [d] qqq = Neg (inp)  [e] p = Relu (qqq) }, else_branch = e () => "
            "(float[2] r) { [f] r = Relu (inp) }> }",
        "qqq", "inp");
  };
  CHECK(codes(branch("float[2]")) == Codes{});
  CHECK(codes(branch("float[3]")).contains("type-conflict"));
  CHECK(codes(branch("int64[2]")).contains("type-conflict"));
}

TEST_CASE("check: names and order") {
  const std::string good = encoded_text(kTwoNodes);
  CHECK(codes(check_bytes(replaced(good, "middle", "nodule"))).contains("unknown-input"));
  CHECK(codes(check_bytes(replaced(good, "weight", "height"))).contains("unknown-input"));
  const std::string cyclic =
      encoded_text(kHead +
                   "(float[2] in_) => (float[2] out) { abc = Add (in_, in_)  def "
                   "= Relu (abc)  out = Neg (def) }");
  // The Add reads what the Relu makes.
  CHECK(codes(check_bytes(replaced(cyclic, "in_\x0a\x03in_",
                                   "in_\x0a\x03"
                                   "def")))
            .contains("cycle"));
  CHECK(codes(check_bytes(replaced(cyclic, "in_\x0a\x03in_",
                                   "in_\x0a\x03"
                                   "xyz")))
            .contains("unknown-input"));
}

TEST_CASE("check: nodes against their schema") {
  const std::string good = encoded_text(kTwoNodes);
  CHECK(codes(check_bytes(replaced(good, "Relu", "Rely"))) == Codes{"unknown-operator"});
  const std::string softmax =
      encoded_text(kHead + "(float[2,2] x) => (float[2,2] y) { y = Softmax <axis = 1> (x) }");
  CHECK(codes(check_bytes(replaced(softmax, "axis", "axes"))) == Codes{"unknown-attribute"});
}

TEST_CASE("check: every fault is told, not only the first") {
  std::string bytes = encoded_text(kTwoNodes);
  bytes = replaced(bytes, "Relu", "Rely");
  bytes = replaced(bytes, "weight", "height");
  const Codes found = codes(check_bytes(bytes));
  CHECK(found.contains("unknown-operator"));
  CHECK(found.contains("unknown-input"));
}

TEST_CASE("check: wherever a file is cut off, it is a finding") {
  const std::string good = encoded_text(kTwoNodes);
  for (size_t size = 0; size < good.size(); ++size) {
    const CheckResult r = check_bytes(good.substr(0, size));
    CHECK_MESSAGE(r.has(Severity::kError), size);
    CHECK(!codes(r).contains("not-loadable"));
  }
}

TEST_CASE("check: any changed byte gives findings or a model, never a crash") {
  const std::string good = encoded_text(kTwoNodes);
  for (size_t at = 0; at < good.size(); ++at)
    for (const int bits : {1, 4, 0x80}) {
      std::string bytes = good;
      bytes[at] = static_cast<char>(bytes[at] ^ bits);
      const CheckResult r = check_bytes(bytes);
      CHECK((r.has(Severity::kError) || r.model));
    }
}

TEST_CASE("check: faults of the encoding say where") {
  const std::string good = encoded_text(kTwoNodes);
  const CheckResult r = check_bytes(good.substr(0, good.size() / 2));
  REQUIRE(r.findings.size() == 1);
  CHECK(r.findings[0].id == RuleId::kTruncated);
  REQUIRE(r.findings[0].offset);
  CHECK(*r.findings[0].offset < good.size() / 2);
}

TEST_CASE("check: declarations are held against inference") {
  const std::string bad = "(float[2] x) => (float[3] y) { y = Relu (x) }";
  CHECK(codes(check_bytes(encoded_text(kHead + bad))).contains("type-conflict"));
  // Behind an operator that nobody knows it is a suspicion.
  const std::string behind =
      "<ir_version: 8, opset_import: [\"\" : 17, \"own\" : 1]> g (float[2] x) => (float[3] y) { a "
      "= own.Op (x)  y = Relu (x) }";
  CHECK(codes(check_bytes(encoded_text(behind))).contains("possible-type-conflict"));
  // What the file declares there is none, where the operator does not take it.
  const auto declared = [](const std::string& type) {
    return codes(check_bytes(encoded_text(
        "<ir_version: 8, opset_import: [\"\" : 17, \"own\" : 1]> g (float[2] x) => (float[2] y) "
        "<" +
        type + " a> { a = own.Op (x)  y = Relu (a) }")));
  };
  CHECK_FALSE(declared("float[2]").contains("type-conflict"));
  CHECK(declared("string[2]").contains("type-conflict"));
  CHECK_FALSE(declared("float[3]").contains("type-conflict"));
  CHECK(declared("float[3]").contains("possible-type-conflict"));
}

TEST_CASE("check: negative extents inside of containers are numbers too") {
  const auto with_output = [](std::optional<int64_t> extent) {
    auto model =
        parsed(kHead + "(float[3] x) => (seq(float[3]) y) { [a] y = SequenceConstruct (x) }");
    ValueType type;
    type.kind = ValueType::Kind::kSequence;
    type.element = std::make_shared<const ValueType>(
        ValueType::tensor(DataType::kFloat, std::vector<Dim>{{extent, {}, {}}}));
    model->graph().find("y")->set_type(type);
    return check_bytes(encode_model(*model).flatten());
  };
  CHECK(codes(with_output(3)) == Codes{});
  const CheckResult r = with_output(-3);
  CHECK(codes(r) == Codes{"type-conflict"});
  CHECK_FALSE(r.model->graph().find("y")->type().element->shape->at(0).value == -3);
}

TEST_CASE("check: in the main graph an attribute's value counts, whatever it refers to") {
  auto model =
      parsed(kHead + "(float[2,3] x) => (float[2,3] y) { [a] y = Softmax <axis = 0> (x) }");
  Attribute refers = Attribute::of("axis", int64_t{0});
  refers.ref = "what";
  for (Node& n : model->graph().nodes()) n.set_attribute(std::move(refers));
  const CheckResult r = check_bytes(encode_model(*model).flatten());
  CHECK(codes(r) == Codes{});
  REQUIRE(r.model);
  for (const Node& n : r.model->graph().nodes()) CHECK(n.attr<int64_t>("axis", -7) == 0);
}

TEST_CASE("check: a domain without operators may be imported at any version") {
  const auto importing = [](const std::string& version) {
    std::string text = kTwoNodes;
    return text.replace(text.find("\"\" : 17"), 7, "\"\" : 17, \"own\" : " + version);
  };
  auto model = parsed(importing("1"));
  model->opsets.back().version = -1;
  CHECK(codes(check_bytes(encode_model(*model).flatten())) == Codes{});
}

TEST_CASE("check: a runtime's release bounds opset and IR version") {
  CheckOptions options;
  options.runtime = find_runtime("ort-1.12");
  REQUIRE(options.runtime);
  CHECK(codes(check_bytes(encoded_text(kTwoNodes), options)) == Codes{});
  const std::string newer =
      "<ir_version: 10, opset_import: [\"\" : 21]> g (float[2] x) => (float[2] y) { [n] y = Relu "
      "(x) }";
  CHECK(codes(check_bytes(encoded_text(newer), options)) ==
        Codes{"runtime-opset", "runtime-ir-version"});
  const auto importing = [](const std::string& domain, int version, const char* runtime) {
    CheckOptions of_release;
    of_release.runtime = find_runtime(runtime);
    std::string text = kTwoNodes;
    text.replace(text.find("\"\" : 17"), 7,
                 "\"\" : 17, \"" + domain + "\" : " + std::to_string(version));
    return codes(check_bytes(encoded_text(text), of_release)).contains("runtime-opset");
  };
  for (const char* domain : {"com.microsoft", "ai.onnx.training", "ai.onnx.preview.training",
                             "com.microsoft.nchwc", "org.pytorch.aten"}) {
    CHECK_FALSE(importing(domain, 1, "ort-1.31"));
    CHECK(importing(domain, 2, "ort-1.31"));
    CHECK(importing(domain, 2, "ort-1.15"));
  }
  CHECK(importing("ai.onnx.preview", 2, "ort-1.28"));
  CHECK_FALSE(importing("ai.onnx.preview", 2, "ort-1.27"));
  CHECK_FALSE(importing("com.ms.internal.nhwc", 26, "ort-1.31"));
  CHECK(importing("com.ms.internal.nhwc", 27, "ort-1.31"));
  CHECK_FALSE(importing("own.domain", 5, "ort-1.31"));
}

TEST_CASE("check: LayerNormalization takes any attribute, as its schema says") {
  const auto with = [](const std::string& node) {
    return codes(check_bytes(encoded_text(
        "<ir_version: 8, opset_import: [\"\" : 17]> g (float[2,3] x, float[3] s) => (float[2,3] y) "
        "{ [n] y = " +
        node + " }")));
  };
  CHECK(with("LayerNormalization <epsion = 0.1> (x, s)") == Codes{});
  CHECK(with("Softmax <epsion = 0.1> (x)").contains("unknown-attribute"));
}

TEST_CASE("check: what is looked up one by one is limited") {
  auto model = parsed(kTwoNodes);
  for (Node& n : model->graph().nodes())
    for (int i = 0; i < 5000; ++i) {
      if (!n.is("Relu")) break;
      n.set_attribute(Attribute::of("a" + std::to_string(i), int64_t{1}));
    }
  const std::string bytes = encode_model(*model).flatten();
  CHECK(check_bytes(bytes).model == nullptr);
  CHECK(decode_model({std::as_bytes(std::span(bytes)), nullptr, nullptr})
            .error()
            .message.find("has 5000 attributes, expected at most 4096") != std::string::npos);
  model = parsed(kTwoNodes);
  for (int i = 0; i < 1001; ++i) model->opsets.push_back({"own" + std::to_string(i), 1});
  CHECK(codes(check_bytes(encode_model(*model).flatten())).contains("not-loadable"));
}

TEST_CASE("check: a runtime refuses declarations without an element type") {
  const auto found = [](const std::string& name, const char* runtime) {
    auto model =
        parsed(kHead + "(float[2] x) => (float[2] y) <float[2] t> { t = Neg (x)  y = Relu (t) }");
    model->graph().find(name)->set_type(ValueType::tensor(DataType::kUndefined));
    CheckOptions options;
    if (runtime) options.runtime = find_runtime(runtime);
    return codes(check_bytes(encode_model(*model).flatten(), options)).contains("runtime-type");
  };
  CHECK(found("t", "ort-1.31"));
  CHECK(found("y", "ort-1.20"));
  CHECK_FALSE(found("t", nullptr));
}

TEST_CASE("check: words that no operator lists, and which of them the runtime refuses") {
  const auto found = [](const std::string& node, std::string_view runtime, int opset = 18) {
    CheckOptions options;
    options.runtime = find_runtime(runtime);
    const CheckResult r = testing::check_bytes(
        testing::encoded_text("<ir_version: 8, opset_import: [\"\" : " + std::to_string(opset) +
                              "]> g (float[1,4,2,2] x) => (float[A,B,C,D] y) "
                              "<int64[8] p = {0,0,0,0,0,0,0,1}> { [n] y = " +
                              node + " }"),
        options);
    std::string out;
    for (const CheckFinding& f : r.findings)
      if (f.id != RuleId::kDeadInitializer) out += std::string(f.rule().code) + " ";
    return out;
  };
  const std::string bad_pad = "Pad <mode = \"mean\"> (x, p)";
  CHECK(found(bad_pad, "") == "unlisted-value ");
  CHECK(found(bad_pad, "ort-1.31") == "runtime-attribute ");
  CHECK(found("Pad <mode = \"edge\"> (x, p)", "ort-1.31").empty());
  CHECK(found("DepthToSpace <blocksize = 2, mode = \"dcr\"> (x)", "ort-1.31") ==
        "runtime-attribute ");
  // ONNX Runtime takes an empty auto_pad for none.
  const std::string empty = "MaxPool <kernel_shape = [1, 1], auto_pad = \"\"> (x)";
  CHECK(found(empty, "") == "unlisted-value ");
  CHECK(found(empty, "ort-1.31") == "unlisted-value ");
  CHECK(found("Gelu <approximate = \"erf\"> (x)", "ort-1.31", 20) == "unlisted-value ");
  CHECK(found("Clip <min = 2.0, max = 1.0> (x)", "ort-1.31", 10) == "runtime-attribute ");
  CHECK(found("Clip <min = 1.0, max = 2.0> (x)", "ort-1.31", 10).empty());
}

TEST_CASE("check: operators outside of the standard may be restricted") {
  const std::string custom = encoded_text(
      "<ir_version: 8, opset_import: [\"\" : 17, \"own\" : 1]> g (float[2] x) => (float[2] y) { "
      "[n] y = own.Op (x) }");
  CHECK(codes(check_bytes(custom)) == Codes{"custom-operator"});
  CheckOptions options;
  options.allowed_ops = {"other"};
  CHECK(codes(check_bytes(custom, options)) == Codes{"operator-not-allowed"});
  for (const std::string allowed : {"own", "own:Op"}) {
    options.allowed_ops = {allowed};
    CHECK(codes(check_bytes(custom, options)) == Codes{});
  }
}

TEST_CASE("check: what exporters leave behind") {
  const auto advice = [](const std::string& body) {
    return codes(check_bytes(encoded_text(kHead + body)));
  };
  CHECK(advice("(float[2] x) => (float[2] y) { y = Relu (x) }") == Codes{"unnamed-node"});
  CHECK(advice(
            "(float[N,4] x) => (float[1,4] y) <int64[2] s = {1, -1}> { [r] y = Reshape (x, s) }") ==
        Codes{"frozen-batch"});
  CHECK(advice(
            "(float[N,4] x) => (float[N,4] y) <int64[2] s = {-1, 4}> { [r] y = Reshape (x, s) }") ==
        Codes{});
  CHECK(advice("(float[2] x) => (float[2] y) { [d] y = Dropout (x) }") == Codes{"dropout-left"});
  CHECK(advice("(float[2] x, float[2] z) => (float[2] y) { [r] y = Relu (x) }") ==
        Codes{"unused-input"});
  CHECK(advice("(float[2] x) => (float[2] y) <float[2] w = {1.0, 2.0}> { [r] y = Relu (x) }") ==
        Codes{"dead-initializer"});
  CHECK(advice("(float[2] x) => (float[2] y) { [r] y = Relu (x)  [s] z = Neg (x) }") ==
        Codes{"dead-node"});
  CHECK(advice("(float[2] x) => (float[2] y) { [r] z = Relu (x)  [r] y = Neg (z) }") ==
        Codes{"duplicate-node-name"});
}

TEST_CASE("check: values are looked at when asked to") {
  const std::string masked = encoded_text(
      kHead + "(float[2] x) => (float[2] y) <float[2] w = {-1e30, 2.0}> { [a] y = Add (x, w) }");
  CheckOptions options;
  CHECK(codes(check_bytes(masked, options)) == Codes{});
  options.read_weights = true;
  CHECK(codes(check_bytes(masked, options)) == Codes{"fp16-overflow"});
}

TEST_CASE("check: NaN is found in all float types, in functions, and by its place") {
  CheckOptions options;
  options.read_weights = true;
  for (const DataType type :
       {DataType::kFloat, DataType::kDouble, DataType::kFloat16, DataType::kBfloat16}) {
    const std::string word(name(type));
    CAPTURE(word);
    const auto model =
        parsed(kHead +
               "(float[1] x) => (float[1] y) <float[1] w = {1}> { [c] k = Cast <to = 1> (w)"
               "  [a] y = Add (x, k) }");
    const size_t bytes = size_bytes_of(type, 1);
    model->graph().set_initializer(
        *model->graph().find("w"),  // all bits set are NaN in all of them
        Tensor::from_bytes(type, {1}, std::vector<std::byte>(bytes, std::byte{0xff})));
    const CheckResult r = check_bytes(encode_model(*model).flatten(), options);
    REQUIRE(codes(r) == Codes{"nan-weights"});
    CHECK(r.findings[0].place == "initializer 'w'");
  }
  auto calling = parsed(
      R"(<ir_version: 9, opset_import: ["" : 17, "f" : 1]> g (float[1] x) => (float[1] y) { [n] )"
      R"(y = f.S (x) } <domain: "f", opset_import: ["" : 17]> S (x) => (y) { [c] k = Constant )"
      R"(<value = float[1] {1e30}> ()  [a] y = Add (x, k) })");
  const CheckResult r = check_bytes(encode_model(*calling).flatten(), options);
  REQUIRE(codes(r) == Codes{"fp16-overflow"});
  CHECK(r.findings[0].place.starts_with("function 'f.S': "));
}

TEST_CASE("check: many findings of one rule hide no others, and what is ignored does not count") {
  std::string nodes;
  for (int i = 0; i < 10'050; ++i) nodes += "[b] t" + std::to_string(i) + " = own.Op (x)  ";
  const std::string model = encoded_text(
      R"(<ir_version: 8, opset_import: ["" : 17, "own" : 1]> g (float[1] x) => (float[1] y) { )" +
      nodes + "[r] y = Relu (x) }");
  CheckOptions options;
  options.allowed_ops = {"other"};
  options.runtime = find_runtime("ort-1.12");
  CheckResult r = check_bytes(model, options);
  CHECK(r.left_out == std::map<RuleId, size_t>{{RuleId::kOperatorNotAllowed, 50}});
  CHECK(r.findings.size() >= 10'000);
  size_t asked = 0;
  options.ignore = [&](const CheckFinding& f) {
    asked += f.id == RuleId::kOperatorNotAllowed;
    return f.id == RuleId::kOperatorNotAllowed;
  };
  r = check_bytes(model, options);
  CHECK(asked == 10'050);
  CHECK(r.left_out.empty());
  CHECK(!codes(r).contains("operator-not-allowed"));
}

TEST_CASE("digest: names, order and storage do not matter, computation does") {
  const std::string a = kHead +
                        "(float[2] x) => (float[2] y) <float[2] w = {1.0, 2.0}> { p = Add (x, w)  "
                        "q = Neg (x)  y = Mul (p, q) }";
  const std::string same = kHead +
                           "(float[2] x) => (float[2] y) <float[2] v = {1.0, 2.0}> { [n] n = Neg "
                           "(x)  m = Add (x, v)  y = Mul (m, n) }";
  const std::string other = kHead +
                            "(float[2] x) => (float[2] y) <float[2] w = {1.0, 3.0}> { p = Add (x, "
                            "w)  q = Neg (x)  y = Mul (p, q) }";
  const std::string swapped = kHead +
                              "(float[2] x) => (float[2] y) <float[2] w = {1.0, 2.0}> { p = Add "
                              "(x, w)  q = Neg (x)  y = Mul (q, p) }";
  const std::string renamed = kHead +
                              "(float[2] x) => (float[2] z) <float[2] w = {1.0, 2.0}> { p = Add "
                              "(x, w)  q = Neg (x)  z = Mul (p, q) }";
  const std::string digest = semantic_digest(*parsed(a));
  CHECK(digest.size() == 64);
  CHECK(semantic_digest(*parsed(same)) == digest);
  // Neither in which field a constant is stored nor a default that is written out.
  const auto constant = [](const std::string& form) {
    return semantic_digest(*parsed(kHead + "(float[2] x) => (float[2] y) { w = Constant <" + form +
                                   "> ()  p = Add (x, w)  q = Neg (x)  y = Mul (p, q) }"));
  };
  CHECK(constant("value = float[2] {1.0, 2.0}") == digest);
  CHECK(constant("value_floats = [1.0, 2.0]") == digest);
  CHECK(constant("value_floats = [1.0, 2.5]") != digest);
  const auto sum = [](const std::string& attributes) {
    return semantic_digest(
        *parsed(kHead + "(float[2] x) => (float[1] y) { y = ReduceSum " + attributes + " }"));
  };
  CHECK(sum("<keepdims = 1> (x, )") == sum("(x)"));
  CHECK(sum("<keepdims = 0> (x)") != sum("(x)"));
  const auto leaky = [](const std::string& attributes) {
    return semantic_digest(
        *parsed(kHead + "(float[2] x) => (float[2] y) { y = LeakyRelu " + attributes + " (x) }"));
  };
  CHECK(leaky("<alpha = 0.01>") == leaky(""));
  CHECK(leaky("<alpha = 0.1>") != leaky(""));
  // Nor results at the end that are not asked for; of others it counts which are.
  const auto top = [](const std::string& results, const std::string& y) {
    return semantic_digest(*parsed(kHead + "(float[4] x, int64[1] k) => (" + y + " y) { " +
                                   results + " = TopK (x, k) }"));
  };
  CHECK(top("y, ", "float[1]") == top("y", "float[1]"));
  CHECK(top(", y", "int64[1]") != top("y, ", "int64[1]"));
  for (const std::string& changed : {other, swapped, renamed})
    CHECK(semantic_digest(*parsed(changed)) != digest);
  // Two draws of chance are not one draw used twice.
  const std::string twice = kHead +
                            "() => (float[2] y) { a = RandomNormal <shape = [2]> ()  b = "
                            "RandomNormal <shape = [2]> ()  y = Add (a, b) }";
  const std::string once =
      kHead + "() => (float[2] y) { a = RandomNormal <shape = [2]> ()  y = Add (a, a) }";
  CHECK(semantic_digest(*parsed(twice)) != semantic_digest(*parsed(once)));
}

TEST_CASE("digest: functions count, also in models that are not valid") {
  const auto digest = [](const std::string& opset, const std::string& alpha) {
    CheckOptions options;
    options.digest = true;
    const std::string text =
        R"(<ir_version: 9, opset_import: ["" : 17, "f" : 1]> g (float[2] x) => (float[2] y) { [n] )"
        R"(y = f.S (x) } <domain: "f", opset_import: ["" : )" +
        opset + "]> S <alpha : float = " + alpha +
        "> (x) => (y) { y = LeakyRelu <alpha : float = @alpha> (x) }";
    return check_bytes(encoded_text(text), options).digest;
  };
  CHECK(digest("17", "0.1").size() == 64);
  CHECK(digest("17", "0.1") != digest("17", "0.9"));
  CHECK(digest("13", "0.1").size() == 64);  // LeakyRelu has changed since: the model is not valid
  CHECK(digest("17", "0.1") != digest("13", "0.1"));
}

TEST_CASE("check: codes are unique, and every rule says what to do") {
  std::set<std::string_view> seen;
  for (const Rule& r : all_rules()) {
    CHECK_MESSAGE(seen.insert(r.code).second, r.code);
    CHECK(find_rule(r.code) == &r);
    CHECK(!r.explanation.empty());
    CHECK(!r.fix.empty());
    CHECK(!r.summary.ends_with("."));
  }
}

}  // namespace
}  // namespace onnxtool
