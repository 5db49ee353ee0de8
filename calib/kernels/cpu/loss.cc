// NegativeLogLikelihoodLoss-12, 13, 22 and SoftmaxCrossEntropyLoss-12, 13: input [N, C, d...],
// target [N, d...] with values in [0, C) or ignore_index.
//   loss[n, d] = -input[n, target[n, d], d] * weight[target[n, d]]     (0 where ignored)
//   mean: sum of the losses / sum of their weights; sum; none
// SoftmaxCrossEntropyLoss takes the logarithm of softmax over C first, its second output. Sums are
// taken in double and in order.

#include <cmath>

#include "calib/kernels/cpu/convert.h"
#include "calib/kernels/cpu/float_io.h"

namespace onnxtool {
namespace {

Result<std::unique_ptr<KernelState>> prepare(const NodeView& node) {
  ONNXTOOL_TRY(require_inputs(node, {0, 1}));
  const std::string_view reduction = node.attr_string("reduction", "mean");
  if (reduction != "mean" && reduction != "sum" && reduction != "none")
    return bad_model("reduction is '" + std::string(reduction) + "', expected mean, sum or none");
  return std::unique_ptr<KernelState>();
}

// The class of each position, -1 where it is ignored.
Result<std::vector<int64_t>> classes_of(const KernelContext& ctx, std::span<const int64_t> x) {
  const ConstView& target = ctx.input(1);
  bool fits = target.dims.size() + 1 == x.size() && target.dims[0] == x[0];
  for (size_t i = 1; fits && i < target.dims.size(); ++i) fits = target.dims[i] == x[i + 1];
  if (!fits)
    return mismatch("target has shape " + format_dims(target.dims) +
                    ", which does not fit scores of shape " + format_dims(x));
  if (target.dtype != DataType::kInt32 && target.dtype != DataType::kInt64)
    return unsupported_type(target.dtype, "the target");
  std::vector<int64_t> classes(static_cast<size_t>(target.count));
  convert_elements(target.dtype, target.data, DataType::kInt64, classes.data(), 0, target.count);
  const bool ignores = ctx.node().has_attribute("ignore_index");
  const int64_t ignored = ctx.node().attr_int("ignore_index", -1);
  for (int64_t& c : classes) {
    if (ignores && c == ignored)
      c = -1;
    else if (c < 0 || c >= x[1])
      return mismatch("target " + std::to_string(c) + " is out of range for " +
                      std::to_string(x[1]) + " classes");
  }
  return classes;
}

struct LossShape {
  int64_t classes, inner;  // scores are [N, classes, inner]
};

// Output 0 from logarithms of probabilities.
template <class T>
Status reduce_losses(KernelContext& ctx, DataType type, const T* scores, const LossShape& shape) {
  ONNXTOOL_ASSIGN(const std::vector<int64_t> classes, classes_of(ctx, ctx.input(0).dims));
  ONNXTOOL_ASSIGN(const T* weights, optional_float_input<T>(ctx, 2, type, "weight"));
  if (weights != nullptr && (ctx.input(2).rank() != 1 || ctx.input(2).count != shape.classes))
    return mismatch("weight has shape " + format_dims(ctx.input(2).dims) + ", expected [" +
                    std::to_string(shape.classes) + "]");
  const std::string_view reduction = ctx.node().attr_string("reduction", "mean");
  const bool reduces = reduction != "none";
  ONNXTOOL_ASSIGN(
      const WideOutput loss,
      WideOutput::make(ctx, 0, type, reduces ? std::span<const int64_t>() : ctx.input(1).dims));
  double sum = 0, weight_sum = 0;
  for (size_t i = 0; i < classes.size(); ++i) {
    const int64_t c = classes[i], at = static_cast<int64_t>(i);
    const T weight = c < 0 ? T{0} : weights != nullptr ? weights[c] : T{1};
    const T score =
        c < 0 ? T{0}
              : scores[(at / shape.inner * shape.classes + c) * shape.inner + at % shape.inner];
    const T each = c < 0 ? T{0} : -score * weight;
    if (!reduces) loss.data<T>()[i] = each;
    sum += static_cast<double>(each);
    weight_sum += static_cast<double>(weight);
  }
  if (reduces) *loss.data<T>() = static_cast<T>(reduction == "mean" ? sum / weight_sum : sum);
  loss.finish(ctx);
  return {};
}

Result<LossShape> loss_shape(const ConstView& x) {
  if (x.rank() < 2)
    return mismatch("scores have shape " + format_dims(x.dims) + ", expected [N, C, ...]");
  return LossShape{x.dims[1], product(x.dims, 2, x.dims.size())};
}

Status negative_log_likelihood(KernelContext& ctx) {
  const DataType type = ctx.input(0).dtype;
  ONNXTOOL_ASSIGN(const LossShape shape, loss_shape(ctx.input(0)));
  return dispatch_float(type, [&]<class T>() -> Status {
    ONNXTOOL_ASSIGN(const T* scores, float_input<T>(ctx, 0, type, "input"));
    return reduce_losses<T>(ctx, type, scores, shape);
  });
}

template <class T>
void log_softmax(KernelContext& ctx, const T* x, T* y, int64_t count, const LossShape& shape) {
  const int64_t lines = count == 0 ? 0 : count / shape.classes;
  ctx.parallel(lines, grain_of(8 * shape.classes), [&](int64_t begin, int64_t end) {
    for (int64_t line = begin; line < end; ++line) {
      const int64_t base = line / shape.inner * shape.classes * shape.inner + line % shape.inner;
      const auto at = [&](int64_t c) { return base + c * shape.inner; };
      T max = x[base];
      double sum = 0;
      for (int64_t c = 1; c < shape.classes; ++c) max = std::max(max, x[at(c)]);
      for (int64_t c = 0; c < shape.classes; ++c)
        sum += static_cast<double>(std::exp(x[at(c)] - max));
      const T log_sum = static_cast<T>(std::log(sum));
      for (int64_t c = 0; c < shape.classes; ++c) y[at(c)] = x[at(c)] - max - log_sum;
    }
  });
}

Status softmax_cross_entropy(KernelContext& ctx) {
  const ConstView& x = ctx.input(0);
  const DataType type = x.dtype;
  ONNXTOOL_ASSIGN(const LossShape shape, loss_shape(x));
  return dispatch_float(type, [&]<class T>() -> Status {
    ONNXTOOL_ASSIGN(const T* scores, float_input<T>(ctx, 0, type, "scores"));
    ONNXTOOL_ASSIGN(void* buffer, ctx.scratch(static_cast<size_t>(x.count) * sizeof(T)));
    auto* logarithms = static_cast<T*>(buffer);
    log_softmax(ctx, scores, logarithms, x.count, shape);
    ONNXTOOL_TRY(reduce_losses<T>(ctx, type, logarithms, shape));
    if (!ctx.wants_output(1)) return {};
    ONNXTOOL_ASSIGN(const MutableView out, ctx.output(1, type, x.dims));
    store_wide<T>(type, logarithms, x.count, out.data, 0);
    return {};
  });
}

}  // namespace

constinit const KernelInfo kNegativeLogLikelihoodLoss{.op = "NegativeLogLikelihoodLoss",
                                                      .types = kFloatDataTypes,
                                                      .prepare = prepare,
                                                      .run = negative_log_likelihood};
constinit const KernelInfo kSoftmaxCrossEntropyLoss{.op = "SoftmaxCrossEntropyLoss",
                                                    .types = kFloatDataTypes,
                                                    .prepare = prepare,
                                                    .run = softmax_cross_entropy};

}  // namespace onnxtool
