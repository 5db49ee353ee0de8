#include "libopt/io/decode.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>

#include "libopt/analysis/seam.h"
#include "libopt/analysis/structure.h"
#include "libopt/io/encode.h"
#include "libopt/io/load.h"
#include "tests/support/data_set.h"

namespace onnxtool {
namespace {

namespace fs = std::filesystem;

struct Text final : Storage {
  std::string bytes;
};

Result<std::unique_ptr<Model>> decode(std::string bytes) {
  auto text = std::make_shared<Text>();
  text->bytes = std::move(bytes);
  return decode_model({std::as_bytes(std::span(text->bytes)), text, nullptr});
}

std::string why(const Result<std::unique_ptr<Model>>& r) {
  return r.ok() ? "ok" : r.error().message;
}

std::string read_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// One of everything that a model can hold.
constexpr const char* kRich = R"(
<ir_version: 10, opset_import: ["" : 21, "local" : 1], producer_name: "here", model_version: 3, metadata_props: ["k": "v"]>
g (bool p, float[batch, 3] x, float[2] d = {1.0, 2.0}) => (float[batch, 3] y, int64[2] z, string[2] s)
<float[3] w = {1.0, 2.0, 3.0}, int64[2] i = {4, -5}, string[2] t = {"a", "bc"}, float16[2] h = {1, 2}>
{ a = Mul (x, w)
  c = Constant <value = float[1] {2.0}> ()
  q = Constant <value_strings = ["u", "v"]> ()
  b = If (p) <then_branch = then () => (float[batch, 3] u) { u = local.twice <alpha = 2.0> (a) }, else_branch = other () => (float[batch, 3] v) <float[1] k = {0.5}> { v = Mul (a, k) }>
  y = Clip (b, , c)
  z = Identity (i)
  s = Identity (t) }
<domain: "local", opset_import: ["" : 21]> twice <alpha> (m) => (n) { e = Constant <value_float: float = @alpha> ()  n = Mul (m, e) }
)";

std::string rich_bytes() {
  auto model = parse_text(kRich);
  REQUIRE_MESSAGE(model.ok(), (model.ok() ? "" : model.error().message));
  return encode_model(**model).flatten();
}

TEST_CASE("a model with everything in it survives decoding and encoding") {
  const std::string bytes = rich_bytes();
  auto model = decode(bytes);
  REQUIRE(why(model) == "ok");
  CHECK(encode_model(**model).flatten() == bytes);
  const Graph& g = (*model)->graph();
  CHECK(g.num_nodes() == 7);
  CHECK(g.find("w")->constant());
  CHECK_FALSE(g.find("d")->constant());  // a default that callers may override
  CHECK(g.find("d")->initializer());
  CHECK(g.find("d")->is_graph_input());
  CHECK(format_type(g.find("x")->type()) == "float[batch, 3]");
  CHECK(g.find("t")->constant()->strings() == std::vector<std::string>{"a", "bc"});
  CHECK(g.find("y")->producer()->has_input(2));
  CHECK_FALSE(g.find("y")->producer()->has_input(1));
  CHECK((*model)->functions.size() == 1);
  CHECK((*model)->metadata == Properties{{"k", "v"}});
  const auto copy = (*model)->clone();
  CHECK(encode_model(*copy).flatten() == bytes);
}

TEST_CASE("unknown fields survive") {
  wire::Rope extra;
  extra.string_field(4000, "of the future");
  std::string bytes = rich_bytes() + extra.flatten();
  auto model = decode(bytes);
  REQUIRE(why(model) == "ok");
  CHECK((*model)->unknown_fields == extra.flatten());
  CHECK(encode_model(**model).flatten() == bytes);
}

TEST_CASE("what a tensor says of itself survives: metadata, doc and unknown fields") {
  wire::Rope entry;
  entry.string_field(1, "from");
  entry.string_field(2, "calibration");
  wire::Rope tensor;
  tensor.int_field(2, 1);  // a float
  tensor.string_field(8, "w");
  tensor.string_field(9, std::string(4, '\0'));
  tensor.string_field(12, "a doc");
  tensor.message_field(16, std::move(entry));
  tensor.string_field(4000, "of the future");
  wire::Rope node;
  node.string_field(1, "w");
  node.string_field(2, "y");
  node.string_field(4, "Neg");
  wire::Rope output;
  output.string_field(1, "y");
  wire::Rope graph;
  graph.message_field(1, std::move(node));
  graph.message_field(5, std::move(tensor));
  graph.message_field(12, std::move(output));
  wire::Rope import;
  import.string_field(1, "");
  import.int_field(2, 17);
  wire::Rope bytes;
  bytes.int_field(1, 8);
  bytes.message_field(7, std::move(graph));
  bytes.message_field(8, std::move(import));
  const std::string text = bytes.flatten();
  auto model = decode(text);
  REQUIRE(why(model) == "ok");
  const Value* w = (*model)->graph().find("w");
  REQUIRE(w);
  CHECK(w->metadata == Properties{{"from", "calibration"}});
  CHECK(encode_model(**model).flatten() == text);
  CHECK(encode_model(*(*model)->clone()).flatten() == text);
}

TEST_CASE("real models: decoded, encoded and decoded again they are the same") {
  const fs::path models = testing::shared_data("models");
  if (models.empty()) return;
  int count = 0;
  for (const auto& entry : fs::directory_iterator(models)) {
    const fs::path path = entry.path() / "model.onnx";
    if (!fs::exists(path) || entry.path().filename() == "gpt2_past")
      continue;  // that one defines values twice
    INFO(path.string());
    auto model = load_model(path.string());
    CHECK_MESSAGE(model.ok(), (model.ok() ? "" : model.error().message));
    if (!model.ok()) continue;
    const std::string bytes = encode_model(**model).flatten();
    auto again = decode(bytes);
    CHECK(why(again) == "ok");
    if (!again.ok()) continue;
    CHECK(structural_difference(**model, **again).value_or("") == "");
    CHECK(encode_model(**again).flatten() == bytes);
    ++count;
  }
  CHECK(count > 40);
}

TEST_CASE("real models: cut off anywhere they are errors") {
  const fs::path models = testing::shared_data("models");
  if (models.empty()) return;
  for (const char* name :
       {"mnist_cntk", "silero_vad_16k_op15", "scan_lstm_cntk", "rf_iris_zipmap", "micro_kws_qdq"}) {
    const std::string bytes = read_file(models / name / "model.onnx");
    for (size_t k = 0; k < 50; ++k) {
      INFO(name, " cut at ", k, "/50");
      const auto model = decode(bytes.substr(0, bytes.size() * k / 50));
      CHECK_FALSE(model.ok());
      if (!model.ok()) CHECK(model.error().code == ErrorCode::kBadModel);
    }
  }
}

// What happens to a model that decodes must be defined too: it is written, inferred and checked.
TEST_CASE("mutated bytes never do more than fail") {
  std::vector<std::string> seeds = {rich_bytes()};
  if (const fs::path models = testing::shared_data("models"); !models.empty())
    for (const char* name : {"crop_and_resize_loop", "iris_logreg", "nested_loops_30"})
      seeds.push_back(read_file(models / name / "model.onnx"));
  std::mt19937 random(4711);
  int decoded = 0, refused = 0;
  for (int round = 0; round < 2000; ++round) {
    std::string bytes = seeds[random() % seeds.size()];
    for (unsigned n = 1 + random() % 4; n > 0; --n) {
      const size_t at = random() % bytes.size();
      switch (random() % 4) {
        case 0: bytes[at] = static_cast<char>(random()); break;
        case 1: bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8)); break;
        case 2: bytes.erase(at, 1 + random() % 8); break;
        default: bytes.insert(at, bytes.substr(random() % bytes.size(), random() % 16)); break;
      }
      if (bytes.empty()) bytes = "x";
    }
    INFO("round ", round);
    auto model = decode(bytes);
    if (!model.ok()) {
      ++refused;
      continue;
    }
    ++decoded;
    const std::string once = encode_model(**model).flatten();
    auto again = decode(once);
    CHECK(why(again) == "ok");
    if (again.ok()) CHECK(encode_model(**again).flatten() == once);
    [[maybe_unused]] const bool inferred = infer_graph((*model)->graph()).ok();
    for (const Node& n : (*model)->graph().nodes())
      [[maybe_unused]] const bool checked = check_node(n).ok();
  }
  CHECK(decoded > 100);
  CHECK(refused > 100);
}

