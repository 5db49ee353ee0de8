// A head that is tied to an embedding keeps one copy of the codes, and the same integer operators.

#include "quant/tied_codes.h"

#include "tests/quant/small_models.h"

namespace onnxtool {
namespace {

using testing::all_layers;
using testing::numbers;
using testing::quantize;

// Rows of the table go through a Sin, and the head is the product by `weight`.
std::string tied_head(const std::string& weight, const std::string& more = "") {
  return "<ir_version: 8, opset_import: [\"\" : 13]> g (int64[1,6] ids) => (float y) "
         "<float[40,16] table = {" +
         numbers(640) + "}, float[16,40] other = {" + numbers(640, 0.7) + "}" + more +
         "> { e = Gather (table, ids) s = Sin (e) t = Transpose <perm = [1, 0]> (table) "
         "y = MatMul (s, " +
         weight + ") }";
}

int64_t code_bytes(const testing::Quantized& q) {
  int64_t bytes = 0;
  for (const Value* v : q.output.model->graph().initializers())
    if (v->initializer()->dtype() == DataType::kInt8 && v->initializer()->rank() == 2)
      bytes += static_cast<int64_t>(v->initializer()->size_bytes());
  return bytes;
}

TEST_CASE("tied codes: the table's serve its head") {
  const auto tied = quantize(tied_head("t"));
  CHECK(code_bytes(tied) == 640);
  CHECK(tied.count("Transpose") == 1);
  CHECK(tied.sqnr_db > 38);
  // What onnxruntime makes of it is what it made of two copies.
  const auto other = quantize(tied_head("other"));
  CHECK(code_bytes(other) == 1280);
  CHECK(other.count("Transpose") == 0);
  CHECK(tied.output.emitted.predicted.fused.contains("y"));
  CHECK(tied.output.emitted.predicted.fused == other.output.emitted.predicted.fused);
}

TEST_CASE("tied codes: two copies where one is not to be had") {
  QuantizeOptions options = all_layers();
  options.form = Form::kQOperator;
  CHECK(code_bytes(quantize(tied_head("t"), options)) == 1280);
  options = all_layers();
  options.target = &kOrtCpuNoVnni;  // weights of products have 7 bits there
  CHECK(code_bytes(quantize(tied_head("t"), options)) == 1280);
  options.target = &kPortable;
  CHECK(code_bytes(quantize(tied_head("t"), options)) == 1280);
  options = all_layers();
  options.per_channel = false;
  CHECK(code_bytes(quantize(tied_head("t"), options)) == 1280);
}

}  // namespace
}  // namespace onnxtool
