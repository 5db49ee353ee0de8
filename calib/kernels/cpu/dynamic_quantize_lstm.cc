// com.microsoft.DynamicQuantizeLSTM-1: LSTM with 8-bit W [directions, input, 4 * hidden] and R
// [directions, hidden, 4 * hidden], a scale and zero point for each direction or column, gates in
// the order i, o, f, c. The input, and before each step the state of all samples, is quantized to
// uint8 over its range and 0. Only the default activations; coupled gates are not supported.

#include <cmath>

#include "calib/kernels/cpu/convert.h"
#include "calib/kernels/cpu/plain_sink.h"
#include "calib/kernels/cpu/quant_params.h"
#include "calib/kernels/cpu/vector_math.h"

namespace onnxtool {
namespace {

enum Input : int {
  kX,
  kW,
  kR,
  kB,
  kLengths,
  kInitialH,
  kInitialC,
  kPeephole,
  kWScale,
  kWZero,
  kRScale,
  kRZero
};
enum Output : int { kY, kYh, kYc };

struct LstmState final : KernelState {
  const GemmIsa* isa;
  int64_t directions = 1;
  bool reverse_first = false;
  float clip = 0;
};

template <const GemmIsa& (*kIsa)()>
Result<std::unique_ptr<KernelState>> prepare(const NodeView& node) {
  ONNXTOOL_TRY(require_inputs(node, {kX, kW, kR, kWScale, kWZero, kRScale, kRZero}));
  auto state = std::make_unique<LstmState>();
  state->isa = &kIsa();
  const std::string_view direction = node.attr_string("direction", "forward");
  if (direction != "forward" && direction != "reverse" && direction != "bidirectional")
    return bad_model("direction is '" + std::string(direction) +
                     "', expected forward, reverse or bidirectional");
  state->directions = direction == "bidirectional" ? 2 : 1;
  state->reverse_first = direction == "reverse";
  state->clip = node.attr_float("clip", 0);
  constexpr std::string_view kDefaults[] = {"Sigmoid", "Tanh", "Tanh"};
  const std::vector<std::string_view> activations = node.attr_strings("activations");
  for (size_t i = 0; i < activations.size(); ++i)
    if (activations[i] != kDefaults[i % 3])
      return kernel_error(ErrorCode::kUnsupported,
                          "activation '" + std::string(activations[i]) + "' is not supported");
  if (node.attr_int("input_forget", 0) != 0)
    return kernel_error(ErrorCode::kUnsupported, "input_forget is not supported");
  return {std::move(state)};
}

struct Shape {
  int64_t seq, batch, input, hidden, directions;
  int64_t gates() const { return 4 * hidden; }
};

Result<Shape> read_shape(const KernelContext& ctx, const LstmState& state) {
  const std::span<const int64_t> x = ctx.input(kX).dims, w = ctx.input(kW).dims,
                                 r = ctx.input(kR).dims;
  const bool fits = x.size() == 3 && w.size() == 3 && r.size() == 3 && w[0] == state.directions &&
                    r[0] == state.directions && w[1] == x[2] && r[1] >= 1 && r[1] <= INT32_MAX &&
                    w[2] == 4 * r[1] && r[2] == 4 * r[1] && is_8bit(ctx.input(kW).dtype) &&
                    is_8bit(ctx.input(kR).dtype);
  if (!fits)
    return mismatch("X, W and R have shapes " + format_dims(x) + ", " + format_dims(w) + " and " +
                    format_dims(r) + ", expected [rows, batch, input], 8-bit [" +
                    std::to_string(state.directions) +
                    ", input, 4 * hidden] and [..., hidden, 4 * hidden]");
  if (ctx.input(kX).count == 0)
    return mismatch("X has shape " + format_dims(x) + ", without elements");
  Shape s{x[0], x[1], x[2], r[1], state.directions};
  if (!checked_product(Dims{s.batch, s.gates(), s.directions, int64_t{sizeof(float)}}))
    return kernel_error(ErrorCode::kLimit, "the gates are too large");
  const auto check = [&](int i, const Dims& expected) -> Status {
    if (!ctx.has_input(i) || std::ranges::equal(ctx.input(i).dims, expected)) return {};
    return mismatch("input " + std::to_string(i) + " has shape " + format_dims(ctx.input(i).dims) +
                    ", expected " + format_dims(expected));
  };
  ONNXTOOL_TRY(check(kB, {s.directions, 2 * s.gates()}));
  ONNXTOOL_TRY(check(kLengths, {s.batch}));
  ONNXTOOL_TRY(check(kInitialH, {s.directions, s.batch, s.hidden}));
  ONNXTOOL_TRY(check(kInitialC, {s.directions, s.batch, s.hidden}));
  ONNXTOOL_TRY(check(kPeephole, {s.directions, 3 * s.hidden}));
  return s;
}

Result<const float*> floats(KernelContext& ctx, int i) {
  if (!ctx.has_input(i)) return static_cast<const float*>(nullptr);
  ONNXTOOL_ASSIGN(const ConstView view, converted(ctx, ctx.input(i), DataType::kFloat));
  return static_cast<const float*>(view.data);
}

// Weights [directions, rows, columns] as floats.
Result<const float*> dequantized(KernelContext& ctx, int weights, int scale, int zero) {
  const ConstView& w = ctx.input(weights);
  const int64_t columns = w.dims[2], per_direction = w.dims[1] * columns;
  ONNXTOOL_ASSIGN(const std::vector<float> scales, scale_values(ctx.input(scale), "a scale"));
  ONNXTOOL_TRY(check_zero_point_type(ctx.input(zero), w.dtype, "a zero point"));
  const auto count = static_cast<int64_t>(scales.size()), zeros = ctx.input(zero).count;
  for (const int64_t n : {count, zeros})
    if (n != 1 && n != w.dims[0] && n != w.dims[0] * columns)
      return mismatch("scale and zero point of input " + std::to_string(weights) + " have " +
                      std::to_string(count) + " and " + std::to_string(zeros) +
                      " elements, expected one for each direction or column");
  ONNXTOOL_ASSIGN(void* buffer, ctx.scratch(static_cast<size_t>(w.count) * sizeof(float)));
  auto* out = static_cast<float*>(buffer);
  const auto parameter = [&](int64_t n, int64_t i) {
    return n == 1           ? 0
           : n == w.dims[0] ? i / per_direction
                            : i / per_direction * columns + i % columns;
  };
  ctx.parallel(w.count, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      out[i] = static_cast<float>(int8_at(w, i) - int8_at(ctx.input(zero), parameter(zeros, i))) *
               scales[static_cast<size_t>(parameter(count, i))];
  });
  return static_cast<const float*>(out);
}

// x as its own dynamic quantization shows it.
void round_to_codes(const float* x, float* y, int64_t n) {
  const Quantization q = dynamic_quantization(x, n);
  for (int64_t i = 0; i < n; ++i) y[i] = q.value(q.code(x[i]));
}

struct Direction {
  const float *w, *r;
  const float* bias;      // of W, then of R; nullptr: none
  const float* peephole;  // of i, o and f; nullptr: none
  bool reverse;
  float *h, *c;  // [batch, hidden]
};

class Lstm {
 public:
  Lstm(KernelContext& ctx, const LstmState& state, const Shape& shape)
      : ctx_(ctx), state_(state), s_(shape) {}

