// com.microsoft.MatMulNBits-1: y = a * dequantize(b)^T + bias for a [..., K] and weights of 2, 4 or
// 8 bits, b [N, blocks, bytes of a block], low bits first, with a scale (and zero point, packed
// like b or of a's type; default 2^(bits - 1)) for each block of `block_size` weights of one row.
// Weights are dequantized where the product packs them, so that memory holds only a few panels of
// them.
//
// accuracy_level 4 allows ONNX Runtime, for whose kernels these models are made, to round a to 8
// bits, block by block as the weights are cut. It does so in float32 and float16 alike wherever it
// has such a kernel, and results must not look better here than they are there: rounds_left_side().

#include <algorithm>
#include <cmath>
#include <cstring>

#include "calib/kernels/cpu/convert.h"
#include "calib/kernels/cpu/float_io.h"
#include "calib/kernels/cpu/nbits.h"
#include "calib/kernels/cpu/plain_sink.h"
#include "calib/kernels/cpu/vector_math.h"

namespace onnxtool {
namespace {

enum Input : int { kA, kBias = 5 };

struct NBitsState final : KernelState, NBitsShape {
  const GemmIsa* isa;
};

template <const GemmIsa& (*kIsa)()>
Result<std::unique_ptr<KernelState>> prepare(const NodeView& node) {
  auto state = std::make_unique<NBitsState>();
  ONNXTOOL_ASSIGN(static_cast<NBitsShape&>(*state), nbits_shape(node));
  state->isa = &kIsa();
  return {std::move(state)};
}

// Columns of the product are rows of b.
class NBitsPanels final : public PanelSource<float> {
 public:
  NBitsPanels(const NBitsState& state, const NBitsWeights& weights) : s_(state), w_(weights) {}
  const float* find(const PanelRequest&, int64_t*) const override { return nullptr; }
  void pack(const PanelRequest& r, float* out) const override {
    if (s_.bits != 4 || r.width % kRows != 0) return pack_turned(r, out);
    for (int i = 0; i < r.width; i += kRows) pack_nibbles(r, i, out + i);
  }

 private:
  static constexpr int kRows = 16;  // of b: columns of a panel

  // Columns [i, i + kRows) of a panel. The codes of a row of b follow each other from block to
  // block, and a block has whole words of them.
  void pack_nibbles(const PanelRequest& r, int i, float* out) const {
    constexpr int kCodes = 8;  // of a word
    const int64_t row_bytes = s_.blocks() * s_.block_bytes();
    const int count = std::clamp(r.count - i, 0, kRows);
    float zeros[kRows] = {}, scales[kRows] = {};  // past count: zeros
    uint32_t words[kDepthBlock / kCodes * kRows] = {};
    for (int64_t k = r.k0, end = r.k0 + r.depth, stop; k < end; k = stop) {
      stop = std::min(end, (k / s_.block + 1) * s_.block);
      const int64_t n = ceil_div(stop - k, int64_t{kCodes});
      for (int j = 0; j < count; ++j) {
        const int64_t row = r.first + i + j;
        const uint8_t* codes = w_.b + row * row_bytes + k / 2;
        for (int64_t w = 0; w < n; ++w)
          std::memcpy(words + w * kRows + j, codes + w * int64_t{sizeof *words}, sizeof *words);
        scales[j] = w_.scales[row * s_.blocks() + k / s_.block];
        zeros[j] = w_.zero(s_, row, k / s_.block);
      }
      const int64_t whole = (stop - k) / kCodes;
      float* to = out + (k - r.k0) * r.width;
      vector_math().dequantize_nibbles(words, zeros, scales, to, r.width, whole);
      if (whole == n) continue;
      float last[kCodes * kRows];
      vector_math().dequantize_nibbles(words + whole * kRows, zeros, scales, last, kRows, 1);
      for (int64_t j = whole * kCodes; j < stop - k; ++j)
        std::copy_n(last + j % kCodes * kRows, kRows, to + j * r.width);
    }
  }

