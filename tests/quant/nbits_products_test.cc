// What onnxruntime makes of products by dequantized weights: which, and that only x is rounded.
// for the rounding.

#include "quant/nbits_products.h"

#include "quant/weight_only.h"
#include "tests/quant/product_models.h"

namespace onnxtool {
namespace {

struct LoadedProducts {
  int count = 0;
  double sqnr_db = 0;  // against the QDQ form
};

LoadedProducts load_products(const std::string& body, int bits, int64_t block, bool is_signed) {
  WeightOnlyOptions o;
  o.operators = false;
  o.bits = bits;
  o.block = block;
  o.is_signed = o.symmetric = is_signed;
  const auto made =
      testing::make_with(testing::product_model(body), o, plan_weight_only, quantize_weights_only);
  const Model& before = *made.model.model;
  const std::unique_ptr<Model> after = before.clone();
  LoadedProducts l;
  l.count = put_nbits_products(after->graph());
  std::map<std::string, int> ops;
  testing::count_ops(after->graph(), ops);
  CHECK(ops["MatMulNBits"] == l.count);
  CHECK(ops["DequantizeLinear"] == made.ops.at("DequantizeLinear") - l.count);
  for (const Node& n : after->graph().nodes())
    if (Status s = check_node(n); !s.ok()) FAIL(s.error().message);
  const auto source = testing::random_samples(before, 2);
  const auto compared =
      compare_models(before.graph(), after->graph(), *source, testing::cpu_run(), {});
  REQUIRE_MESSAGE(compared.ok(), (compared.ok() ? "" : compared.error().message));
  l.sqnr_db = compared->outputs.begin()->second.value(Metric::kSqnr).value_or(200);
  return l;
}

TEST_CASE("products as onnxruntime loads them: every code keeps its value") {
  for (const int bits : {4, 8})
    for (const int64_t block : {0, 16, 64})
      for (const bool is_signed : {true, false})
        for (const std::string product : {"MatMul (s, w)", "Gemm (s, w)", "Gemm (s, w, b)"}) {
          CAPTURE(bits);
          CAPTURE(block);
          CAPTURE(is_signed);
          CAPTURE(product);
          // Signs have 8 bits.
          const LoadedProducts exact =
              load_products("s = Sign (x) y = " + product, bits, block, is_signed);
          CHECK(exact.count == 1);
          CHECK(exact.sqnr_db > 100);
          const LoadedProducts rounded =
              load_products("s = Neg (x) y = " + product, bits, block, is_signed);
          CHECK(rounded.sqnr_db > 35);
          CHECK(rounded.sqnr_db < 60);
        }
}

TEST_CASE("products as onnxruntime loads them: which it leaves") {
  const std::string turned = "t = Transpose <perm = [1, 0]> (v) y = MatMul (x, t)";
  CHECK(load_products(turned, 8, 0, true).count == 1);
  CHECK(load_products(turned, 8, 0, false).count == 1);
  CHECK(load_products(turned, 8, 32, true).count == 0);
  CHECK(load_products(turned, 4, 0, true).count == 0);
  CHECK(load_products("t = Transpose (v) y = MatMul (x, t)", 8, 0, true).count == 0);
  CHECK(load_products("y = Gemm <transB = 1> (x, v)", 8, 0, true).count == 0);
  CHECK(load_products("y = Gemm <alpha = 0.5> (x, w)", 8, 0, true).count == 0);
}

}  // namespace
}  // namespace onnxtool
