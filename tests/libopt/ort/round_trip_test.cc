// A model through the writer and the reader; and what the file holds beside it, read with
// FlatBuffers alone.
#include <doctest/doctest.h>

#include <map>
#include <set>

#include "libopt/analysis/digest.h"
#include "libopt/analysis/seam.h"
#include "libopt/ort/ort_format_generated.h"
#include "libopt/ort/prepare.h"
#include "libopt/ort/read.h"
#include "libopt/ort/validate.h"
#include "libopt/ort/write.h"

namespace onnxtool {
namespace {

namespace fb = ort_format;

struct Bytes final : Storage {
  std::vector<std::byte> bytes;
};

std::unique_ptr<Model> parse(const std::string& text) {
  auto model = parse_text(text);
  REQUIRE_MESSAGE(model.ok(), model.error().message);
  return *std::move(model);
}

std::shared_ptr<Bytes> written(Model& model, OrtWriteOptions options = {}) {
  const auto prepared = prepare_for_ort(model, {});
  REQUIRE_MESSAGE(prepared.ok(), prepared.error().message);
  const auto file = lay_out_ort(model, options);
  REQUIRE_MESSAGE(file.ok(), file.error().message);
  auto out = std::make_shared<Bytes>();
  out->bytes = file->flatten();
  CHECK(out->bytes.size() == file->size_bytes());
  flatbuffers::Verifier verifier(reinterpret_cast<const uint8_t*>(out->bytes.data()),
                                 out->bytes.size());
  REQUIRE(fb::VerifyInferenceSessionBuffer(verifier));
  const OrtFaults faults = validate_ort(out->bytes);
  CHECK_MESSAGE(!faults.any_fatal(), faults.list[0].place, ": ", faults.list[0].message);
  return out;
}

std::shared_ptr<Bytes> written(const std::string& text) { return written(*parse(text)); }

const fb::Graph& graph_of(const Bytes& file) {
  return *fb::GetInferenceSession(file.bytes.data())->model()->graph();
}

std::vector<std::string> list(
    const flatbuffers::Vector<flatbuffers::Offset<flatbuffers::String>>* strings) {
  std::vector<std::string> out;
  for (const auto* s : *strings) out.push_back(s->str());
  return out;
}

const fb::Node& node_of(const fb::Graph& graph, const std::string& op) {
  for (const fb::Node* n : *graph.nodes())
    if (n->op_type()->str() == op) return *n;
  FAIL("no " << op);
  return *graph.nodes()->Get(0);
}

const char* kControlFlow = R"(
<ir_version: 8, opset_import: ["" : 16]>
g (bool a, bool b, float[2] x, float[2] t) => (float[2] y)
{
  k = Abs (t)
  y = If (a) <
    then_branch = inner () => (float[2] p) {
      p = If (b) <
        then_branch = deep () => (float[2] q) { q = Add (k, t) },
        else_branch = other () => (float[2] r) { r = Neg (x) }>
    },
    else_branch = plain () => (float[2] s) { s = Identity (x) }>
}
)";

}  // namespace

TEST_CASE("ort: what is written is read back") {
  for (const char* text : {kControlFlow, R"(
<ir_version: 8, opset_import: ["" : 17, "ai.onnx.ml" : 3]>
g (float[N,3] x) => (float[N,3] y, string[2] s)
<float[3] w = {1, 2, 3}, string[2] names = {"a", "b"}, float[0,3] none = {}>
{
  c = Clip (x, , w0)
  w0 = Constant <value_float = 2.5> ()
  y = Mul (c, w)
  s = Identity (names)
}
)"}) {
    auto model = parse(text);
    const auto file = written(*model);
    const auto back = read_ort(file->bytes, file);
    REQUIRE_MESSAGE(back.ok(), back.error().message);
    CHECK((*back)->graph().num_nodes() == model->graph().num_nodes());
    // Again: what the file added (defaults, imports) stays as it is.
    const auto second = written(**back);
    const auto again = read_ort(second->bytes, second);
    REQUIRE(again.ok());
    CHECK(semantic_digest(**back) == semantic_digest(**again));
  }
}

TEST_CASE("ort: implicit inputs of every level, and edges numbered behind the explicit ones") {
  const auto file = written(kControlFlow);
  const fb::Graph& graph = graph_of(*file);
  const fb::Node& outer = node_of(graph, "If");
  const auto implicit = list(outer.implicit_inputs());
  CHECK(std::set<std::string>(implicit.begin(), implicit.end()) ==
        std::set<std::string>{"b", "k", "t", "x"});
  const fb::Graph* then_branch = nullptr;
  for (const fb::Attribute* a : *outer.attributes())
    if (a->name()->str() == "then_branch") then_branch = a->g();
  REQUIRE(then_branch);
  const auto inner = list(then_branch->nodes()->Get(0)->implicit_inputs());
  CHECK(std::set<std::string>(inner.begin(), inner.end()) == std::set<std::string>{"k", "t", "x"});
  std::set<std::string> named;
  for (const fb::ValueInfo* v : *then_branch->node_args()) named.insert(v->name()->str());
  CHECK(named == std::set<std::string>{"b", "p"});  // k and t are read deeper only
  // Abs makes k, which is one of If's implicit inputs: slot 1 and up.
  const fb::Node& abs = node_of(graph, "Abs");
  const fb::NodeEdge* edge = graph.node_edges()->Get(abs.index());
  REQUIRE(edge->output_edges()->size() == 1);
  const fb::EdgeEnd* end = edge->output_edges()->Get(0);
  CHECK(end->node_index() == outer.index());
  CHECK(end->src_arg_index() == 0);
  CHECK(implicit.at(static_cast<size_t>(end->dst_arg_index() - 1)) == "k");
}

