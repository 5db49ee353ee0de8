// The reader on files that are damaged, or made to break it.
#include <doctest/doctest.h>

#include <functional>
#include <random>

#include "libopt/analysis/seam.h"
#include "libopt/ort/ort_format_generated.h"
#include "libopt/ort/prepare.h"
#include "libopt/ort/read.h"
#include "libopt/ort/write.h"

namespace onnxtool {
namespace {

namespace fb = ort_format;
using flatbuffers::FlatBufferBuilder;
using flatbuffers::Offset;

struct Bytes final : Storage {
  std::vector<std::byte> bytes;
};

// The error of reading; empty: it was read.
std::string read_error(std::vector<std::byte> bytes) {
  const auto owner = std::make_shared<Bytes>();
  owner->bytes = std::move(bytes);
  const auto model = read_ort(owner->bytes, owner);
  return model.ok() ? "" : model.error().message;
}

std::vector<std::byte> sound_file() {
  auto model = parse_text(R"(
<ir_version: 8, opset_import: ["" : 16]>
g (bool c, float[N,2] x, int64[1] i) => (float[N,2] y)
<float[2] w = {1, 2}, string[1] s = {"a"}>
{
  m = Mul (x, w)
  y = If (c) <then_branch = t () => (float[N,2] a) { a = Add (m, w) }, else_branch = e () => (float[N,2] b) { b = Clip (m) }>
}
)");
  REQUIRE_MESSAGE(model.ok(), model.error().message);
  REQUIRE(prepare_for_ort(**model, {}).ok());
  return lay_out_ort(**model, {})->flatten();
}

// A session around a graph that `graph` builds.
using Graphs = std::function<Offset<fb::Graph>(FlatBufferBuilder&)>;
std::vector<std::byte> session(const Graphs& graph, const char* version = "6") {
  FlatBufferBuilder b;
  const auto made = graph(b);
  const std::vector imports = {fb::CreateOperatorSetIdDirect(b, "", 13)};
  const auto model = fb::CreateModel(b, 8, b.CreateVector(imports), 0, 0, 0, 0, 0, made);
  b.Finish(fb::CreateInferenceSession(b, b.CreateString(version), model),
           fb::InferenceSessionIdentifier());
  const auto* start = reinterpret_cast<const std::byte*>(b.GetBufferPointer());
  return {start, start + b.GetSize()};
}

Offset<fb::ValueInfo> value(FlatBufferBuilder& b, const char* name) {
  const auto tensor = fb::CreateTensorTypeAndShape(b, fb::TensorDataType::FLOAT);
  const auto type = fb::CreateTypeInfo(b, 0, fb::TypeInfoValue::tensor_type, tensor.Union());
  return fb::CreateValueInfoDirect(b, name, nullptr, type);
}

Offset<flatbuffers::Vector<Offset<flatbuffers::String>>> names(
    FlatBufferBuilder& b, const std::vector<std::string>& list) {
  return b.CreateVectorOfStrings(list);
}

struct Op {
  const char* op;
  std::vector<std::string> inputs, outputs;
  uint32_t index = 0;
};

// x to y through the given nodes.
Graphs nodes(std::vector<Op> ops, uint32_t max_index = 10) {
  return [ops = std::move(ops), max_index](FlatBufferBuilder& b) {
    std::vector<Offset<fb::Node>> made;
    std::vector<Offset<fb::ValueInfo>> args = {value(b, "x"), value(b, "y")};
    for (const Op& o : ops) {
      const auto in = names(b, o.inputs), out = names(b, o.outputs);
      const auto op = b.CreateString(o.op);
      made.push_back(
          fb::CreateNode(b, 0, 0, 0, 13, o.index, op, fb::NodeType::Primitive, 0, in, out));
    }
    const auto in = names(b, {"x"}), out = names(b, {"y"});
    return fb::CreateGraph(b, 0, b.CreateVector(args), b.CreateVector(made), max_index, 0, in, out);
  };
}

Graphs initializer(const std::function<Offset<fb::Tensor>(FlatBufferBuilder&)>& tensor) {
  return [tensor](FlatBufferBuilder& b) {
    const std::vector tensors = {tensor(b)};
    const std::vector args = {value(b, "w")};
    const auto out = names(b, {"w"});
    return fb::CreateGraph(b, b.CreateVector(tensors), b.CreateVector(args), 0, 0, 0, 0, out);
  };
}

bool says(const std::string& message, const char* part) {
  const bool found = message.find(part) != std::string::npos;
  CHECK_MESSAGE(found, "expected '", part, "' in '", message, "'");
  return found;
}

}  // namespace

TEST_CASE("ort: no prefix of a file is read, and bytes turned over never break the reader") {
  const std::vector<std::byte> sound = sound_file();
  CHECK(read_error(sound) == "");
  // The last payload may end in padding, which nobody misses.
  for (size_t n = 0; n + 16 < sound.size(); n += 7)
    CHECK(read_error({sound.begin(), sound.begin() + static_cast<std::ptrdiff_t>(n)}) != "");
  std::mt19937 random(20261121);
  int errors = 0;
  for (int i = 0; i < 20000; ++i) {
    std::vector<std::byte> damaged = sound;
    for (int k = 0; k < 1 + i % 3; ++k)
      damaged[random() % damaged.size()] =
          static_cast<std::byte>(random() % 3 ? random() : 0xff * (random() % 2));
    errors += read_error(std::move(damaged)) != "";
  }
  CHECK(errors > 2000);
}

TEST_CASE("ort: what the verifier lets through is named by the reader") {
  CHECK(says(read_error(session(nodes({{"Abs", {"x"}, {"y"}}}))), ""));
  CHECK(says(read_error(session(nodes({{"Abs", {"x"}, {"y"}}}), "7")), "format version is 7"));
  CHECK(
      says(read_error(session(nodes({{"Abs", {"x"}, {"y"}}}), "six")), "'six', expected a number"));
  CHECK(says(read_error(session([](FlatBufferBuilder&) { return Offset<fb::Graph>(); })),
             "the graph is absent"));
  CHECK(says(read_error(session([](FlatBufferBuilder& b) { return fb::CreateGraph(b); })),
             "outputs is absent"));
  CHECK(says(read_error(session(nodes({{"Abs", {"x"}, {"y"}}, {"Neg", {"x"}, {"y"}, 1}}))),
             "'y' is defined twice"));
  CHECK(says(read_error(session(nodes({{"Abs", {"x"}, {"y"}}, {"Neg", {"x"}, {"z"}}}))),
             "two nodes have the index 0"));
  CHECK(says(read_error(session(nodes({{"Abs", {"x"}, {"y"}, 9}}, 9))), "max_node_index is 9"));
  CHECK(says(read_error(session(nodes({{"Abs", {"q"}, {"y"}}}))), "input 'q' is not defined"));
  CHECK(says(read_error(session(nodes({{"Abs", {"x"}, {"z"}}}))), "output 'y' is not produced"));
  CHECK(says(read_error(session(nodes({{"Add", {"x", "b"}, {"y"}}, {"Abs", {"y"}, {"b"}, 1}}))),
             "cycle"));
  CHECK(says(read_error(session(nodes({{"", {"x"}, {"y"}}}))), "has no op_type"));
  const auto tensor = [](std::vector<int64_t> dims, size_t bytes, int type = 1) {
    return initializer([=](FlatBufferBuilder& b) {
      const std::vector<uint8_t> raw(bytes);
      return fb::CreateTensorDirect(b, "w", nullptr, &dims, static_cast<fb::TensorDataType>(type),
                                    &raw);
    });
  };
  CHECK(says(read_error(session(tensor({2}, 7))), "has 7 bytes, but type float and dims [2]"));
  CHECK(says(read_error(session(tensor({-1}, 4))), "dims [-1] are negative or too large"));
  CHECK(says(read_error(session(tensor({int64_t{1} << 40, int64_t{1} << 40}, 4))),
             "negative or too large"));
  CHECK(says(read_error(session(tensor({int64_t{1} << 61}, 4))), "has 4 bytes"));
  CHECK(says(read_error(session(tensor({1}, 4, 99))), "element type 99 is none of ONNX"));
  CHECK(says(read_error(session(tensor({1}, 4, 8))), "string_data is absent"));
  CHECK(read_error(session(tensor({0, 5}, 0))) == "");
}

TEST_CASE("ort: a small file whose tables share a large vector is not read into a large model") {
  const auto file = session([](FlatBufferBuilder& b) {
    const auto dims = b.CreateVector(std::vector<int64_t>(200'000, 1));
    const auto raw = b.CreateVector(std::vector<uint8_t>(4));
    std::vector<Offset<fb::Tensor>> tensors;
    for (int i = 0; i < 5000; ++i)
      tensors.push_back(fb::CreateTensor(b, b.CreateString("w" + std::to_string(i)), 0, dims,
                                         fb::TensorDataType::FLOAT, raw));
    const auto out = names(b, {"w0"});
    return fb::CreateGraph(b, b.CreateVector(tensors), 0, 0, 0, 0, 0, out);
  });
  CHECK(says(read_error(file), "many times larger than the file"));
}

}  // namespace onnxtool