  /// x: [seq, batch, input], rounded. y: output rows of this direction, `y_step` apart per step.
  Status run(const Direction& d, const float* x, const int64_t* lengths, float* y, int64_t y_step) {
    const auto gates = checked_product(Dims{s_.seq, s_.batch, s_.gates(), 4});
    if (!gates) return kernel_error(ErrorCode::kLimit, "the gates are too large");
    ONNXTOOL_ASSIGN(void* x_memory, ctx_.scratch(static_cast<size_t>(*gates)));
    ONNXTOOL_ASSIGN(void* h_memory, ctx_.scratch(static_cast<size_t>(s_.batch * s_.hidden * 4)));
    ONNXTOOL_ASSIGN(void* sum_memory, ctx_.scratch(static_cast<size_t>(s_.batch * s_.gates() * 4)));
    auto *from_x = static_cast<float*>(x_memory), *rounded = static_cast<float*>(h_memory),
         *from_h = static_cast<float*>(sum_memory);
    ONNXTOOL_TRY(multiply(s_.seq * s_.batch, s_.input, x, d.w, d.bias, from_x));
    for (int64_t t = 0; t < s_.seq; ++t) {
      round_to_codes(d.h, rounded, s_.batch * s_.hidden);
      ONNXTOOL_TRY(multiply(s_.batch, s_.hidden, rounded, d.r,
                            d.bias != nullptr ? d.bias + s_.gates() : nullptr, from_h));
      for (int64_t b = 0; b < s_.batch; ++b) {
        if (t >= lengths[b]) continue;
        const int64_t at = d.reverse ? lengths[b] - 1 - t : t;
        step(from_x + (at * s_.batch + b) * s_.gates(), from_h + b * s_.gates(),
             d.h + b * s_.hidden, d.c + b * s_.hidden, d.peephole);
        if (y != nullptr)
          std::copy_n(d.h + b * s_.hidden, s_.hidden, y + at * y_step + b * s_.hidden);
      }
    }
    return {};
  }

