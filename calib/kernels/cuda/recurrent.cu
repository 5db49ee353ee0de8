// RNN, GRU and LSTM on a device: attributes and checks are cpu/recurrent_node.h's, formulas those
// of cpu/rnn.cc, gru.cc and lstm.cc. One product gives x * W^T of all steps and directions; each
// step multiplies the states of all rows and directions by R^T, and one thread a unit does the
// rest. A GRU whose reset comes before the product has two of both. Float (double for double);
// states are not rounded between steps.

#include "calib/kernels/cpu/cells.h"
#include "calib/kernels/cpu/float_io.h"
#include "calib/kernels/cpu/recurrent_node.h"
#include "calib/kernels/cuda/elements.h"
#include "calib/kernels/cuda/product.h"

namespace onnxtool {
namespace {

using device::Divider;

struct NodeState final : KernelState, RecurrentNode {};

template <const RecurrentKind& kind>
Result<std::unique_ptr<KernelState>> prepare(const NodeView& node) {
  auto state = std::make_unique<NodeState>();
  ONNXTOOL_ASSIGN(static_cast<RecurrentNode&>(*state), read_recurrent(node, kind));
  return {std::move(state)};
}

// What one step sees. Units are numbered [direction, batch, hidden].
template <class T>
struct StepView {
  int64_t step = 0, seq, directions, gates;
  Divider hidden, batch;
  bool batch_first, reverse_first;
  const int32_t* lengths = nullptr;  // nullptr: all have seq steps
  const T *x_sums, *bias;            // [directions, rows of x, gates * hidden]; W's, then R's
  T *sums, *h, *c = nullptr;
  int64_t sum_gates;  // of `sums`, [directions, batch, sum_gates * hidden]
  DataType type;
  void* y = nullptr;
  float clip;
  RecurrentActivation functions[2][3];

