#include "calib/kernels/cpu/recurrent.h"

#include "calib/kernels/cpu/vector_math.h"

namespace onnxtool {

namespace {

void apply_scalar(const RecurrentActivation& a, auto* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) x[i] = a(x[i]);
}

/// Panels of matrices [rows, k] (their transposes are multiplied), rows [first, last) of each.
template <class T>
AlignedArray<T> pack_rows(const GemmIsa& isa, const T* data, int64_t matrices, int64_t rows,
                          int64_t k, int64_t first, int64_t last) {
  const int nr = tile_cols_of<T>(isa);
  const int64_t n = last - first, size = packed_count<T>(n, k, nr);
  AlignedArray<T> packed(matrices * size);
  for (int64_t i = 0; i < matrices; ++i)
    pack_panels<T>(MatrixPanels<T>(data + (i * rows + first) * k, 1, k), n, k, nr, 0,
                   ceil_div(n, nr), packed.data() + i * size);
  return packed;
}

template <class T>
RecurrentWeights<T> pack_weights(const RecurrentState& s, const T* w,
                                 std::span<const int64_t> w_dims, const T* r,
                                 std::span<const int64_t> r_dims) {
  const int64_t rows = r_dims[1], first = rows / s.kind.gates * s.kind.first_gates;
  RecurrentWeights<T> weights;
  weights.w = pack_rows(*s.isa, w, w_dims[0], w_dims[1], w_dims[2], 0, w_dims[1]);
  weights.r_first = pack_rows(*s.isa, r, r_dims[0], rows, r_dims[2], 0, first);
  if (first < rows) weights.r_rest = pack_rows(*s.isa, r, r_dims[0], rows, r_dims[2], first, rows);
  return weights;
}

const RecurrentWeights<float>& packed_weights(const RecurrentState& s, float) { return s.weights; }
const RecurrentWeights<double>& packed_weights(const RecurrentState& s, double) {
  return s.weights64;
}

/// x * W^T plus bias for all steps of one direction.
template <class T>
class InputSink final : public ProductSink<T> {
 public:
  InputSink(T* sums, const T* bias, int64_t n, const RecurrentShape& shape)
      : sums_(sums), bias_(bias), n_(n), shape_(shape) {}
  int64_t buffer_count(int64_t) const override { return 0; }
  T* target(int64_t direction, const GemmRange& range, T*, int64_t* stride) const override {
    *stride = n_;
    return sums_ + (direction * shape_.seq * shape_.batch + range.m0) * n_ + range.n0;
  }
  void finish(int64_t direction, const GemmRange& range, T* sums, int64_t stride) const override {
    const T* bias = bias_ + direction * n_;
    for (int64_t i = range.m0; i < range.m1; ++i, sums += stride)
      for (int64_t j = range.n0; j < range.n1; ++j) sums[j - range.n0] += bias[j];
  }

 private:
  T* sums_;
  const T* bias_;
  int64_t n_;
  const RecurrentShape& shape_;
};

template <class T>
class Rest final : public RestProduct<T> {
 public:
  Rest(const GemmIsa& isa, const T* panels, int64_t rows, int64_t hidden, int64_t gates,
       int64_t first_gates, T* sums, T* workspace)
      : isa_(isa),
        panels_(panels),
        rows_(rows),
        hidden_(hidden),
        gates_(gates),
        first_(first_gates),
        sums_(sums),
        workspace_(workspace) {}
  void multiply(const T* state) const override {
    const int64_t n = (gates_ - first_) * hidden_;
    gemm_range<T>(isa_, MatrixPanels<T>(state, 1, hidden_),
                  PackedPanels<T>(panels_, n, tile_cols_of<T>(isa_)), hidden_, {0, rows_, 0, n},
                  sums_ + first_ * hidden_, gates_ * hidden_, workspace_);
  }

 private:
  const GemmIsa& isa_;
  const T* panels_;
  int64_t rows_, hidden_, gates_, first_;
  T* sums_;
  T* workspace_;
};

/// Where the results of one run go, and what it reads besides x.
template <class T>
struct Walk {
  const RecurrentState& state;
  const RecurrentShape& shape;
  const RecurrentWeights<T>& weights;
  const int32_t* lengths;  // nullptr: all have seq steps
  const T* x_sums;         // [directions, seq, batch] (or as x is laid out), [gates * hidden]
  T *h, *c;                // [directions, batch, hidden]
  T* y;                    // nullptr: not wanted

