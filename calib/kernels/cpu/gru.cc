// GRU-1, 3, 7, 14, 22, gates in the order z, r, h:
//   z = f(x Wz^T + H Rz^T + Wbz + Rbz)     r = f(x Wr^T + H Rr^T + Wbr + Rbr)
//   h = g(x Wh^T + (r . H) Rh^T + Rbh + Wbh), or with linear_before_reset
//   h = g(x Wh^T + r . (H Rh^T + Rbh) + Wbh)
//   H' = (1 - z) . h + z . H

#include "calib/kernels/cpu/recurrent.h"

namespace onnxtool {
namespace {

template <const GemmIsa& (*kIsa)()>
Result<std::unique_ptr<KernelState>> prepare(const NodeView& node) {
  return prepare_recurrent(node, kIsa(), kGruKind);
}

template <class T>
class Cell final : public RecurrentCell<T> {
 public:
  /// bias: [directions, 2 * 3 * hidden]; nullptr: zeros.
  Cell(const RecurrentState& state, const T* bias) : state_(state), bias_(bias) {}
  bool adds_last_bias() const override { return state_.linear_before_reset; }

  void step(const RecurrentStep<T>& s) const override {
    const RecurrentActivation* functions =
        &state_.activations[static_cast<size_t>(2 * s.direction)];
    for (int64_t row = 0; row < s.rows; ++row) {
      T* reset = s.work + row * s.hidden;
      if (!s.x[row]) {
        std::fill_n(reset, s.hidden, T{});
        continue;
      }
      finish_gates(s, row, 0, 2, state_.clip);
      functions[0].apply(s.gate(row, 0), 2 * s.hidden);
      const T* r = s.gate(row, 1);
      const T* h = s.h + row * s.hidden;
      for (int64_t i = 0; i < s.hidden; ++i) reset[i] = r[i] * h[i];
    }
    s.rest.multiply(state_.linear_before_reset ? s.h : s.work);
    for (int64_t row = 0; row < s.rows; ++row)
      if (s.x[row]) finish_row(s, row, functions[1]);
  }

 private:
  void finish_row(const RecurrentStep<T>& s, int64_t row,
                  const RecurrentActivation& function) const {
    const T *z = s.gate(row, 0), *r = s.gate(row, 1);
    T* candidate = s.gate(row, 2);
    if (state_.linear_before_reset) {
      const T* bias = bias_ ? bias_ + (6 * s.direction + 5) * s.hidden : nullptr;
      for (int64_t i = 0; i < s.hidden; ++i)
        candidate[i] = r[i] * (candidate[i] + (bias ? bias[i] : T{}));
    }
    finish_gates(s, row, 2, 3, state_.clip);
    function.apply(candidate, s.hidden);
    T* h = s.h + row * s.hidden;
    for (int64_t i = 0; i < s.hidden; ++i) h[i] = (1 - z[i]) * candidate[i] + z[i] * h[i];
  }
  const RecurrentState& state_;
  const T* bias_;
};

Status run(KernelContext& ctx) {
  ONNXTOOL_ASSIGN(const RecurrentShape shape, resolve_recurrent(ctx));
  return dispatch_float(ctx.input(0).dtype, [&]<class T>() -> Status {
    ONNXTOOL_ASSIGN(const T* bias, optional_float_input<T>(ctx, 3, ctx.input(0).dtype, "B"));
    return run_recurrent<T>(ctx, shape,
                            Cell<T>(static_cast<const RecurrentState&>(*ctx.state()), bias));
  });
}

}  // namespace

constinit const KernelInfo kGru{
    .op = "GRU", .types = kFloatDataTypes, .prepare = prepare<gemm_isa>, .run = run};
constinit const KernelInfo kGruPortable{
    .op = "GRU", .types = kFloatDataTypes, .prepare = prepare<gemm_isa_portable>, .run = run};

}  // namespace onnxtool