TEST_CASE("ort: defaults, versions, counts, the name of what is left out, and kernel types") {
  const auto file = written(R"(
<ir_version: 8, opset_import: ["" : 13]>
g (float[2,3] x, int64[1] i) => (float[1,3] y)
<float hi = {6}>
{ c = Clip (x, , hi)   y = Gather (c, i) }
)");
  const fb::Graph& graph = graph_of(*file);
  const fb::Node& gather = node_of(graph, "Gather");
  REQUIRE(gather.attributes()->size() == 1);
  CHECK(gather.attributes()->Get(0)->name()->str() == "axis");
  CHECK(gather.since_version() == 13);
  const fb::Node& clip = node_of(graph, "Clip");
  CHECK(clip.input_arg_counts()->size() == 3);
  CHECK(clip.input_arg_counts()->Get(1) == 1);
  int nameless = 0;
  for (const fb::ValueInfo* v : *graph.node_args()) {
    if (v->name()->size())
      CHECK(v->type());
    else
      ++nameless;
  }
  CHECK(nameless == 1);
  std::map<std::string, size_t> ids;
  for (const auto* e : *fb::GetInferenceSession(file->bytes.data())
                            ->kernel_type_str_resolver()
                            ->op_kernel_type_str_args())
    ids[e->op_id()->str()] = e->kernel_type_str_args()->size();
  CHECK(ids == std::map<std::string, size_t>{{":Clip:13", 1}, {":Gather:13", 2}});
}

TEST_CASE("ort: payloads that the runtime uses in place are aligned, equal ones are stored once") {
  auto model = parse(R"(
<ir_version: 8, opset_import: ["" : 13]>
g (float[40] x) => (float[40] y) { a = Add (x, x)   y = Relu (a) }
)");
  Graph& graph = model->graph();
  const Tensor weight = Tensor::vector(std::vector<float>(40, 1.5f));
  for (const char* name : {"v", "w"}) {
    Value& w = graph.add_initializer(weight, name);
    for (Node& n : graph.nodes())
      if (n.is("Add")) graph.set_input(n, name[0] == 'v' ? 0 : 1, &w);
  }
  const auto file = written(*model);
  const auto* tensors = graph_of(*file).initializers();
  REQUIRE(tensors->size() == 2);
  const auto offset = [&](flatbuffers::uoffset_t i) {
    return tensors->Get(i)->raw_data()->data() -
           reinterpret_cast<const uint8_t*>(file->bytes.data());
  };
  CHECK(offset(0) % 32 == 0);
  CHECK(offset(0) == offset(1));
  const auto back = read_ort(file->bytes, file);
  REQUIRE(back.ok());
  CHECK((*back)->graph().find("w")->constant()->same_content(weight));
}

TEST_CASE("ort: a recorded fusion names its nodes, and the operator that it makes") {
  auto model = parse(R"(
<ir_version: 8, opset_import: ["" : 13]>
g (float[1,1,4,4] x) => (float[1,1,4,4] y)
<float[1,1,1,1] w = {2}>
{ c = Conv (x, w)   y = Relu (c) }
)");
  REQUIRE(prepare_for_ort(*model, {}).ok());
  OrtWriteOptions options;
  options.fusions = find_ort_fusions(model->graph());
  REQUIRE(options.fusions.size() == 1);
  const auto file = written(*model, options);
  const auto* entry = graph_of(*file).runtime_optimizations()->records()->Get(0);
  CHECK(entry->optimizer_name()->str() == "ConvActivationFusion");
  const auto* record = entry->runtime_optimization_records()->Get(0);
  CHECK(record->nodes_to_optimize_indices()->node_indices()->Get(1) == 1);
  CHECK(list(record->produced_op_ids()) == std::vector<std::string>{"com.microsoft:FusedConv:1"});
}

TEST_CASE("ort: what the format or the runtime cannot take is an error that names it") {
  const auto error_of = [](const std::string& text) {
    auto model = parse(text);
    const auto prepared = prepare_for_ort(*model, {});
    if (!prepared.ok()) return prepared.error().message;
    const auto file = lay_out_ort(*model, {});
    return file.ok() ? std::string("none") : file.error().message;
  };
  CHECK(
      error_of(
          R"(<ir_version: 8, opset_import: ["" : 99]> g (float[2] x) => (float[2] y) { y = Abs (x) })")
          .find("opset 99") != std::string::npos);
  CHECK(
      error_of(
          R"(<ir_version: 8, opset_import: ["" : 17]> g (double[2] x) => (double[2] y) { y = Cosh (x) })")
          .find("no CPU kernel") != std::string::npos);
  CHECK(
      error_of(
          R"(<ir_version: 8, opset_import: ["" : 17, "a.b" : 1]> g (float[2] x) => (float[2] y) { y = a.b.C (x) })")
          .find("no such operator") != std::string::npos);
  std::string nested = "y = Abs (x)";
  for (int i = 0; i < 19; ++i)
    nested = "y = If (c) <then_branch = t () => (float[2] y) {" + nested +
             "}, else_branch = e () => (float[2] y) { y = Neg (x) }>";
  CHECK(error_of(
            "<ir_version: 8, opset_import: [\"\" : 16]> g (bool c, float[2] x) => (float[2] y) {" +
            nested + "}")
            .find("nested so deep") != std::string::npos);
}

}  // namespace onnxtool