  // Rows of b lie across a panel: some are dequantized, then turned together.
  void pack_turned(const PanelRequest& r, float* out) const {
    float lines[kRows * kDepthBlock];
    ONNXTOOL_CHECK(r.depth <= kDepthBlock);
    for (int i = 0; i < r.width; i += kRows) {
      const int count = std::min(kRows, r.width - i);
      for (int j = 0; j < count; ++j) {
        float* line = lines + j * kDepthBlock;
        if (i + j < r.count)
          dequantize(r.first + i + j, r.k0, r.k0 + r.depth, line);
        else
          std::fill_n(line, r.depth, 0.0f);
      }
      vector_math().transpose32(reinterpret_cast<const uint32_t*>(lines), kDepthBlock,
                                reinterpret_cast<uint32_t*>(out + i), r.width, count, r.depth);
    }
  }
  // Weights [begin, end) of a row.
  void dequantize(int64_t row, int64_t begin, int64_t end, float* out) const {
    for (int64_t k = begin, stop; k < end; out += stop - k, k = stop) {
      stop = std::min(end, (k / s_.block + 1) * s_.block);
      dequantize_block(row, k, stop, out);
    }
  }
  void dequantize_block(int64_t row, int64_t k, int64_t end, float* out) const {
    const int64_t block = k / s_.block, at = row * s_.blocks() + block;
    const float scale = w_.scales[at], zero = w_.zero(s_, row, block);
    const uint8_t* data = w_.b + at * s_.block_bytes();
    const int64_t i = k % s_.block;
    for (int64_t j = 0; j < end - k; ++j)
      out[j] = (static_cast<float>(packed_at(data, i + j, s_.bits)) - zero) * scale;
  }

  const NBitsState& s_;
  const NBitsWeights& w_;
};

// Up to so many rows, packing the weights costs more than multiplying by them.
constexpr int64_t kFewRows = 4;

// The left side as dot_nibbles() reads it.
struct FewRows {
  int64_t stride;  // values of a row, and what fills its last group
  float* values;
  float* block_sums;  // [rows, blocks]
};

Result<FewRows> arranged(KernelContext& ctx, const NBitsState& s, const float* a, int64_t rows) {
  const int64_t stride = ceil_div(s.k, kNibbleGroup) * kNibbleGroup;
  const int64_t count = rows * (stride + s.blocks());
  ONNXTOOL_ASSIGN(void* scratch, ctx.scratch(static_cast<size_t>(count) * sizeof(float)));
  auto* values = static_cast<float*>(scratch);
  std::fill_n(values, count, 0.0f);
  const FewRows f{stride, values, values + rows * stride};
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t k = 0; k < s.k; ++k) {
      const int64_t i = k % kNibbleGroup;
      f.values[row * stride + k - i + i % 8 * 16 + i / 8] = a[row * s.k + k];
      f.block_sums[row * s.blocks() + k / s.block] += a[row * s.k + k];
    }
  return f;
}

// Zero points are told apart from their values' sum, which an infinity would turn into NaN.
bool multiplies_few_rows(const NBitsState& s, const NBitsWeights& w, const float* a, int64_t rows) {
  if (rows > kFewRows || s.bits != 4) return false;
  if (!w.zero_points && !w.packed_zero_points) return true;
  return std::all_of(a, a + rows * s.k, [](float v) { return std::isfinite(v); });
}

// Row by row of b, as it lies there.
Status multiply_few_rows(KernelContext& ctx, const NBitsState& s, const NBitsWeights& w,
                         const float* a, int64_t rows, const float* bias, float* y) {
  ONNXTOOL_ASSIGN(const FewRows left, arranged(ctx, s, a, rows));
  ctx.parallel(s.n, grain_of(s.k), [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      NibbleRow row{w.b + n * s.blocks() * s.block_bytes(), w.scales + n * s.blocks(), s.blocks(),
                    s.block_bytes()};
      if (w.packed_zero_points) row.zero_codes = w.packed_zero_points + n * s.zero_point_bytes();
      if (w.zero_points) row.zeros = w.zero_points + n * s.blocks();
      for (int64_t m = 0; m < rows; ++m) {
        row.block_sums = left.block_sums + m * s.blocks();
        y[m * s.n + n] =
            vector_math().dot_nibbles(left.values + m * left.stride, row) + (bias ? bias[n] : 0.0f);
      }
    }
  });
  return {};
}