 private:
  Status multiply(int64_t m, int64_t k, const float* a, const float* b, const float* bias,
                  float* y) {
    const int64_t n = s_.gates();
    return for_each_product<float>(
        ctx_, *state_.isa, 1, m, n, k, [&](int64_t) { return MatrixPanels<float>(a, 1, k); },
        [&](int64_t) {
          return MatrixPanels<float>(b, n, 1, ceil_div(m, tile_rows_of<float>(*state_.isa)));
        },
        ColumnBiasSink<float>(y, n, bias));
  }
  void step(const float* from_x, float* sums, float* h, float* c, const float* peephole) const {
    const int64_t n = s_.hidden;
    for (int64_t i = 0; i < 4 * n; ++i) sums[i] += from_x[i];
    float *in = sums, *out = sums + n, *forget = sums + 2 * n, *candidate = sums + 3 * n;
    if (peephole != nullptr) {
      add_products(peephole, c, in);
      add_products(peephole + 2 * n, c, forget);
    }
    clip(in);
    clip(forget);
    clip(candidate);
    const VectorMath& vector = vector_math();
    vector.sigmoid(in, in, n);
    vector.sigmoid(forget, forget, n);
    vector.tanh(candidate, candidate, n);
    for (int64_t i = 0; i < n; ++i) c[i] = forget[i] * c[i] + in[i] * candidate[i];
    if (peephole != nullptr) add_products(peephole + n, c, out);
    clip(out);
    vector.sigmoid(out, out, n);
    vector.tanh(c, h, n);
    for (int64_t i = 0; i < n; ++i) h[i] *= out[i];
  }
  void add_products(const float* a, const float* b, float* sums) const {
    for (int64_t i = 0; i < s_.hidden; ++i) sums[i] += a[i] * b[i];
  }
  void clip(float* gate) const {
    if (state_.clip <= 0) return;
    for (int64_t i = 0; i < s_.hidden; ++i)
      gate[i] = std::clamp(gate[i], -state_.clip, state_.clip);
  }

