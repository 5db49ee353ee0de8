// Steps of gradient descent: ai.onnx.preview.training's Momentum-1, Adagrad-1 and Adam-1.
// Inputs: learning rate R, update count T, then for n tensors all values, all gradients and all of
// each state; outputs: all new values, then all of each new state. Computed in double, rounded
// once.

#include <cmath>

#include "calib/kernels/cpu/convert.h"
#include "calib/kernels/cpu/float_io.h"

namespace onnxtool {
namespace {

constexpr int kMostStates = 2;

// One element: its value, gradient and states, which a step replaces.
struct Element {
  double value, gradient;
  double state[kMostStates];
};

struct Momentum {
  static constexpr int kStates = 1;
  double rate, alpha, beta, norm;
  bool nesterov;

  Momentum(const NodeView& node, double rate, int64_t count)
      : rate(rate),
        alpha(node.attr_float("alpha", 0)),
        beta(count > 0 ? static_cast<double>(node.attr_float("beta", 0)) : 1.0),
        norm(node.attr_float("norm_coefficient", 0)),
        nesterov(node.attr_string("mode", "standard") == "nesterov") {}
  void operator()(Element& e) const {
    const double gradient = norm * e.value + e.gradient;
    e.state[0] = alpha * e.state[0] + beta * gradient;
    e.value -= rate * (nesterov ? gradient + alpha * e.state[0] : e.state[0]);
  }
};

struct Adagrad {
  static constexpr int kStates = 1;
  double rate, epsilon, norm;

  Adagrad(const NodeView& node, double rate, int64_t count)
      : rate(rate / (1 + static_cast<double>(count) *
                             static_cast<double>(node.attr_float("decay_factor", 0)))),
        epsilon(node.attr_float("epsilon", 0)),
        norm(node.attr_float("norm_coefficient", 0)) {}
  void operator()(Element& e) const {
    const double gradient = norm * e.value + e.gradient;
    e.state[0] += gradient * gradient;
    e.value -= rate * gradient / (std::sqrt(e.state[0]) + epsilon);
  }
};

struct Adam {
  static constexpr int kStates = 2;
  double rate, alpha, beta, epsilon, norm, norm_after;

  Adam(const NodeView& node, double given, int64_t count)
      : rate(given),
        alpha(node.attr_float("alpha", 0.9f)),
        beta(node.attr_float("beta", 0.999f)),
        epsilon(node.attr_float("epsilon", 0)),
        norm(node.attr_float("norm_coefficient", 0)),
        norm_after(node.attr_float("norm_coefficient_post", 0)) {
    const double t = static_cast<double>(count);
    if (count > 0) rate *= std::sqrt(1 - std::pow(beta, t)) / (1 - std::pow(alpha, t));
  }
  void operator()(Element& e) const {
    const double gradient = norm * e.value + e.gradient;
    e.state[0] = alpha * e.state[0] + (1 - alpha) * gradient;
    e.state[1] = beta * e.state[1] + (1 - beta) * gradient * gradient;
    e.value -= rate * e.state[0] / (std::sqrt(e.state[1]) + epsilon);
    e.value *= 1 - norm_after;
  }
};

// Tensor `i` of `n`; `buffers` has room for value, gradient and states.
template <class Step>
Status update_tensor(KernelContext& ctx, const Step& step, int i, int n) {
  constexpr int kParts = 2 + Step::kStates;
  const ConstView& value = ctx.input(2 + i);
  const double* in[kParts];
  for (int part = 0; part < kParts; ++part) {
    const ConstView& view = ctx.input(2 + part * n + i);
    if (!std::ranges::equal(view.dims, value.dims) || view.dtype != value.dtype)
      return mismatch("input " + std::to_string(2 + part * n + i) + " is " +
                      std::string(name(view.dtype)) + " of shape " + format_dims(view.dims) +
                      ", expected " + std::string(name(value.dtype)) + " of " +
                      format_dims(value.dims));
    ONNXTOOL_ASSIGN(const ConstView wide, converted(ctx, view, DataType::kDouble));
    in[part] = static_cast<const double*>(wide.data);
  }
  double* out[1 + Step::kStates];
  for (double*& data : out) {
    ONNXTOOL_ASSIGN(void* buffer, ctx.scratch(static_cast<size_t>(value.count) * sizeof(double)));
    data = static_cast<double*>(buffer);
  }
  ctx.parallel(value.count, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t at = begin; at < end; ++at) {
      Element e{in[0][at], in[1][at], {}};
      for (int s = 0; s < Step::kStates; ++s) e.state[s] = in[2 + s][at];
      step(e);
      out[0][at] = e.value;
      for (int s = 0; s < Step::kStates; ++s) out[1 + s][at] = e.state[s];
    }
  });
  for (int part = 0; part <= Step::kStates; ++part) {
    if (!ctx.wants_output(part * n + i)) continue;
    ONNXTOOL_ASSIGN(const MutableView y, ctx.output(part * n + i, value.dtype, value.dims));
    if (y.count > 0) convert_elements(DataType::kDouble, out[part], y.dtype, y.data, 0, y.count);
  }
  return {};
}

template <class Step>
Status run(KernelContext& ctx) {
  const NodeView& node = ctx.node();
  const ConstView& rate = ctx.input(0);
  if (rate.count != 1)
    return mismatch("R has shape " + format_dims(rate.dims) + ", expected one element");
  double r = 0;
  convert_elements(rate.dtype, rate.data, DataType::kDouble, &r, 0, 1);
  ONNXTOOL_ASSIGN(const int64_t count, integer_scalar(ctx.input(1), "T"));
  const int n = (node.num_inputs() - 2) / (2 + Step::kStates);
  const Step step(node, r, count);
  for (int i = 0; i < n; ++i) ONNXTOOL_TRY(update_tensor(ctx, step, i, n));
  return {};
}

template <class Step>
Result<std::unique_ptr<KernelState>> prepare(const NodeView& node) {
  if (node.num_inputs() < 2 || (node.num_inputs() - 2) % (2 + Step::kStates) != 0)
    return bad_model("there are " + std::to_string(node.num_inputs()) + " inputs, expected 2 and " +
                     std::to_string(2 + Step::kStates) + " for each tensor");
  return needs_every_input(node);
}

Result<std::unique_ptr<KernelState>> prepare_momentum(const NodeView& node) {
  const std::string_view mode = node.attr_string("mode", "standard");
  if (mode != "standard" && mode != "nesterov")
    return bad_model("mode is '" + std::string(mode) + "', expected standard or nesterov");
  return prepare<Momentum>(node);
}

constexpr std::string_view kDomain = "ai.onnx.preview.training";

}  // namespace

constinit const KernelInfo kMomentum{.domain = kDomain,
                                     .op = "Momentum",
                                     .types = {DataType::kFloat, DataType::kDouble},
                                     .prepare = prepare_momentum,
                                     .run = run<Momentum>};
constinit const KernelInfo kAdagrad{.domain = kDomain,
                                    .op = "Adagrad",
                                    .types = {DataType::kFloat, DataType::kDouble},
                                    .prepare = prepare<Adagrad>,
                                    .run = run<Adagrad>};
constinit const KernelInfo kAdam{.domain = kDomain,
                                 .op = "Adam",
                                 .types = {DataType::kFloat, DataType::kDouble},
                                 .prepare = prepare<Adam>,
                                 .run = run<Adam>};

}  // namespace onnxtool