  int64_t length(int64_t b) const { return lengths ? lengths[b] : shape.seq; }
  T* y_at(int64_t t, int64_t d, int64_t b) const {
    const int64_t row = state.batch_first ? (b * shape.seq + t) * shape.directions + d
                                          : (t * shape.directions + d) * shape.batch + b;
    return y + row * shape.hidden;
  }
};

template <class T>
struct Memory {
  const T** x;
  T *sums, *work, *workspace;
};

/// All steps of rows [first, last) of one direction.
template <class T>
void walk_rows(const Walk<T>& walk, const RecurrentCell<T>& cell, int64_t direction, int64_t first,
               int64_t last, const Memory<T>& memory) {
  const RecurrentState& s = walk.state;
  const RecurrentShape& shape = walk.shape;
  const GemmIsa& isa = *s.isa;
  const int64_t rows = last - first, hidden = shape.hidden, gates = s.kind.gates,
                n = s.kind.first_gates * hidden;
  const int nr = tile_cols_of<T>(isa);
  const bool reverse = direction == 1 || s.reverse_first;
  T* h = walk.h + (direction * shape.batch + first) * hidden;
  T* c = walk.c ? walk.c + (direction * shape.batch + first) * hidden : nullptr;
  const PackedPanels<T> r(walk.weights.r_first.data() + direction * packed_count<T>(n, hidden, nr),
                          n, nr);
  const T* rest_panels =
      walk.weights.r_rest
          ? walk.weights.r_rest.data() +
                direction * packed_count<T>((gates - s.kind.first_gates) * hidden, hidden, nr)
          : nullptr;
  const Rest<T> rest(isa, rest_panels, rows, hidden, gates, s.kind.first_gates, memory.sums,
                     memory.workspace);
  const auto time_of = [&](int64_t step, int64_t b) {
    return reverse ? walk.length(b) - 1 - step : step;
  };
  if (walk.y)
    for (int64_t b = first; b < last; ++b)
      for (int64_t t = walk.length(b); t < shape.seq; ++t)
        std::fill_n(walk.y_at(t, direction, b), hidden, T{});
  int64_t steps = 0;
  for (int64_t b = first; b < last; ++b) steps = std::max(steps, walk.length(b));
  for (int64_t step = 0; step < steps; ++step) {
    for (int64_t b = first; b < last; ++b) {
      const int64_t t = time_of(step, b);
      const int64_t row = s.batch_first ? b * shape.seq + t : t * shape.batch + b;
      memory.x[b - first] =
          step < walk.length(b)
              ? walk.x_sums + (direction * shape.seq * shape.batch + row) * gates * hidden
              : nullptr;
    }
    gemm_range<T>(isa, MatrixPanels<T>(h, 1, hidden), r, hidden, {0, rows, 0, n}, memory.sums,
                  gates * hidden, memory.workspace);
    cell.step({direction, rows, hidden, gates, memory.x, memory.sums, h, c, memory.work, rest});
    if (!walk.y) continue;
    for (int64_t b = first; b < last; ++b)
      if (memory.x[b - first])
        std::copy_n(h + (b - first) * hidden, hidden, walk.y_at(time_of(step, b), direction, b));
  }
}

/// initial_h and its kin to [directions, batch, hidden]; absent: zeros.
template <class T>
Result<T*> load_state(KernelContext& ctx, int i, const RecurrentShape& shape, bool batch_first) {
  const int64_t rows = shape.directions * shape.batch;
  ONNXTOOL_ASSIGN(void* scratch, ctx.scratch(static_cast<size_t>(rows * shape.hidden) * sizeof(T)));
  T* state = static_cast<T*>(scratch);
  ONNXTOOL_ASSIGN(const T* initial,
                  optional_float_input<T>(ctx, i, ctx.input(0).dtype, "the initial state"));
  for (int64_t d = 0; d < shape.directions; ++d)
    for (int64_t b = 0; b < shape.batch; ++b) {
      T* to = state + (d * shape.batch + b) * shape.hidden;
      if (!initial)
        std::fill_n(to, shape.hidden, T{});
      else
        std::copy_n(
            initial + (batch_first ? b * shape.directions + d : d * shape.batch + b) * shape.hidden,
            shape.hidden, to);
    }
  return state;
}

template <class T>
Status store_state(KernelContext& ctx, int output, const T* state, const RecurrentShape& shape,
                   bool batch_first) {
  if (!ctx.wants_output(output)) return {};
  const Dims dims = batch_first ? Dims{shape.batch, shape.directions, shape.hidden}
                                : Dims{shape.directions, shape.batch, shape.hidden};
  ONNXTOOL_ASSIGN(const MutableView view, ctx.output(output, ctx.input(0).dtype, dims));
  ONNXTOOL_ASSIGN(const FloatOutput<T> out, FloatOutput<T>::make(ctx, view));
  for (int64_t d = 0; d < shape.directions; ++d)
    for (int64_t b = 0; b < shape.batch; ++b)
      std::copy_n(
          state + (d * shape.batch + b) * shape.hidden, shape.hidden,
          out.data + (batch_first ? b * shape.directions + d : d * shape.batch + b) * shape.hidden);
  out.store(ctx);
  return {};
}

}  // namespace