  KernelContext& ctx_;
  const LstmState& state_;
  const Shape& s_;
};

// An initial state in memory that the steps may change.
Result<float*> initial_state(KernelContext& ctx, int i, int64_t count) {
  ONNXTOOL_ASSIGN(const float* given, floats(ctx, i));
  ONNXTOOL_ASSIGN(void* buffer, ctx.scratch(static_cast<size_t>(count) * sizeof(float)));
  auto* state = static_cast<float*>(buffer);
  if (given != nullptr)
    std::copy_n(given, count, state);
  else
    std::fill_n(state, count, 0.0f);
  return state;
}

Status run(KernelContext& ctx) {
  const auto& state = static_cast<const LstmState&>(*ctx.state());
  ONNXTOOL_ASSIGN(const Shape s, read_shape(ctx, state));
  ONNXTOOL_ASSIGN(const float* w, dequantized(ctx, kW, kWScale, kWZero));
  ONNXTOOL_ASSIGN(const float* r, dequantized(ctx, kR, kRScale, kRZero));
  ONNXTOOL_ASSIGN(const float* bias, floats(ctx, kB));
  ONNXTOOL_ASSIGN(const float* peephole, floats(ctx, kPeephole));
  Dims lengths(static_cast<size_t>(s.batch), s.seq);
  if (ctx.has_input(kLengths)) {
    ONNXTOOL_ASSIGN(lengths, integer_values(ctx.input(kLengths), "sequence_lens"));
  }
  for (const int64_t length : lengths)
    if (length < 0 || length > s.seq)
      return mismatch("sequence_lens has " + std::to_string(length) + ", expected at most " +
                      std::to_string(s.seq));
  const int64_t states = s.batch * s.hidden;
  ONNXTOOL_ASSIGN(float* h, initial_state(ctx, kInitialH, s.directions * states));
  ONNXTOOL_ASSIGN(float* c, initial_state(ctx, kInitialC, s.directions * states));
  const int64_t count = ctx.input(kX).count;
  ONNXTOOL_ASSIGN(void* buffer, ctx.scratch(static_cast<size_t>(count) * sizeof(float)));
  auto* x = static_cast<float*>(buffer);
  round_to_codes(static_cast<const float*>(ctx.input(kX).data), x, count);
  float* y = nullptr;
  if (ctx.wants_output(kY)) {
    ONNXTOOL_ASSIGN(const MutableView view,
                    ctx.output(kY, DataType::kFloat, Dims{s.seq, s.directions, s.batch, s.hidden}));
    y = static_cast<float*>(view.data);
    std::fill_n(y, view.count, 0.0f);
  }
  Lstm lstm(ctx, state, s);
  for (int64_t d = 0; d < s.directions && states > 0; ++d) {
    const Direction direction{w + d * s.input * s.gates(),
                              r + d * s.hidden * s.gates(),
                              bias != nullptr ? bias + d * 2 * s.gates() : nullptr,
                              peephole != nullptr ? peephole + d * 3 * s.hidden : nullptr,
                              d == 1 || state.reverse_first,
                              h + d * states,
                              c + d * states};
    ONNXTOOL_TRY(lstm.run(direction, x, lengths.data(), y != nullptr ? y + d * states : nullptr,
                          s.directions * states));
  }
  const Dims dims{s.directions, s.batch, s.hidden};
  for (const auto& [output, data] : {std::pair{int{kYh}, h}, std::pair{int{kYc}, c}}) {
    if (!ctx.wants_output(output)) continue;
    ONNXTOOL_ASSIGN(const MutableView view, ctx.output(output, DataType::kFloat, dims));
    std::copy_n(data, view.count, static_cast<float*>(view.data));
  }
  return {};
}

}  // namespace

constinit const KernelInfo kDynamicQuantizeLstm{.domain = "com.microsoft",
                                                .op = "DynamicQuantizeLSTM",
                                                .types = {DataType::kFloat},
                                                .prepare = prepare<gemm_isa>,
                                                .run = run};
constinit const KernelInfo kDynamicQuantizeLstmPortable{.domain = "com.microsoft",
                                                        .op = "DynamicQuantizeLSTM",
                                                        .types = {DataType::kFloat},
                                                        .prepare = prepare<gemm_isa_portable>,
                                                        .run = run};

}  // namespace onnxtool