// Models that break the rules, built from bytes, since the text parser refuses some of them too.
class Builder {
 public:
  Builder& node(const std::string& op, const std::vector<std::string>& in,
                const std::vector<std::string>& out) {
    wire::Rope n;
    for (const auto& s : in) n.string_field(1, s);
    for (const auto& s : out) n.string_field(2, s);
    n.string_field(4, op);
    graph_.message_field(1, std::move(n));
    return *this;
  }
  Builder& input(const std::string& name) { return named(11, name); }
  Builder& output(const std::string& name) { return named(12, name); }
  Builder& tensor(const std::string& name, const Tensor& t) {
    graph_.message_field(5, encode_tensor(name, t));
    return *this;
  }
  Builder& raw_tensor(const std::string& name, int64_t type, const std::vector<int64_t>& dims,
                      const std::string& raw) {
    wire::Rope t;
    t.packed_ints(1, dims);
    t.int_field(2, type);
    t.string_field(8, name);
    t.string_field(9, raw);
    graph_.message_field(5, std::move(t));
    return *this;
  }
  std::string bytes() {
    wire::Rope model;
    model.int_field(1, 8);
    model.message_field(7, std::move(graph_));
    return model.flatten();
  }

 private:
  Builder& named(uint32_t field, const std::string& name) {
    wire::Rope v;
    v.string_field(1, name);
    graph_.message_field(field, std::move(v));
    return *this;
  }
  wire::Rope graph_;
};