void RecurrentActivation::apply(float* x, int64_t n) const {
  if (kind == Kind::kSigmoid)
    vector_math().sigmoid(x, x, n);
  else if (kind == Kind::kTanh)
    vector_math().tanh(x, x, n);
  else
    apply_scalar(*this, x, n);
}
void RecurrentActivation::apply(double* x, int64_t n) const { apply_scalar(*this, x, n); }

Result<std::unique_ptr<KernelState>> prepare_recurrent(const NodeView& node, const GemmIsa& isa,
                                                       const RecurrentKind& kind) {
  ONNXTOOL_TRY(require_inputs(node, {0, 1, 2}));
  auto state = std::make_unique<RecurrentState>();
  ONNXTOOL_ASSIGN(static_cast<RecurrentNode&>(*state), read_recurrent(node, kind));
  state->isa = &isa;
  const ConstView* w = node.constant(1);
  const ConstView* r = node.constant(2);
  // What does not fit is reported when the input's shape is known too.
  if (!w || !r || w->rank() != 3 || r->rank() != 3 || w->dtype != r->dtype || !is_float(w->dtype) ||
      w->dims[0] != r->dims[0] || w->dims[1] != r->dims[1] || r->dims[1] % kind.gates != 0 ||
      r->dims[1] != kind.gates * r->dims[2] || w->count == 0 || r->count == 0)
    return {std::move(state)};
  if (w->dtype == DataType::kDouble) {
    state->weights64 = pack_weights(*state, static_cast<const double*>(w->data), w->dims,
                                    static_cast<const double*>(r->data), r->dims);
  } else {
    const auto w_wide = widened_constant<float, AlignedArray<float>>(*w),
               r_wide = widened_constant<float, AlignedArray<float>>(*r);
    state->weights = pack_weights(*state, w_wide.data(), w->dims, r_wide.data(), r->dims);
  }
  state->w_dims = to_dims(w->dims);
  state->r_dims = to_dims(r->dims);
  state->weight_type = w->dtype;
  node.drop_constant(1);
  node.drop_constant(2);
  return {std::move(state)};
}

Result<RecurrentShape> resolve_recurrent(const KernelContext& ctx) {
  const auto& s = static_cast<const RecurrentState&>(*ctx.state());
  const ConstView& x = ctx.input(0);
  const std::span<const int64_t> w =
      s.packed() ? std::span<const int64_t>(s.w_dims) : ctx.input(1).dims;
  const std::span<const int64_t> r =
      s.packed() ? std::span<const int64_t>(s.r_dims) : ctx.input(2).dims;
  if (s.packed() && s.weight_type != x.dtype)
    return mismatch("W has element type " + std::string(name(s.weight_type)) + ", expected " +
                    std::string(name(x.dtype)));
  return resolve_recurrent(ctx, s, w, r);
}

