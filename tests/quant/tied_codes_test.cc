// A head that is tied to an embedding keeps one copy of the codes, and the same integer operators.

#include "quant/tied_codes.h"

#include "tests/quant/small_models.h"

namespace onnxtool {
namespace {

using testing::all_layers;
using testing::numbers;

// Rows of the table go through a Sin, and the head is the product by `weight`.
std::string tied_head(const std::string& weight, const std::string& more = "") {
  return "<ir_version: 8, opset_import: [\"\" : 13]> g (int64[1,6] ids) => (float y) "
         "<float[40,16] table = {" +
         numbers(640) + "}, float[16,40] other = {" + numbers(640, 0.7) + "}" + more +
         "> { e = Gather (table, ids) s = Sin (e) t = Transpose <perm = [1, 0]> (table) "
         "y = MatMul (s, " +
         weight + ") }";
}

testing::Quantized quantize(const std::string& text,
                            const QuantizeOptions& options = all_layers()) {
  testing::Quantized q = testing::quantize(text, options);
  q.quantizer.share_tied(q.output);
  return q;
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

TEST_CASE(
    "tied codes: a head is rounded by its outputs like any other layer, and keeps its codes") {
  testing::Quantized q = testing::quantize(tied_head("t"));
  const auto samples = testing::random_samples(*testing::parse(tied_head("t")));
  const auto rounded = q.quantizer.round_weights(q.output, *samples, testing::cpu_run());
  REQUIRE(rounded.ok());
  CHECK(rounded->layers.size() == 1);
  q.quantizer.share_tied(q.output);
  CHECK(code_bytes(q) == (rounded->kept ? 1280 : 640));
}

TEST_CASE("tied codes: two copies where one is not to be had") {
  QuantizeOptions options = all_layers();
  options.form = Form::kQOperator;
  CHECK(code_bytes(quantize(tied_head("t"), options)) == 1280);
  options = all_layers();
  options.target = &kOrtCpuNoVnni;  // pairs limit the codes of products there
  CHECK(code_bytes(quantize(tied_head("t"), options)) == 1280);
  options.target = &kPortable;
  CHECK(code_bytes(quantize(tied_head("t"), options)) == 1280);
  options = all_layers();
  options.per_channel = false;
  CHECK(code_bytes(quantize(tied_head("t"), options)) == 1280);
}

}  // namespace
}  // namespace onnxtool
