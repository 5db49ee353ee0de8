// LSTM-1, 7, 14, 22, gates in the order i, o, f, c, peepholes P in the order i, o, f:
//   i = f(x Wi^T + H Ri^T + Pi . C + Wbi + Rbi)     f = f(x Wf^T + H Rf^T + Pf . C + Wbf + Rbf)
//   c = g(x Wc^T + H Rc^T + Wbc + Rbc)              C' = f . C + i . c
//   o = f(x Wo^T + H Ro^T + Po . C' + Wbo + Rbo)    H' = o . h(C')
// input_forget couples the gates: f = 1 - i.

#include "calib/kernels/cpu/recurrent.h"

namespace onnxtool {
namespace {

template <const GemmIsa& (*kIsa)()>
Result<std::unique_ptr<KernelState>> prepare(const NodeView& node) {
  return prepare_recurrent(node, kIsa(), kLstmKind);
}

template <class T>
class Cell final : public RecurrentCell<T> {
 public:
  /// peephole: [directions, 3 * hidden]; nullptr: zeros.
  Cell(const RecurrentState& state, const T* peephole) : state_(state), peephole_(peephole) {}
  void step(const RecurrentStep<T>& s) const override {
    for (int64_t row = 0; row < s.rows; ++row)
      if (s.x[row]) step_row(s, row);
  }

 private:
  void step_row(const RecurrentStep<T>& s, int64_t row) const {
    const RecurrentActivation* functions =
        &state_.activations[static_cast<size_t>(3 * s.direction)];
    const int64_t n = s.hidden;
    // Clipping follows the peepholes, so that gates with one are clipped below.
    finish_gates(s, row, 0, 4, peephole_ ? 0 : state_.clip);
    T *in = s.gate(row, 0), *out = s.gate(row, 1), *forget = s.gate(row, 2),
      *candidate = s.gate(row, 3);
    T *h = s.h + row * n, *c = s.c + row * n;
    const T* p = peephole_ ? peephole_ + 3 * n * s.direction : nullptr;
    if (p) {
      for (int64_t i = 0; i < n; ++i) in[i] += p[i] * c[i];
      for (int64_t i = 0; i < n; ++i) forget[i] += p[2 * n + i] * c[i];
      clip_values(in, n, state_.clip);
      clip_values(forget, n, state_.clip);
      clip_values(candidate, n, state_.clip);
    }
    functions[0].apply(in, n);
    if (state_.input_forget)
      for (int64_t i = 0; i < n; ++i) forget[i] = 1 - in[i];
    else
      functions[0].apply(forget, n);
    functions[1].apply(candidate, n);
    for (int64_t i = 0; i < n; ++i) c[i] = forget[i] * c[i] + in[i] * candidate[i];
    if (p) {
      for (int64_t i = 0; i < n; ++i) out[i] += p[n + i] * c[i];
      clip_values(out, n, state_.clip);
    }
    functions[0].apply(out, n);
    std::copy_n(c, n, h);
    functions[2].apply(h, n);
    for (int64_t i = 0; i < n; ++i) h[i] *= out[i];
  }
  const RecurrentState& state_;
  const T* peephole_;
};

Status run(KernelContext& ctx) {
  ONNXTOOL_ASSIGN(const RecurrentShape shape, resolve_recurrent(ctx));
  ONNXTOOL_TRY(check_peepholes(ctx, shape));
  return dispatch_float(ctx.input(0).dtype, [&]<class T>() -> Status {
    ONNXTOOL_ASSIGN(const T* peephole,
                    optional_float_input<T>(ctx, kPeephole, ctx.input(0).dtype, "P"));
    return run_recurrent<T>(ctx, shape,
                            Cell<T>(static_cast<const RecurrentState&>(*ctx.state()), peephole));
  });
}

}  // namespace

constinit const KernelInfo kLstm{
    .op = "LSTM", .types = kFloatDataTypes, .prepare = prepare<gemm_isa>, .run = run};
constinit const KernelInfo kLstmPortable{
    .op = "LSTM", .types = kFloatDataTypes, .prepare = prepare<gemm_isa_portable>, .run = run};

}  // namespace onnxtool