TEST_CASE("models that break the rules are named and refused") {
  const Tensor one = Tensor::vector(std::vector<float>{1});
  const auto error = [](Builder b) { return why(decode(b.bytes())); };
  CHECK(
      error(Builder().input("x").node("Neg", {"x"}, {"y"}).node("Abs", {"x"}, {"y"}).output("y")) ==
      "node '' (Abs): value 'y' is defined twice");
  CHECK(error(Builder().input("x").input("x")) == "value 'x' is defined twice");
  CHECK(error(Builder().input("x").node("Neg", {"x"}, {"x"})) ==
        "node '' (Neg): value 'x' is defined twice");
  CHECK(error(Builder().tensor("w", one).tensor("w", one)) == "initializer 'w' is defined twice");
  CHECK(error(Builder().tensor("", one)) == "an initializer has no name");
  CHECK(error(Builder().input("x").node("Neg", {"nothing"}, {"y"}).output("y")) ==
        "node '' (Neg): input 'nothing' is not defined");
  CHECK(error(Builder().input("x").output("y")) == "graph output 'y' is not produced by any node");
  CHECK(error(Builder().input("x").node("", {"x"}, {"y"}).output("y")) == "node '' has no op_type");
  CHECK(error(Builder().node("Neg", {"b"}, {"a"}).node("Abs", {"a"}, {"b"}).output("b")) ==
        "node #0 (Neg) is part of a cycle");
  CHECK(error(Builder().raw_tensor("w", 1, {2, 3}, "1234")) ==
        "tensor 'w' has 4 bytes, expected 24 for float[2, 3]");
  CHECK(error(Builder().raw_tensor("w", 99, {1}, "1234")) ==
        "tensor 'w' has unknown element type 99");
  CHECK(error(Builder().raw_tensor("w", 1, {-1}, "")) == "tensor 'w' has impossible dims [-1]");
  // The product wraps to a small number in 64 bits.
  CHECK(error(Builder().raw_tensor("w", 1, {int64_t{1} << 33, int64_t{1} << 33}, "1234"))
            .starts_with("tensor 'w' has impossible dims"));
  CHECK(why(decode("")) == "no graph found");
  CHECK(why(decode(std::string(20, '\0'))).starts_with("malformed bytes"));
}

TEST_CASE("nodes in any order come out sorted, and sorted ones keep their order") {
  auto model = decode(Builder()
                          .input("x")
                          .node("C", {"b"}, {"c"})
                          .node("B", {"a"}, {"b"})
                          .node("A", {"x"}, {"a"})
                          .node("D", {"x"}, {"d"})
                          .output("c")
                          .output("d")
                          .bytes());
  REQUIRE(why(model) == "ok");
  std::string order;
  for (const Node& n : (*model)->graph().nodes()) order += n.op_type();
  CHECK(order == "ABCD");
  auto sorted = decode(
      Builder().input("x").node("B", {"x"}, {"b"}).node("A", {"x"}, {"a"}).output("b").bytes());
  order.clear();
  for (const Node& n : (*sorted)->graph().nodes()) order += n.op_type();
  CHECK(order == "BA");
}

TEST_CASE("nesting is bounded") {
  // A subgraph in a subgraph, a hundred times.
  std::string graph;
  for (int depth = 0; depth < 100; ++depth) {
    wire::Rope attribute, node, outer;
    attribute.string_field(1, "body");
    attribute.string_field(6, graph);
    attribute.int_field(20, 5);
    node.string_field(4, "Loop");
    node.message_field(5, std::move(attribute));
    outer.message_field(1, std::move(node));
    graph = outer.flatten();
  }
  wire::Rope model;
  model.int_field(1, 8);
  model.string_field(7, graph);
  CHECK(why(decode(model.flatten())).find("subgraphs are nested more than ") != std::string::npos);
  // A sequence of sequences.
  std::string type;
  for (int depth = 0; depth < 100; ++depth) {
    wire::Rope sequence, outer;
    sequence.string_field(1, type);
    outer.message_field(4, std::move(sequence));
    type = outer.flatten();
  }
  const auto decoded = decode_type(type);
  REQUIRE_FALSE(decoded.ok());
  CHECK(decoded.error().message.starts_with("types are nested more than "));
}

}  // namespace
}  // namespace onnxtool