template <class T>
Status run_recurrent(KernelContext& ctx, const RecurrentShape& shape,
                     const RecurrentCell<T>& cell) {
  const auto& s = static_cast<const RecurrentState&>(*ctx.state());
  const GemmIsa& isa = *s.isa;
  const DataType type = ctx.input(0).dtype;
  const int64_t hidden = shape.hidden, gates = s.kind.gates, n = gates * hidden,
                steps = shape.seq * shape.batch;
  ONNXTOOL_ASSIGN(const T* x, float_input<T>(ctx, 0, type, "x"));
  RecurrentWeights<T> temporary;
  if (!s.packed()) {
    ONNXTOOL_ASSIGN(const T* w, float_input<T>(ctx, 1, type, "W"));
    ONNXTOOL_ASSIGN(const T* r, float_input<T>(ctx, 2, type, "R"));
    temporary = pack_weights(s, w, ctx.input(1).dims, r, ctx.input(2).dims);
  }
  const RecurrentWeights<T>& weights = s.packed() ? packed_weights(s, T{}) : temporary;

  ONNXTOOL_ASSIGN(const T* b, optional_float_input<T>(ctx, 3, type, "B"));
  std::vector<T> bias(static_cast<size_t>(shape.directions * n));
  for (int64_t d = 0; b && d < shape.directions; ++d)
    for (int64_t j = 0; j < n; ++j) {
      const bool split = cell.adds_last_bias() && j >= (gates - 1) * hidden;
      bias[static_cast<size_t>(d * n + j)] =
          b[2 * d * n + j] + (split ? T{} : b[2 * d * n + n + j]);
    }
  const auto sums_count = checked_product(Dims{shape.directions, steps, n, int64_t{sizeof(T)}});
  if (!sums_count) return kernel_error(ErrorCode::kLimit, "the gates of all steps overflow");
  ONNXTOOL_ASSIGN(void* sums, ctx.scratch(static_cast<size_t>(*sums_count)));
  const int nr = tile_cols_of<T>(isa);
  ONNXTOOL_TRY(for_each_product<T>(
      ctx, isa, shape.directions, steps, n, shape.input,
      [&](int64_t) { return MatrixPanels<T>(x, 1, shape.input); },
      [&](int64_t d) {
        return PackedPanels<T>(weights.w.data() + d * packed_count<T>(n, shape.input, nr), n, nr);
      },
      InputSink<T>(static_cast<T*>(sums), bias.data(), n, shape)));

  const int initial_c = s.kind.initial_c;
  ONNXTOOL_ASSIGN(T * h, load_state<T>(ctx, 5, shape, s.batch_first));
  T* c = nullptr;
  if (initial_c >= 0) {
    ONNXTOOL_ASSIGN(c, load_state<T>(ctx, initial_c, shape, s.batch_first));
  }
  FloatOutput<T> y;
  if (ctx.wants_output(0)) {
    const Dims dims = s.batch_first ? Dims{shape.batch, shape.seq, shape.directions, hidden}
                                    : Dims{shape.seq, shape.directions, shape.batch, hidden};
    ONNXTOOL_ASSIGN(const MutableView view, ctx.output(0, type, dims));
    ONNXTOOL_ASSIGN(y, FloatOutput<T>::make(ctx, view));
  }
  const int32_t* lengths =
      ctx.has_input(4) ? static_cast<const int32_t*>(ctx.input(4).data) : nullptr;
  const Walk<T> walk{s, shape, weights, lengths, static_cast<const T*>(sums), h, c, y.data};
  if (shape.batch > 0 && hidden > 0) {
    // Directions first, then rows: a product of many rows is the faster one.
    const int64_t shares =
        std::clamp<int64_t>(ctx.node().threads() / shape.directions, 1, shape.batch);
    const int64_t rows = ceil_div(shape.batch, shares), chunks = ceil_div(shape.batch, rows);
    const int64_t pointers = round_up(rows * int64_t{sizeof(T*)}, 64),
                  gate_bytes = round_up(rows * n * int64_t{sizeof(T)}, 64);
    const int64_t work_bytes = round_up(rows * hidden * int64_t{sizeof(T)}, 64);
    const int64_t workspace =
        gemm_workspace<T>(isa, MatrixPanels<T>(h, 1, hidden), rows, hidden) * int64_t{sizeof(T)};
    ONNXTOOL_ASSIGN(const TaskPool pool,
                    TaskPool::make(ctx, pointers + gate_bytes + work_bytes + workspace));
    pool.run(ctx, shape.directions * chunks, [&](int64_t task, std::byte* memory) {
      const int64_t first = task % chunks * rows;
      const Memory<T> parts{reinterpret_cast<const T**>(memory),
                            reinterpret_cast<T*>(memory + pointers),
                            reinterpret_cast<T*>(memory + pointers + gate_bytes),
                            reinterpret_cast<T*>(memory + pointers + gate_bytes + work_bytes)};
      walk_rows(walk, cell, task / chunks, first, std::min(first + rows, shape.batch), parts);
    });
  }
  if (y.data) y.store(ctx);
  ONNXTOOL_TRY(store_state(ctx, 1, h, shape, s.batch_first));
  if (c) ONNXTOOL_TRY(store_state(ctx, 2, c, shape, s.batch_first));
  return {};
}

template Status run_recurrent(KernelContext&, const RecurrentShape&, const RecurrentCell<float>&);
template Status run_recurrent(KernelContext&, const RecurrentShape&, const RecurrentCell<double>&);

}  // namespace onnxtool