  struct Unit {
    int64_t direction, unit, x, sums, y;
    bool lasts;  // the row's sequence has not ended
  };
  ONNXTOOL_HD Unit unit(int64_t i) const {
    int64_t direction = i;
    const int64_t j = hidden.split(direction), b = batch.split(direction),
                  length = lengths ? lengths[b] : seq;
    const bool reverse = direction == 1 || reverse_first;
    const int64_t t = reverse ? length - 1 - step : step;
    const int64_t row = batch_first ? b * seq + t : t * batch.by() + b;
    const int64_t y_row = batch_first ? (b * seq + t) * directions + direction
                                      : (t * directions + direction) * batch.by() + b;
    return {direction,
            j,
            (direction * seq * batch.by() + row) * gates * hidden.by() + j,
            (direction * batch.by() + b) * sum_gates * hidden.by() + j,
            y_row * hidden.by() + j,
            step < length};
  }
  ONNXTOOL_HD T bias_of(const Unit& u, int64_t gate, bool of_r) const {
    if (!bias) return 0;
    return bias[((2 * u.direction + of_r) * gates + gate) * hidden.by() + u.unit];
  }
  // What x gives to a gate, with both biases.
  ONNXTOOL_HD T from_x(const Unit& u, int64_t gate) const {
    return x_sums[u.x + gate * hidden.by()] + (bias_of(u, gate, false) + bias_of(u, gate, true));
  }
  ONNXTOOL_HD T& sum(const Unit& u, int64_t gate) const {
    return sums[u.sums + gate * hidden.by()];
  }
  ONNXTOOL_HD T gate(const Unit& u, int64_t g) const { return sum(u, g) + from_x(u, g); }
  ONNXTOOL_HD T clipped(T x) const { return clip_value(x, clip); }
  ONNXTOOL_HD void put(const Unit& u, int64_t i, T value) const {
    h[i] = value;
    if (y) device::store<T>(type, y, u.y, value);
  }
};

template <class T>
struct RnnUnits {
  StepView<T> s;
  ONNXTOOL_HD void operator()(int64_t i) const {
    const auto u = s.unit(i);
    if (u.lasts) s.put(u, i, s.functions[u.direction][0](s.clipped(s.gate(u, 0))));
  }
};

template <class T>
struct LstmUnits {
  StepView<T> s;
  const T* peepholes;  // [directions, 3 * hidden] or nullptr
  bool input_forget;
  ONNXTOOL_HD void operator()(int64_t i) const {
    const auto u = s.unit(i);
    if (!u.lasts) return;
    const RecurrentActivation* f = s.functions[u.direction];
    const int64_t n = s.hidden.by();
    const T* p = peepholes ? peepholes + 3 * n * u.direction + u.unit : nullptr;
    const T c = s.c[i];
    const T in = f[0](s.clipped(s.gate(u, 0) + (p ? p[0] * c : 0)));
    const T forget = input_forget ? 1 - in : f[0](s.clipped(s.gate(u, 2) + (p ? p[2 * n] * c : 0)));
    const T next = forget * c + in * f[1](s.clipped(s.gate(u, 3)));
    const T out = f[0](s.clipped(s.gate(u, 1) + (p ? p[n] * next : 0)));
    s.c[i] = next;
    s.put(u, i, out * f[2](next));
  }
};

// Update and reset; the state that the candidate's part of R is multiplied by.
template <class T>
struct GruGates {
  StepView<T> s;
  T* reset;
  ONNXTOOL_HD void operator()(int64_t i) const {
    const auto u = s.unit(i);
    if (!u.lasts) {
      reset[i] = 0;
      return;
    }
    const RecurrentActivation* f = s.functions[u.direction];
    s.sum(u, 0) = f[0](s.clipped(s.gate(u, 0)));
    reset[i] = f[0](s.clipped(s.gate(u, 1))) * s.h[i];
  }
};
template <class T>
struct GruStates {
  StepView<T> s;
  const T* candidates;  // [directions, batch, hidden]
  ONNXTOOL_HD void operator()(int64_t i) const {
    const auto u = s.unit(i);
    if (!u.lasts) return;
    const T z = s.sum(u, 0),
            candidate = s.functions[u.direction][1](s.clipped(candidates[i] + s.from_x(u, 2)));
    s.put(u, i, (1 - z) * candidate + z * s.h[i]);
  }
};
// The reset is of the product and its bias.
template <class T>
struct GruLinearUnits {
  StepView<T> s;
  ONNXTOOL_HD void operator()(int64_t i) const {
    const auto u = s.unit(i);
    if (!u.lasts) return;
    const RecurrentActivation* f = s.functions[u.direction];
    const T z = f[0](s.clipped(s.gate(u, 0))), r = f[0](s.clipped(s.gate(u, 1)));
    const T from_h = r * (s.sum(u, 2) + s.bias_of(u, 2, true));
    const T from_x = s.x_sums[u.x + 2 * s.hidden.by()] + s.bias_of(u, 2, false);
    const T candidate = f[1](s.clipped(from_h + from_x));
    s.put(u, i, (1 - z) * candidate + z * s.h[i]);
  }
};

// States as the model has them, [directions, batch, hidden] or batch first, and as steps see them.
struct StateOrder {
  Divider hidden, batch;
  int64_t directions;
  bool batch_first;
  ONNXTOOL_HD int64_t in_model(int64_t i) const {
    int64_t direction = i;
    const int64_t j = hidden.split(direction), b = batch.split(direction);
    return batch_first ? (b * directions + direction) * hidden.by() + j : i;
  }
};
template <class T>
struct LoadState {
  StateOrder order;
  const T* from;
  T* to;
  ONNXTOOL_HD void operator()(int64_t i) const { to[i] = from[order.in_model(i)]; }
};
template <class T>
struct StoreState {
  StateOrder order;
  const T* from;
  DataType type;
  void* to;
  ONNXTOOL_HD void operator()(int64_t i) const {
    device::store<T>(type, to, order.in_model(i), from[i]);
  }
};

template <class T>
class Recurrence {
 public:
  Recurrence(KernelContext& ctx, const RecurrentNode& node, const RecurrentShape& shape)
      : ctx_(ctx),
        node_(node),
        s_(shape),
        units_(shape.directions * shape.batch * shape.hidden),
        order_{Divider(shape.hidden), Divider(shape.batch), shape.directions, node.batch_first} {}