// The left side, packed: a task then takes all of its rows, and dequantizes its columns once.
Result<PackedPanels<float>> packed_rows(KernelContext& ctx, const NBitsState& s, const float* a,
                                        int64_t rows) {
  const int mr = tile_rows_of<float>(*s.isa);
  const auto bytes = static_cast<size_t>(packed_count<float>(rows, s.k, mr)) * sizeof(float);
  ONNXTOOL_ASSIGN(void* scratch, ctx.scratch(bytes));
  auto* packed = static_cast<float*>(scratch);
  ctx.parallel(ceil_div(rows, mr), grain_of(s.k * mr), [&](int64_t begin, int64_t end) {
    pack_panels<float>(MatrixPanels<float>(a, 1, s.k), rows, s.k, mr, begin, end, packed);
  });
  return PackedPanels<float>(packed, rows, mr);
}

// a as 8-bit codes hold it: of each block of a row, 255 steps whose last is the largest magnitude.
// What is not finite stays, so that it is seen in the result.
Result<const float*> rounded(KernelContext& ctx, const NBitsState& s, const float* a,
                             int64_t rows) {
  ONNXTOOL_ASSIGN(void* scratch, ctx.scratch(static_cast<size_t>(rows * s.k) * sizeof(float)));
  auto* out = static_cast<float*>(scratch);
  ctx.parallel(rows, grain_of(s.k), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      for (int64_t k = 0; k < s.k; k += s.block) {
        const float* from = a + row * s.k + k;
        float* to = out + row * s.k + k;
        const int64_t n = std::min(s.block, s.k - k);
        float largest = 0;
        for (int64_t i = 0; i < n; ++i) largest = std::max(largest, std::abs(from[i]));
        const float scale = largest / 127.0f, inverse = largest != 0 ? 127.0f / largest : 0.0f;
        const bool has_codes = std::isfinite(largest) && std::isfinite(inverse);
        for (int64_t i = 0; i < n; ++i)
          to[i] = has_codes ? std::nearbyint(from[i] * inverse) * scale : from[i];
      }
  });
  return out;
}

Status run(KernelContext& ctx) {
  const auto& s = static_cast<const NBitsState&>(*ctx.state());
  const ConstView& a = ctx.input(kA);
  ONNXTOOL_ASSIGN(const Dims dims, nbits_result(ctx, s));
  ONNXTOOL_ASSIGN(const NBitsWeights weights, nbits_weights(ctx, s));
  ONNXTOOL_ASSIGN(const ConstView from, converted(ctx, a, DataType::kFloat));
  const float* bias = nullptr;
  if (ctx.has_input(kBias)) {
    ONNXTOOL_ASSIGN(const ConstView wide, converted(ctx, ctx.input(kBias), DataType::kFloat));
    bias = static_cast<const float*>(wide.data);
  }
  ONNXTOOL_ASSIGN(const WideOutput y, WideOutput::make(ctx, 0, a.dtype, dims));
  if (y.count() == 0) return {};
  const auto* rows = static_cast<const float*>(from.data);
  const int64_t count = y.count() / s.n;
  if (s.rounds) {
    ONNXTOOL_ASSIGN(rows, rounded(ctx, s, rows, count));
  }
  if (multiplies_few_rows(s, weights, rows, count)) {
    ONNXTOOL_TRY(multiply_few_rows(ctx, s, weights, rows, count, bias, y.data<float>()));
    y.finish(ctx);
    return {};
  }
  const NBitsPanels panels(s, weights);
  ONNXTOOL_ASSIGN(const PackedPanels<float> left, packed_rows(ctx, s, rows, count));
  ONNXTOOL_TRY(for_each_product<float>(
      ctx, *s.isa, 1, count, s.n, s.k, [&](int64_t) -> const PackedPanels<float>& { return left; },
      [&](int64_t) -> const NBitsPanels& { return panels; },
      ColumnBiasSink<float>(y.data<float>(), s.n, bias)));
  y.finish(ctx);
  return {};
}

constexpr std::initializer_list<DataType> kTypes = {DataType::kFloat, DataType::kFloat16,
                                                    DataType::kBfloat16};

}  // namespace

constinit const KernelInfo kMatMulNBits{.domain = "com.microsoft",
                                        .op = "MatMulNBits",
                                        .types = kTypes,
                                        .prepare = prepare<gemm_isa>,
                                        .run = run};
constinit const KernelInfo kMatMulNBitsPortable{.domain = "com.microsoft",
                                                .op = "MatMulNBits",
                                                .types = kTypes,
                                                .prepare = prepare<gemm_isa_portable>,
                                                .run = run};

}  // namespace onnxtool
