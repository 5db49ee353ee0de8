// RNN-1, 7, 14, 22: H_t = f(x_t W^T + H_{t-1} R^T + Wb + Rb).

#include "calib/kernels/cpu/recurrent.h"

namespace onnxtool {
namespace {

template <const GemmIsa& (*kIsa)()>
Result<std::unique_ptr<KernelState>> prepare(const NodeView& node) {
  return prepare_recurrent(node, kIsa(), kRnnKind);
}

template <class T>
class Cell final : public RecurrentCell<T> {
 public:
  explicit Cell(const RecurrentState& state) : state_(state) {}
  void step(const RecurrentStep<T>& s) const override {
    for (int64_t row = 0; row < s.rows; ++row) {
      if (!s.x[row]) continue;
      finish_gates(s, row, 0, 1, state_.clip);
      state_.activations[static_cast<size_t>(s.direction)].apply(s.gate(row, 0), s.hidden);
      std::copy_n(s.gate(row, 0), s.hidden, s.h + row * s.hidden);
    }
  }

 private:
  const RecurrentState& state_;
};

Status run(KernelContext& ctx) {
  ONNXTOOL_ASSIGN(const RecurrentShape shape, resolve_recurrent(ctx));
  return dispatch_float(ctx.input(0).dtype, [&]<class T>() {
    return run_recurrent<T>(ctx, shape, Cell<T>(static_cast<const RecurrentState&>(*ctx.state())));
  });
}

}  // namespace

constinit const KernelInfo kRnn{
    .op = "RNN", .types = kFloatDataTypes, .prepare = prepare<gemm_isa>, .run = run};
constinit const KernelInfo kRnnPortable{
    .op = "RNN", .types = kFloatDataTypes, .prepare = prepare<gemm_isa_portable>, .run = run};

}  // namespace onnxtool