  Status run() {
    ONNXTOOL_TRY(multiply_inputs());
    ONNXTOOL_ASSIGN(view_.h, load_state(5));
    if (node_.kind.initial_c >= 0) {
      ONNXTOOL_ASSIGN(view_.c, load_state(node_.kind.initial_c));
    }
    ONNXTOOL_TRY(describe());
    if (units_ > 0) {
      for (view_.step = 0; view_.step < steps_; ++view_.step) ONNXTOOL_TRY(step());
    }
    ONNXTOOL_TRY(store_state(1, view_.h));
    return view_.c ? store_state(2, view_.c) : Status();
  }

 private:
  DataType type() const { return ctx_.input(0).dtype; }
  Result<T*> buffer(std::initializer_list<int64_t> extents) {
    Dims dims(extents);
    dims.push_back(int64_t{sizeof(T)});
    const auto size = checked_product(dims);
    if (!size) return kernel_error(ErrorCode::kLimit, "the gates of all steps overflow");
    ONNXTOOL_ASSIGN(void* data, ctx_.scratch(static_cast<size_t>(*size)));
    return static_cast<T*>(data);
  }

  Status multiply_inputs() {
    ONNXTOOL_ASSIGN(const T* x, float_input<T>(ctx_, 0, type(), "x"));
    ONNXTOOL_ASSIGN(const T* w, float_input<T>(ctx_, 1, type(), "W"));
    ONNXTOOL_ASSIGN(r_, float_input<T>(ctx_, 2, type(), "R"));
    const int64_t n = node_.kind.gates * s_.hidden, rows = s_.seq * s_.batch;
    ONNXTOOL_ASSIGN(T * sums, buffer({s_.directions, rows, n}));
    device::Product p;
    p.type = p.result = dtype_of<T>;
    p.transpose_b = true;
    p.count = s_.directions;
    p.m = rows, p.n = n, p.k = s_.input;
    p.a = x, p.b = w, p.c = sums;
    p.b_step = n * s_.input, p.c_step = rows * n;
    view_.x_sums = sums;
    return device::multiply(ctx_, p);
  }

  Status describe() {
    const RecurrentKind& kind = node_.kind;
    const bool before = kind.first_gates < kind.gates && !node_.linear_before_reset;
    view_.seq = s_.seq, view_.directions = s_.directions, view_.gates = kind.gates;
    view_.hidden = Divider(s_.hidden), view_.batch = Divider(s_.batch);
    view_.batch_first = node_.batch_first, view_.reverse_first = node_.reverse_first;
    view_.clip = node_.clip;
    view_.sum_gates = before ? kind.first_gates : kind.gates;
    ONNXTOOL_ASSIGN(view_.bias, optional_float_input<T>(ctx_, 3, type(), "B"));
    ONNXTOOL_ASSIGN(view_.sums, buffer({s_.directions, s_.batch, view_.sum_gates * s_.hidden}));
    if (before) {
      ONNXTOOL_ASSIGN(reset_, buffer({2, units_}));
    }
    if (kind.initial_c >= 0) {
      ONNXTOOL_ASSIGN(peepholes_, optional_float_input<T>(ctx_, kPeephole, type(), "P"));
    }
    const size_t functions = node_.activations.size() / static_cast<size_t>(s_.directions);
    for (size_t i = 0; i < node_.activations.size(); ++i)
      view_.functions[i / functions][i % functions] = node_.activations[i];
    steps_ = s_.seq;
    if (ctx_.has_input(4)) {
      const auto given = ctx_.input(4).as<int32_t>();
      const std::vector<int32_t> lengths(given.begin(), given.end());
      ONNXTOOL_ASSIGN(view_.lengths, shared_values(ctx_, lengths));
      steps_ = lengths.empty() ? 0 : *std::ranges::max_element(lengths);
    }
    view_.type = type();
    if (!ctx_.wants_output(0)) return {};
    const Dims dims = node_.batch_first ? Dims{s_.batch, s_.seq, s_.directions, s_.hidden}
                                        : Dims{s_.seq, s_.directions, s_.batch, s_.hidden};
    ONNXTOOL_ASSIGN(const MutableView y, ctx_.output(0, type(), dims));
    view_.y = y.data;
    // Behind the end of a sequence y is 0.
    if (view_.lengths) clear_memory(y.data, size_bytes_of(type(), static_cast<uint64_t>(y.count)));
    return {};
  }

