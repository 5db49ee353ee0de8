// Weights for kernels that add pairs in 16 bits: all 8 bits wherever no pair of theirs saturates.
#include "quant/pair_limit.h"

#include <doctest/doctest.h>

#include <random>

#include "calib/kernels/cpu/saturation.h"
#include "quant/adaround.h"
#include "quant/dynamic.h"
#include "tests/quant/small_models.h"

namespace onnxtool {
namespace {

std::vector<float> drawn_weights(size_t count, unsigned seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> draw;
  std::vector<float> out(count);
  for (float& v : out) v = draw(engine);
  return out;
}

std::vector<int> codes_of_s8(const QuantizedWeights& q) {
  std::vector<int> out;
  for (const uint8_t byte : q.bytes) out.push_back(static_cast<int8_t>(byte));
  return out;
}

double error_of(const QuantizedWeights& q, const std::vector<float>& w,
                const std::vector<int64_t>& dims) {
  const auto back = dequantize_weights(q, dims);
  double sum = 0;
  for (size_t i = 0; i < w.size(); ++i) sum += std::pow(back[i] - w[i], 2);
  return sum;
}

TEST_CASE("pair limit: only channels that have such a pair get a wider scale") {
  // [3, 2, 1 x 2]: pairs are (0, 2) and (1, 3) of each channel.
  const std::vector<int64_t> dims = {3, 2, 1, 2};
  const std::vector<float> w = {1, 0.9f, -0.1f, -0.9f,  // large ones side by side, not in a pair
                                1, 0.1f, 0.1f,  0.2f,   // in a pair
                                1, -1,   -1,    1};     // in pairs of two signs
  const PairOrder order{.outer = 3, .channels = 2, .taps = 2};
  const auto free = quantize_weights(w, dims, 0, {});
  const auto q = quantize_weights(w, dims, 0, {.pairs = order});
  REQUIRE((free.ok() && q.ok()));
  CHECK(q->limited_channels == 1);
  CHECK(free->limited_channels == 0);
  for (const size_t c : {0, 2}) {
    CHECK(q->scales[c] == free->scales[c]);
    for (size_t i = 4 * c; i < 4 * c + 4; ++i) CHECK(q->bytes[i] == free->bytes[i]);
  }
  CHECK(q->scales[1] > free->scales[1]);
  CHECK(q->scales[1] < 1.2f * free->scales[1]);  // 7 bits would take twice the scale
  const auto codes = codes_of_s8(*q);
  CHECK(codes[4] + codes[6] <= 128);
  CHECK(codes[4] + codes[6] >= 126);
}

TEST_CASE("pair limit: no pair saturates, for any layout, and fewer bits lose more") {
  struct {
    std::vector<int64_t> dims;
    PairOrder order;
    std::optional<int64_t> axis;
  } cases[] = {
      {{8, 6, 3, 3}, {.outer = 8, .channels = 6, .taps = 9}, 0},
      {{8, 5, 3, 3}, {.outer = 8, .channels = 5, .taps = 9}, 0},
      {{64, 24}, {.channels = 64, .inner = 24}, 1},
      {{24, 64}, {.outer = 24, .channels = 64}, 0},
      {{2, 33, 8}, {.outer = 2, .channels = 33, .inner = 8}, 2},
  };
  for (auto& c : cases)
    for (const bool by_channel : {true, false}) {
      int64_t count = 1;
      for (const int64_t d : c.dims) count *= d;
      const auto w = drawn_weights(static_cast<size_t>(count), 3);
      const auto axis = by_channel ? c.axis : std::nullopt;
      const auto q = quantize_weights(w, c.dims, axis, {.pairs = c.order}),
                 free = quantize_weights(w, c.dims, axis, {}),
                 seven = quantize_weights(w, c.dims, axis, {.reduced = true});
      REQUIRE((q.ok() && free.ok() && seven.ok()));
      const auto pairs = [&](const QuantizedWeights& of) {
        return count_saturating_pairs(
            c.order, {reinterpret_cast<const int8_t*>(of.bytes.data()), of.bytes.size()});
      };
      CHECK(pairs(*free) > 0);
      CHECK(pairs(*q) == 0);
      CHECK(error_of(*q, w, c.dims) < 0.9 * error_of(*seven, w, c.dims));
    }
}

TEST_CASE("pair limit: one pair among many weights moves alone") {
  // One scale for all: widened for the pair, 20000 weights would lose more than it does.
  std::vector<float> w = drawn_weights(20000, 5);
  for (float& v : w) v = std::clamp(v, -1.0f, 1.0f) / 4;
  w[0] = 1;
  w[1] = 0.11f;
  const std::vector<int64_t> dims = {1, 20000};
  const PairOrder order{.outer = 1, .channels = 20000};
  const auto q = quantize_weights(w, dims, std::nullopt, {.pairs = order});
  const auto free = quantize_weights(w, dims, std::nullopt, {});
  REQUIRE((q.ok() && free.ok()));
  const auto codes = codes_of_s8(*q);
  CHECK(codes[0] + codes[1] == 128);
  CHECK(q->limited_channels == 1);
  CHECK(q->scales[0] < 1.03f * free->scales[0]);
  CHECK(error_of(*q, w, dims) < 1.2 * error_of(*free, w, dims));
}

TEST_CASE("pair limit: a weight scale that a bias raises keeps the limit") {
  const std::vector<float> w = {1, 0.99f, 0.3f, 0.2f};
  const std::vector<int64_t> dims = {1, 4};
  const WeightOptions options{.pairs = PairOrder{.outer = 1, .channels = 4}};
  auto q = quantize_weights(w, dims, 0, options);
  REQUIRE(q.ok());
  const float before = q->scales[0];
  const std::vector<float> bias = {1.0f};
  const auto b = quantize_bias(bias, 5.9e-8f, *q, w, dims, options);
  REQUIRE(b.ok());
  CHECK(b->raised.size() == 1);
  CHECK(q->scales[0] > before);
  CHECK(q->limited_channels == 1);
  const auto codes = codes_of_s8(*q);
  CHECK(!pair_saturates(codes[0], codes[1]));
}

TEST_CASE("pair limit: a pair gives up what loses less") {
  int a = 127, b = 20;
  limit_pair(126.6f, 20.4f, a, b);
  CHECK(a + b == 128);
  CHECK(std::abs((126.6f - static_cast<float>(a)) - (20.4f - static_cast<float>(b))) <= 1);
  a = -127, b = -2;
  limit_pair(-126.6f, -2.4f, a, b);
  CHECK((a == -126 && b == -2));
  a = 100, b = 28;
  limit_pair(100.4f, 28.4f, a, b);
  CHECK((a == 100 && b == 28));
}

TEST_CASE("pair limit: AdaRound's choices keep it") {
  const int64_t rows = 400, depth = 16;
  const auto w = drawn_weights(static_cast<size_t>(rows * depth), 7);
  const std::vector<int64_t> dims = {rows, depth};
  const PairOrder order{.outer = rows, .channels = depth};
  const auto q = quantize_weights(w, dims, 0, {.pairs = order});
  REQUIRE(q.ok());
  // Inputs of a pair that go opposite ways: it pays to round both up.
  std::vector<float> moments(static_cast<size_t>(depth * depth));
  for (int64_t k = 0; k < depth; ++k) {
    moments[static_cast<size_t>(k * depth + k)] = 1;
    moments[static_cast<size_t>(k * depth + (k ^ 1))] = -0.7f;
  }
  const auto rounded = [&](bool limited, int64_t steps) {
    Rounding r;
    r.rows = rows;
    r.depth = depth;
    r.weights = w;
    r.scales = q->scales;
    r.zero_points.assign(static_cast<size_t>(rows), 0);
    r.lowest = -127;
    r.highest = 127;
    r.codes = codes_of_s8(*q);
    r.steps = steps;
    for (int64_t k = 0; limited && k < depth; ++k) r.partners.push_back(k ^ 1);
    const RoundingNoise noise = round_adaptively(r, moments);
    CHECK(noise.chosen < noise.nearest);
    const std::vector<int8_t> codes(r.codes.begin(), r.codes.end());
    return count_saturating_pairs(order, codes);
  };
  for (const int64_t steps : {0, 100}) {
    CHECK(rounded(true, steps) == 0);
    CHECK(rounded(false, steps) > 0);  // else this shows nothing
  }
}

// --- models -------------------------------------------------------------------------------------

std::string drawn(int count, unsigned seed) {
  std::string text;
  for (const float v : drawn_weights(static_cast<size_t>(count), seed))
    text += (text.empty() ? "" : ", ") + std::to_string(v);
  return text;
}

// A convolution of 3 channels, one of two outputs for a channel, a Gemm with its weight turned, and
// a product.
std::string four_layers() {
  return "<ir_version: 8, opset_import: [\"\" : 17]> g (float[1,3,8,8] x) => (float y) "
         "<float[8,3,3,3] w1 = {" +
         drawn(216, 1) + "}, float[16,1,3,3] w2 = {" + drawn(144, 2) + "}, float[12,16] w3 = {" +
         drawn(192, 3) + "}, float[12,10] w4 = {" + drawn(120, 4) + "}, float[12] b = {" +
         drawn(12, 5) +
         "}> { a = Conv (x, w1) r = Relu (a) c = Conv <group = 8> (r, w2) "
         "p = GlobalAveragePool (c) f = Flatten (p) m = Gemm <transB = 1> (f, w3, b) "
         "y = MatMul (m, w4) }";
}

// Sums that vpmaddubsw loses of a weight's rows, in the order of plain loops over what the kernel
// reads, with random u8 data.
int64_t lost_in_rows(const std::vector<std::vector<int8_t>>& rows) {
  std::mt19937 engine(11);
  int64_t lost = 0;
  for (const auto& row : rows)
    for (int sample = 0; sample < 50; ++sample) {
      std::vector<uint8_t> data(row.size());
      // Large ones and full ones are among them: there pairs saturate.
      for (uint8_t& v : data)
        v = static_cast<uint8_t>(sample < 10 ? 255 : 255 - engine() % (sample < 30 ? 64 : 256));
      lost += std::abs(saturation_loss(data.data(), row.data(), static_cast<int64_t>(row.size())));
    }
  return lost;
}

int64_t lost_in_file(const Graph& graph) {
  int64_t lost = 0;
  int weights = 0;
  for (const Value* v : graph.initializers()) {
    const Tensor& t = *v->initializer();
    if (t.dtype() != DataType::kInt8 || t.rank() < 2) continue;
    ++weights;
    const auto codes = t.values<int8_t>();
    const auto& d = t.dims();
    std::vector<std::vector<int8_t>> rows;
    if (t.rank() == 4) {
      for (int64_t o = 0; o < d[0]; ++o) {
        auto& row = rows.emplace_back();
        for (int64_t tap = 0; tap < d[2] * d[3]; ++tap)
          for (int64_t c = 0; c < d[1]; ++c)
            row.push_back(codes[static_cast<size_t>((o * d[1] + c) * d[2] * d[3] + tap)]);
      }
    } else if (v->name() == "w3_quantized" && d[0] == 12) {
      for (int64_t o = 0; o < d[0]; ++o)
        rows.emplace_back(codes.begin() + o * d[1], codes.begin() + (o + 1) * d[1]);
    } else {
      for (int64_t o = 0; o < d[1]; ++o) {
        auto& row = rows.emplace_back();
        for (int64_t k = 0; k < d[0]; ++k) row.push_back(codes[static_cast<size_t>(k * d[1] + o)]);
      }
    }
    lost += lost_in_rows(rows);
  }
  CHECK(weights >= 2);
  return lost;
}

TEST_CASE("pair limit: nothing saturates in quantized models, per channel and per tensor") {
  for (const bool per_channel : {true, false}) {
    QuantizeOptions o = testing::all_layers();
    o.per_channel = per_channel;
    const testing::Quantized plain = testing::quantize(four_layers(), o);
    CHECK(lost_in_file(plain.output.model->graph()) > 0);
    o.target = &kOrtCpuNoVnni;
    testing::Quantized q = testing::quantize(four_layers(), o);
    CHECK(lost_in_file(q.output.model->graph()) == 0);
    CHECK(q.output.emitted.pairs.layers == 4);
    CHECK(q.output.emitted.pairs.limited_layers > 0);
    CHECK(q.output.emitted.pairs.channels == (per_channel ? 8 + 16 + 12 + 10 : 4));
    const auto note = std::ranges::find_if(q.output.emitted.notes, [](const std::string& n) {
      return n.find("without VNNI in ") != std::string::npos;
    });
    CHECK(note != q.output.emitted.notes.end());
    o.ort_compat = true;  // as the peer's reduce_range
    const testing::Quantized compat = testing::quantize(four_layers(), o);
    int64_t most = 0;
    for (const Value* v : compat.output.model->graph().initializers())
      if (v->initializer()->dtype() == DataType::kInt8 && v->initializer()->rank() > 1)
        for (const int64_t c : v->initializer()->to_ints()) most = std::max(most, std::abs(c));
    CHECK(most == 64);
  }
}

TEST_CASE("pair limit: rounding weights again and correcting biases saturates nothing") {
  QuantizeOptions o = testing::all_layers();
  o.target = &kOrtCpuNoVnni;
  testing::Quantized q = testing::quantize(four_layers(), o);
  const auto samples = testing::random_samples(q.quantizer.prepared());
  const auto rounded = q.quantizer.round_weights(q.output, *samples, testing::cpu_run());
  REQUIRE_MESSAGE(rounded.ok(), (rounded.ok() ? "" : rounded.error().message));
  CHECK(rounded->kept);
  CHECK(lost_in_file(q.output.model->graph()) == 0);
  const auto corrected = q.quantizer.correct_biases(q.output, *samples, testing::cpu_run());
  REQUIRE_MESSAGE(corrected.ok(), (corrected.ok() ? "" : corrected.error().message));
  CHECK(lost_in_file(q.output.model->graph()) == 0);
}

TEST_CASE("pair limit: layers that share a weight agree on it, or have their own") {
  // Read by rows and by columns: pairs of one are none of the other.
  const std::string text =
      "<ir_version: 8, opset_import: [\"\" : 17]> g (float[4,8] x) => (float y) <float[8,8] w = {" +
      drawn(64, 6) + "}, float[8] b = {" + drawn(8, 7) +
      "}> { m = Gemm (x, w, b) r = Relu (m) y = Gemm <transB = 1> (r, w, b) }";
  for (const bool per_channel : {true, false}) {
    QuantizeOptions o = testing::all_layers();
    o.target = &kOrtCpuNoVnni;
    o.per_channel = per_channel;
    const testing::Quantized q = testing::quantize(text, o);
    int layers = 0;
    for (const Node& n : q.output.model->graph().nodes()) {
      if (!n.is("Gemm")) continue;
      ++layers;
      const Tensor& codes = *n.input(1).producer()->input(0).constant();
      CHECK(count_saturating_pairs(*pair_order(n, codes.dims()), codes.values<int8_t>()) == 0);
    }
    CHECK(layers == 2);
  }
}

TEST_CASE("pair limit: dynamic quantization") {
  const auto model =
      "<ir_version: 8, opset_import: [\"\" : 17]> g (float[4,16] x) => (float y) "
      "<float[12,16] w3 = {" +
      drawn(192, 3) + "}, float[12,10] w4 = {" + drawn(120, 4) +
      "}> { m = Gemm <transB = 1> (x, w3) y = MatMul (m, w4) }";
  for (const bool per_channel : {true, false})
    for (const Target* target : {&kOrtCpu, &kOrtCpuNoVnni}) {
      DynamicOptions o;
      o.include = *Selection::parse({"op:*"});
      o.per_channel = per_channel;
      o.target = target;
      auto plan = plan_dynamic(testing::parse(model), o);
      REQUIRE_MESSAGE(plan.ok(), (plan.ok() ? "" : plan.error().message));
      REQUIRE(quantize_dynamically(*plan, o).ok());
      CHECK((lost_in_file(plan->model->graph()) > 0) == (target == &kOrtCpu));
      CHECK(plan->notes.size() == (target == &kOrtCpu ? 0 : 1));
      const auto compared =
          compare_models(plan->reference->graph(), plan->model->graph(),
                         *testing::random_samples(*plan->reference), testing::cpu_run(), {});
      REQUIRE(compared.ok());
      CHECK(*compared->outputs[0].second.value(Metric::kSqnr) > 33);
    }
}

}  // namespace
}  // namespace onnxtool
