// Weight-only quantization: the arithmetic of blocks, layouts, and what becomes of each operator.

#include "quant/weight_only.h"

#include <random>

#include "libopt/rewrite/rewriter.h"
#include "libopt/support/half.h"
#include "quant/weight_blocks.h"
#include "tests/quant/product_models.h"

namespace onnxtool {
namespace {

using testing::numbers;
using testing::parse;
using testing::product_model;

std::vector<float> normal(size_t count, uint64_t seed = 1) {
  std::mt19937_64 engine(seed);
  std::normal_distribution<float> draw;
  std::vector<float> out(count);
  for (float& v : out) v = draw(engine);
  return out;
}

// The same block in every lane.
BlockGrid quantize_block(const float* weights, int64_t n, const BlockFormat& format,
                         uint8_t* codes) {
  std::vector<float[kBlockLanes]> x(static_cast<size_t>(n));
  std::vector<uint8_t[kBlockLanes]> all(static_cast<size_t>(n));
  for (size_t k = 0; k < x.size(); ++k) std::fill_n(x[k], kBlockLanes, weights[k]);
  BlockGrid grids[kBlockLanes];
  quantize_blocks(x.data(), n, format, all.data(), grids);
  for (size_t k = 0; k < all.size(); ++k) {
    codes[k] = all[k][0];
    for (const uint8_t c : all[k]) CHECK(c == codes[k]);
  }
  for (const BlockGrid& g : grids) CHECK(g.scale == grids[0].scale);
  return grids[0];
}

double db(double signal, double noise) { return 10 * std::log10(signal / noise); }

TEST_CASE("blocks: the grid found is better than the one that just holds the block") {
  const std::vector<float> x = normal(32 * 2000);
  double noise = 0, plain = 0, signal = 0;
  for (size_t b = 0; b < x.size(); b += 32) {
    uint8_t codes[32];
    const BlockGrid g = quantize_block(&x[b], 32, {4, true, true}, codes);
    CHECK(g.zero_point == 8);
    float largest = 0;
    for (size_t i = b; i < b + 32; ++i)
      if (std::abs(x[i]) > std::abs(largest)) largest = x[i];
    double error = 0;
    for (size_t i = 0; i < 32; ++i) {
      REQUIRE(codes[i] < 16);
      const double e = x[b + i] - static_cast<double>(g.scale) * (codes[i] - 8);
      error += e * e;
      const float s = -largest / 8;
      const double p =
          x[b + i] - static_cast<double>(s) * std::clamp(std::round(x[b + i] / s), -8.0f, 7.0f);
      plain += p * p;
      signal += static_cast<double>(x[b + i]) * x[b + i];
    }
    CHECK(g.noise == doctest::Approx(error).epsilon(1e-4));
    noise += error;
  }
  CHECK(db(signal, plain) == doctest::Approx(21.3).epsilon(0.01));  // as onnxruntime's MLAS has it
  CHECK(db(signal, noise) > db(signal, plain) + 0.4);
}

TEST_CASE("blocks: asymmetric grids hold one-sided weights, and zeros stay zeros") {
  float x[16];
  for (int i = 0; i < 16; ++i) x[i] = 1 + static_cast<float>(i) / 15;
  uint8_t codes[16];
  BlockGrid g = quantize_block(x, 16, {4, false}, codes);
  CHECK(g.zero_point == 0);
  CHECK(db(g.signal, g.noise) > 30);
  std::fill(std::begin(x), std::end(x), 0.0f);
  g = quantize_block(x, 16, {4, true}, codes);
  CHECK(g.scale == 1);
  for (const uint8_t c : codes) CHECK(c == 8);
  x[3] = std::nanf("");
  CHECK(!quantize_block(x, 16, {4, true}, codes).finite);
  x[3] = INFINITY;
  CHECK(!quantize_block(x, 16, {8, false}, codes).finite);
}

TEST_CASE("blocks: weights near the end of floats have scales and decode to floats") {
  for (const bool symmetric : {true, false})
    for (const int bits : {4, 8}) {
      CAPTURE(symmetric);
      CAPTURE(bits);
      std::vector<float> x(32);
      for (size_t i = 0; i < x.size(); ++i)
        x[i] = 3.4e38f * (static_cast<float>(i) / 15.5f - 1);  // from one end to the other
      std::vector<uint8_t> codes(x.size());
      const BlockFormat format{bits, symmetric, symmetric};
      const BlockGrid g = quantize_block(x.data(), 32, format, codes.data());
      REQUIRE(std::isfinite(g.scale));
      CHECK(g.finite);
      double signal = 0, noise = 0;
      for (size_t i = 0; i < x.size(); ++i) {
        const float y = static_cast<float>(codes[i] - g.zero_point) * g.scale;
        REQUIRE(std::isfinite(y));
        signal += static_cast<double>(x[i]) * x[i];
        noise += (static_cast<double>(y) - x[i]) * (static_cast<double>(y) - x[i]);
      }
      CHECK(db(signal, noise) > (bits == 4 ? 20 : 40));
      CHECK(std::abs(db(g.signal, g.noise) - db(signal, noise)) < 0.5);
      if (bits == 4) continue;
      const WeightMatrix row{Tensor::from({1, 32}, x), 1, 32, false};
      const auto q = quantize_by_row(row, format);
      REQUIRE(q.ok());
      const int zero = symmetric ? 128 : static_cast<int>(q->zero_points[0]);
      for (const std::byte b : q->codes)
        CHECK(std::isfinite(static_cast<float>(static_cast<int>(b) - zero) * q->scales[0]));
      CHECK(db(q->signal, q->noise) > 44);
    }
}

TEST_CASE("weight-only: weights too small for a scale are zeros, and the report says so") {
  const auto model = parse(product_model("y = MatMul (x, w)"));
  std::vector<float> w = normal(static_cast<size_t>(model->graph().find("w")->constant()->count()));
  for (float& v : w) v *= 1e-39f;
  const auto dims = model->graph().find("w")->constant()->dims();
  Rewriter(model->graph()).set_constant(*model->graph().find("w"), Tensor::from(dims, w));
  for (const bool operators : {true, false}) {
    WeightOnlyOptions options;
    options.operators = operators;
    options.bits = 8;
    auto plan = plan_weight_only(model->clone(), options);
    REQUIRE(plan.ok());
    REQUIRE(quantize_weights_only(*plan, options).ok());
    REQUIRE(plan->weights.size() == 1);
    CHECK(plan->weights[0].lost);
    REQUIRE(plan->notes.size() == 1);
    CHECK(plan->notes[0].find("'w'") != std::string::npos);
  }
}

TEST_CASE("blocks: a power of two changes the scale and nothing else") {
  const std::vector<float> x = normal(32, 5);
  for (const BlockFormat f :
       {BlockFormat{4, true, true}, {4, true, false}, {4, false}, {8, true}}) {
    std::vector<float> y = x;
    for (float& v : y) v *= 0x1p-40f;
    uint8_t a[32], b[32];
    const BlockGrid ga = quantize_block(x.data(), 32, f, a),
                    gb = quantize_block(y.data(), 32, f, b);
    CHECK(std::equal(a, a + 32, b));
    CHECK(gb.scale == ga.scale * 0x1p-40f);
    CHECK(gb.zero_point == ga.zero_point);
  }
}

// A matrix both ways around, with extents that fill no block, no tile and no byte.
TEST_CASE("blocks: stored across or along, the codes of a row are the same") {
  const int64_t rows = 19, depth = 75;
  const std::vector<float> along = normal(static_cast<size_t>(rows * depth));
  std::vector<float> across(along.size());
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t k = 0; k < depth; ++k)
      across[static_cast<size_t>(k * rows + r)] = along[static_cast<size_t>(r * depth + k)];
  const WeightMatrix a{Tensor::from({rows, depth}, along), rows, depth, false},
      b{Tensor::from({depth, rows}, across), rows, depth, true};
  for (const bool symmetric : {true, false}) {
    const BlockFormat f{4, symmetric, true};
    const auto qa = quantize_in_blocks(a, 32, f, BlockLayout::kRows),
               qb = quantize_in_blocks(b, 32, f, BlockLayout::kRows);
    REQUIRE(qa.ok());
    REQUIRE(qb.ok());
    CHECK(qa->codes == qb->codes);
    CHECK(qa->scales == qb->scales);
    CHECK(qa->zero_points == qb->zero_points);
    CHECK(qa->codes.size() == static_cast<size_t>(rows * 3 * 16));
    CHECK(qa->zero_points.size() == (symmetric ? 0 : static_cast<size_t>(rows * 2)));
    CHECK(qa->noise == doctest::Approx(qb->noise));
  }
  const auto row = quantize_by_row(a, {8, true}), column = quantize_by_row(b, {8, true});
  REQUIRE(row.ok());
  REQUIRE(column.ok());
  CHECK(row->scales == column->scales);
  CHECK(row->codes[1] == column->codes[static_cast<size_t>(rows)]);
}

using Made = testing::Made<WeightOnlyModel>;

Made make(const std::string& text, const WeightOnlyOptions& options = {}) {
  return testing::make_with(text, options, plan_weight_only, quantize_weights_only);
}

WeightOnlyOptions qdq(int bits) {
  WeightOnlyOptions o;
  o.operators = false;
  o.bits = bits;
  return o;
}

TEST_CASE("weight-only: MatMul and Gemm become MatMulNBits in every form of Gemm") {
  for (const std::string body :
       {"y = MatMul (x, w)", "y = Gemm (x, w, b)", "y = Gemm <transB = 1> (x, v)",
        "y = Gemm <alpha = 0.5, beta = 2.0> (x, w, b)", "y = Gemm <beta = 0.25> (x, w, c)",
        "t = Transpose (x) y = Gemm <transA = 1, alpha = 3.0> (t, w, b)",
        "k = ReduceSum <keepdims = 1> (x) y = Gemm <beta = 0.001> (x, w, k)",
        "vt = Transpose <perm = [1, 0]> (v) y = MatMul (x, vt)"}) {
    CAPTURE(body);
    const Made m = make(product_model(body));
    CHECK(m.ops.at("MatMulNBits") == 1);
    CHECK(!m.ops.contains("Gemm"));
    CHECK(!m.ops.contains("MatMul"));
    CHECK(m.sqnr_db > 18);
    WeightOnlyOptions o;
    o.bits = 8;
    CHECK(make(product_model(body), o).sqnr_db > 40);
    o.symmetric = false;
    CHECK(make(product_model(body), o).sqnr_db > 40);
    CHECK(make(product_model(body), qdq(4)).sqnr_db > 18);
    const Made channels = make(product_model(body), qdq(8));
    CHECK(channels.ops.at("DequantizeLinear") == 1);
    CHECK(channels.sqnr_db > 40);
    CHECK(channels.model.model->opset("") == 13);
  }
}

TEST_CASE("weight-only: a weight that is reshaped before use is a weight") {
  const std::string head =
      "<ir_version: 8, opset_import: [\"\" : 17]> g (float[2,32] x) => (float y) <int64[2] to = "
      "{32, "
      "16}, int64[1] axis = {0}, float[512] w = {" +
      numbers(512) + "}, float[1,16,32] v = {" + numbers(512) + "}> ";
  for (const char* body :
       {"{ r = Reshape (w, to) y = MatMul (x, r) }",
        "{ i = Identity (w) r = Reshape (i, to) y = Gemm (x, r) }",
        "{ s = Squeeze (v, axis) t = Transpose <perm = [1, 0]> (s) y = MatMul (x, "
        "t) }"}) {
    CAPTURE(body);
    const auto model = parse(head + body);
    auto plan = plan_weight_only(model->clone(), {});
    REQUIRE_MESSAGE(plan.ok(), (plan.ok() ? "" : plan.error().message));
    REQUIRE(quantize_weights_only(*plan, {}).ok());
    int products = 0, movers = 0;
    for (const Node& n : plan->model->graph().nodes()) {
      products += n.op_type() == "MatMulNBits";
      movers += n.is("Reshape") || n.is("Squeeze") || n.is("Transpose");
    }
    CHECK(products == 1);
    CHECK(movers == 0);
  }
}

TEST_CASE("weight-only: the form decides the opset, and only that") {
  for (const int opset : {7, 9, 11, 12}) {
    const std::string text = product_model("y = Gemm (x, w, b)", opset);
    CHECK(make(text).model.model->opset("") == opset);
    CHECK(make(text).model.model->opset("com.microsoft") == 1);
    CHECK(make(text, qdq(8)).model.model->opset("") == 13);
    const Made blocked = make(text, qdq(4));
    CHECK(blocked.model.model->opset("") == 21);
    CHECK(blocked.model.model->ir_version == 10);
    WeightOnlyOptions fixed = qdq(4);
    fixed.no_opset_change = true;
    CHECK(!plan_weight_only(parse(text), fixed).ok());
  }
}

TEST_CASE("weight-only: a table that is gathered from and multiplied by is kept once") {
  const std::string text =
      "<ir_version: 8, opset_import: [\"\" : 13]> g (int64[5] i) => (float y) <float[96,64] e = {" +
      numbers(96 * 64) +
      "}> { x = Gather (e, i) t = Transpose <perm = [1, 0]> (e) "
      "y = MatMul (x, t) }";
  const Made m = make(text);
  CHECK(m.ops.at("GatherBlockQuantized") == 1);
  CHECK(m.ops.at("MatMulNBits") == 1);
  CHECK(m.model.weights.size() == 1);
  size_t bytes = 0;
  for (const Value* v : m.model.model->graph().initializers())
    bytes += v->initializer()->size_bytes();
  CHECK(bytes < 96 * 64 / 2 + 96 * 2 * 4 + 64);
  CHECK(m.sqnr_db > 17);
  const Made standard = make(text, qdq(4));
  CHECK(standard.ops.at("Gather") == 2);
  CHECK(standard.ops.at("DequantizeLinear") == 1);
  CHECK(standard.sqnr_db > 38);  // tables have 8 bits there
}

TEST_CASE("weight-only: shared weights, Constant nodes and bodies of If") {
  const Made shared = make(product_model("p = MatMul (x, w) q = MatMul (x, w) y = Add (p, q)"));
  CHECK(shared.ops.at("MatMulNBits") == 2);
  CHECK(shared.model.weights.size() == 1);
  const Made constant = make(
      "<ir_version: 3, opset_import: [\"\" : 9]> g (float[2,64] x) => (float y) { w = Constant "
      "<value "
      "= float[64,16] {" +
      numbers(1024) + "}> () y = MatMul (x, w) }");
  CHECK(constant.ops.at("MatMulNBits") == 1);
  CHECK(!constant.ops.contains("Constant"));
  const Made inside = make(
      product_model("y = If (k) <then_branch = t () => (float[3,32] z) { z = MatMul (x, w) }, "
                    "else_branch = e () => (float[3,32] z) { h = Gemm (x, w, b) z = Relu (h) }>",
                    13, "float[3,64] x, bool k"));
  CHECK(inside.ops.at("MatMulNBits") == 2);
  CHECK(inside.model.weights.size() == 1);
}

TEST_CASE("weight-only: DequantizeLinear stands beside the weight, not in the body that reads it") {
  const Made m = make(
      product_model("y = If (k) <then_branch = t () => (float[3,32] z) { z = MatMul (x, w) }, "
                    "else_branch = e () => (float[3,32] z) { h = Gemm (x, w, b) z = Relu (h) }>",
                    13, "float[3,64] x, bool k"),
      qdq(8));
  int outside = 0;
  for (const Node& n : m.model.model->graph().nodes()) outside += n.is("DequantizeLinear");
  CHECK(outside == 2);
  CHECK(m.ops.at("DequantizeLinear") == 2);
}

TEST_CASE("weight-only: float16 weights have float16 scales") {
  auto model = parse(
      "<ir_version: 8, opset_import: [\"\" : 13]> g (float16[2,64] x, float16[64,16] w) => "
      "(float16 y) "
      "{ y = MatMul (x, w) }");
  std::vector<Half> values;
  for (const float v : normal(1024)) values.emplace_back(v);
  Value& w = *model->graph().find("w");
  model->graph().remove_input(w);
  model->graph().set_initializer(w, Tensor::from({64, 16}, values));
  REQUIRE(infer_graph(model->graph()).ok());
  for (const WeightOnlyOptions& o : {WeightOnlyOptions{}, qdq(4), qdq(8)}) {
    auto plan = plan_weight_only(model->clone(), o);
    REQUIRE(plan.ok());
    REQUIRE(quantize_weights_only(*plan, o).ok());
    CHECK(plan->weights.at(0).sqnr_db > 18);
    CHECK(plan->model->opset("") == (o.operators ? 13 : o.bits == 4 ? 21 : 19));
    for (const Node& n : plan->model->graph().nodes())
      if (Status s = check_node(n); !s.ok()) FAIL(s.error().message);
  }
}

std::string reason_of(const std::string& text, const std::string& node,
                      const WeightOnlyOptions& options = {}) {
  auto model = parse(text);
  REQUIRE(infer_graph(model->graph()).ok());
  const auto plan = plan_weight_only(std::move(model), options);
  if (!plan.ok()) return plan.error().message;
  for (const NodeDecision& d : plan->decisions)
    if (d.node->output(0).name() == node) return d.reason;
  return "not listed";
}

TEST_CASE("weight-only: what stays float, and why") {
  const std::string two =
      "p = MatMul (x, w) s = ReduceMax <axes = [0], keepdims = 0> (w) y = Add (p, s)";
  CHECK(reason_of(product_model(two), "p").find("read elsewhere as floats") != std::string::npos);
  CHECK(reason_of(product_model("y = MatMul (x, z)", 13, "float[3,64] x, float[64,8] z"), "y")
            .find("not constant") != std::string::npos);
  CHECK(reason_of(product_model("p = MatMul (x, w) r = Relu (p) y = MatMul (r, v)"), "y") == "");
  CHECK(reason_of(product_model("i = Identity (w) p = MatMul (x, i) y = MatMul (p, v)"), "p") ==
        "");
  // The product of two activations has no weight to speak of, one of a dequantized weight has.
  CHECK(reason_of(product_model("p = MatMul (x, w) t = Transpose (p) y = MatMul (p, t)"), "y") ==
        "not listed");
  CHECK(reason_of(
            "<ir_version: 8, opset_import: [\"\" : 13]> g (float[3,64] x) => (float y) "
            "<uint8[64] i = {" +
                [] {
                  std::string ones = "1";
                  for (int k = 1; k < 64; ++k) ones += ", 1";
                  return ones;
                }() +
                "}, float s = {0.5}, int64[2] d = {64, 1}> { f = DequantizeLinear (i, s) "
                "w = Reshape (f, d) y = MatMul (x, w) }",
            "y")
            .find("quantized already") != std::string::npos);
  WeightOnlyOptions o;
  o.exclude = *Selector::parse({"op:Gemm"});
  CHECK(reason_of(product_model("p = MatMul (x, w) y = Gemm (p, v)"), "y", o) == "excluded");
  o = {};
  o.include = *Selector::parse({"op:Gemm"});
  CHECK(reason_of(product_model("p = MatMul (x, w) y = Gemm (p, v)"), "p", o) == "not included");
  // By what they make, and by the paths that they lie on.
  const std::string chain = product_model("p = MatMul (x, w) r = Relu (p) y = Gemm (r, v)");
  for (const char* selector : {"tensor:y", "between:p,y"}) {
    o = {};
    o.exclude = *Selection::parse({selector});
    REQUIRE(o.exclude.check(*parse(chain)).ok());
    CHECK(reason_of(chain, "y", o) == "excluded");
    CHECK(reason_of(chain, "p", o) == "");
  }
  CHECK(reason_of(
            "<ir_version: 8, opset_import: [\"\" : 13]> g (float[2,2] x) => (float y) <float[2,2] "
            "w = {1.0, 2.0, 3.0, 4.0}> { y = MatMul (x, w) }",
            "y")
            .find("would not become smaller") != std::string::npos);
}

TEST_CASE("weight-only: weights that are not finite are an error that names them") {
  std::vector<float> values(1024, 0.5f);
  values[77] = INFINITY;
  auto model = parse(
      "<ir_version: 8, opset_import: [\"\" : 13]> g (float[2,64] x) => (float y) <float[64,16] w = "
      "{" +
      numbers(1024) + "}> { y = MatMul (x, w) }");
  model->graph().set_initializer(*model->graph().find("w"), Tensor::from({64, 16}, values));
  for (const WeightOnlyOptions& o : {WeightOnlyOptions{}, qdq(4), qdq(8)}) {
    auto plan = plan_weight_only(model->clone(), o);
    REQUIRE(plan.ok());
    const Status s = quantize_weights_only(*plan, o);
    REQUIRE(!s.ok());
    CHECK(s.error().code == ErrorCode::kNotFinite);
    CHECK(s.error().message.find("'w'") != std::string::npos);
  }
}

TEST_CASE("weight-only: weights kept on disk are the same") {
  const std::string text = product_model("p = MatMul (x, w) y = Gemm (p, v)");
  WeightOnlyOptions o;
  const Made in_memory = make(text, o);
  auto scratch = ScratchFile::create(".");
  REQUIRE(scratch.ok());
  const std::vector<float> large = normal(512 * 512);
  const auto stored =
      (*scratch)->store(DataType::kFloat, {512, 512}, std::as_bytes(std::span(large)));
  REQUIRE(stored.ok());
  CHECK(stored->values<float>() == large);
  release_pages(*stored);
  CHECK(stored->values<float>() == large);
}

TEST_CASE("weight-only: NaN is noticed wherever it lies in a line") {
  for (const bool across : {false, true})
    for (const float bad : {std::nanf(""), INFINITY, -INFINITY}) {
      std::vector<float> values(1024, 0.5f);
      values[77] = bad;
      const WeightMatrix w{Tensor::from({32, 32}, values), 32, 32, across};
      for (const bool symmetric : {false, true}) {
        const auto q = quantize_by_row(w, {8, symmetric});
        REQUIRE(!q.ok());
        CHECK(q.error().code == ErrorCode::kNotFinite);
      }
    }
}

TEST_CASE("blocks: those of zeros have the smallest scale of the others") {
  std::vector<float> values = normal(64 * 4);
  for (size_t i = 0; i < 64; ++i) values[64 + i] = 0;
  for (const bool symmetric : {false, true}) {
    const BlockFormat format{8, symmetric, true};
    WeightMatrix w{Tensor::from({4, 64}, values), 4, 64, false};
    auto q = quantize_in_blocks(w, 32, format, BlockLayout::kRows);
    REQUIRE(q.ok());
    REQUIRE(q->scales.size() == 8);
    float smallest = INFINITY;
    for (const size_t b : {0, 1, 4, 5, 6, 7}) smallest = std::min(smallest, std::abs(q->scales[b]));
    CHECK(smallest > 0);
    CHECK(smallest < 0.1f);
    CHECK(q->scales[2] == smallest);
    CHECK(q->scales[3] == smallest);
    const auto rows = quantize_by_row(w, format);
    REQUIRE(rows.ok());
    CHECK(rows->scales[1] == std::min({rows->scales[0], rows->scales[2], rows->scales[3]}));
    // Nothing but zeros: a scale that the weights' type holds.
    const std::vector<Half> zeros(256);
    w.tensor = Tensor::from({4, 64}, zeros);
    q = quantize_in_blocks(w, 32, format, BlockLayout::kRows);
    REQUIRE(q.ok());
    for (const float s : q->scales) {
      CHECK(s < 1e-4f);
      CHECK(static_cast<float>(Half(s)) == s);
      CHECK(s > 0);
    }
  }
}

TEST_CASE("weight-only: products and tables without a result stay as they are") {
  for (const std::string dead :
       {"\"\" = MatMul (x, v)", "\"\" = Gemm (x, v)", "\"\" = Gather (v, i)"})
    for (const WeightOnlyOptions& o : {WeightOnlyOptions{}, qdq(4), qdq(8)}) {
      CAPTURE(dead);
      const std::string text =
          "<ir_version: 8, opset_import: [\"\" : 21]> g (float[3,64] x) => (float y) "
          "<float[64,32] w = {" +
          numbers(2048) + "}, float[64,32] v = {" + numbers(2048) +
          "}, int64[1] i = {1}> { y = MatMul (x, w) " + dead + " }";
      const auto model = parse(text);
      REQUIRE(infer_graph(model->graph()).ok());
      auto plan = plan_weight_only(model->clone(), o);
      REQUIRE(plan.ok());
      REQUIRE(quantize_weights_only(*plan, o).ok());
      CHECK(plan->layers.size() == 1);
    }
}

}  // namespace
}  // namespace onnxtool