  // [directions, batch, gates * hidden] of states times gates [first, first + gates) of R.
  Status multiply_states(const T* states, int64_t first, int64_t gates, T* sums) {
    device::Product p;
    p.type = p.result = dtype_of<T>;
    p.transpose_b = true;
    p.count = s_.directions;
    p.m = s_.batch, p.n = gates * s_.hidden, p.k = s_.hidden;
    p.a = states, p.b = r_ + first * s_.hidden * s_.hidden, p.c = sums;
    p.a_step = s_.batch * s_.hidden;
    p.b_step = node_.kind.gates * s_.hidden * s_.hidden;
    p.c_step = s_.batch * p.n;
    return device::multiply(ctx_, p);
  }

  Status step() {
    ONNXTOOL_TRY(multiply_states(view_.h, 0, view_.sum_gates, view_.sums));
    switch (node_.kind.gates) {
      case 1: device::for_each_index(units_, RnnUnits<T>{view_}); return {};
      case 4:
        device::for_each_index(units_, LstmUnits<T>{view_, peepholes_, node_.input_forget});
        return {};
      default: break;
    }
    if (!reset_) {
      device::for_each_index(units_, GruLinearUnits<T>{view_});
      return {};
    }
    T* candidates = reset_ + units_;
    device::for_each_index(units_, GruGates<T>{view_, reset_});
    ONNXTOOL_TRY(multiply_states(reset_, 2, 1, candidates));
    device::for_each_index(units_, GruStates<T>{view_, candidates});
    return {};
  }

  Result<T*> load_state(int input) {
    ONNXTOOL_ASSIGN(const T* initial,
                    optional_float_input<T>(ctx_, input, type(), "the initial state"));
    ONNXTOOL_ASSIGN(T * state, buffer({units_}));
    if (initial)
      device::for_each_index(units_, LoadState<T>{order_, initial, state});
    else
      clear_memory(state, static_cast<size_t>(units_) * sizeof(T));
    return state;
  }
  Status store_state(int output, const T* state) {
    if (!ctx_.wants_output(output)) return {};
    const Dims dims = node_.batch_first ? Dims{s_.batch, s_.directions, s_.hidden}
                                        : Dims{s_.directions, s_.batch, s_.hidden};
    ONNXTOOL_ASSIGN(const MutableView out, ctx_.output(output, type(), dims));
    device::for_each_index(units_, StoreState<T>{order_, state, type(), out.data});
    return {};
  }

  KernelContext& ctx_;
  const RecurrentNode& node_;
  const RecurrentShape& s_;
  int64_t units_, steps_ = 0;
  StateOrder order_;
  const T *r_ = nullptr, *peepholes_ = nullptr;
  T* reset_ = nullptr;  // a GRU's r . H, and the candidates' sums behind it
  StepView<T> view_{};
};

Status run(KernelContext& ctx) {
  const auto& node = static_cast<const NodeState&>(*ctx.state());
  ONNXTOOL_ASSIGN(const RecurrentShape shape,
                  resolve_recurrent(ctx, node, ctx.input(1).dims, ctx.input(2).dims));
  if (node.kind.initial_c >= 0) ONNXTOOL_TRY(check_peepholes(ctx, shape));
  return dispatch_float(ctx.input(0).dtype,
                        [&]<class T>() -> Status { return Recurrence<T>(ctx, node, shape).run(); });
}

constexpr KernelInfo info(std::string_view op,
                          Result<std::unique_ptr<KernelState>> (*prepare)(const NodeView&)) {
  return {.op = op, .types = kFloatDataTypes, .prepare = prepare, .run = run, .use = recurrent_use};
}

}  // namespace

constinit const KernelInfo kRnn = info("RNN", prepare<kRnnKind>);
constinit const KernelInfo kGru = info("GRU", prepare<kGruKind>);
constinit const KernelInfo kLstm = info("LSTM", prepare<kLstmKind>);

}  // namespace onnxtool
