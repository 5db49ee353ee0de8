// Q/DQ groups as records in a .ort file: which nodes they name, what has to give way for them, and
// that the graph computes what it did.

#include "quant/qdq_records.h"

#include <doctest/doctest.h>

#include "libopt/analysis/seam.h"
#include "libopt/ort/prepare.h"
#include "libopt/ort/validate.h"
#include "libopt/ort/write.h"

namespace onnxtool {
namespace {

std::unique_ptr<Model> parse(const std::string& body) {
  auto model = parse_text(
      "<ir_version: 10, opset_import: [\"\" : 17]> g (float[1,1,4,4] x) => (float[1,1,4,4] y)\n"
      "<float s = {0.05}, uint8 z = {128}, uint8[1,1,1,1] w = {40}, float t = {0.5}, uint8 u = "
      "{0}>\n"
      "{ a = QuantizeLinear (x, s, z)   b = DequantizeLinear (a, s, z)   d = DequantizeLinear (w, "
      "s, u)\n" +
      body + "}");
  REQUIRE_MESSAGE(model.ok(), model.error().message);
  REQUIRE(infer_graph((*model)->graph()).ok());
  return *std::move(model);
}

std::vector<std::string> operators(const OrtFusionRecord& r) {
  std::vector<std::string> out;
  for (const Node* n : r.nodes) out.push_back(n ? n->op_type() : "");
  return out;
}

TEST_CASE("qdq records: a Conv without a bias, whose activation the saturation covers") {
  auto model = parse(
      "e = Conv (b, d)   f = Relu (e)   h = QuantizeLinear (f, t, u)"
      "   y = DequantizeLinear (h, t, u)");
  CHECK(find_qdq_records(model->graph(), kOrtCpu).empty());  // nothing would name the Relu
  prepare_qdq_records(model->graph());
  const auto records = find_qdq_records(model->graph(), kOrtCpu);
  REQUIRE(records.size() == 1);
  CHECK(records[0].action == "Conv");
  CHECK(operators(records[0]) == std::vector<std::string>{"DequantizeLinear", "DequantizeLinear",
                                                          "", "Conv", "QuantizeLinear"});
  CHECK((records[0].op_type == "QLinearConv" && records[0].since_version == 10));

  REQUIRE(prepare_for_ort(*model, {}).ok());
  OrtWriteOptions options;
  options.fusions = find_qdq_records(model->graph(), kOrtCpu);
  const auto file = lay_out_ort(*model, options);
  REQUIRE_MESSAGE(file.ok(), file.error().message);
  CHECK(require_valid_ort(file->flatten()).ok());
}

TEST_CASE("qdq records: readers of one DequantizeLinear get one each") {
  auto model = parse(
      "e = Add (b, b)   h = QuantizeLinear (e, t, u)   m = DequantizeLinear (h, t, u)"
      "   r = Reshape (b, n)   q = QuantizeLinear (r, s, z)   v = DequantizeLinear (q, s, z)"
      "   y = Mul (m, v)   n = Constant <value_ints = [1, 1, 4, 4]> ()");
  prepare_qdq_records(model->graph());
  const auto records = find_qdq_records(model->graph(), kOrtCpu);
  REQUIRE(records.size() == 2);
  CHECK((records[0].action == "2DQ" && records[0].nodes[0] != records[0].nodes[1]));
  CHECK((records[1].action == "drop" && records[1].op_type.empty()));
}

TEST_CASE(
    "qdq records: none where codes change, an operator has other readers or no integer form") {
  for (const char* body :
       {"e = Transpose <perm = [0, 1, 3, 2]> (b)   h = QuantizeLinear (e, t, u)   y = "
        "DequantizeLinear (h, t, u)",
        "e = Conv (b, d)   h = QuantizeLinear (e, t, u)   m = DequantizeLinear (h, t, u)"
        "   y = Sub (m, e)",
        "e = Sin (b)   h = QuantizeLinear (e, t, u)   y = DequantizeLinear (h, t, u)"}) {
    auto model = parse(body);
    prepare_qdq_records(model->graph());
    CHECK_MESSAGE(find_qdq_records(model->graph(), kOrtCpu).empty(), body);
  }
}

}  // namespace
}  // namespace onnxtool
