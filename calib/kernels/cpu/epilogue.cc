#include "calib/kernels/cpu/epilogue.h"

#include <algorithm>
#include <cmath>

#include "calib/kernels/cpu/convert.h"
#include "calib/kernels/cpu/vector_math.h"
#include "calib/kernels/cpu/vector_math_post_op.h"

namespace onnxtool {

namespace {

// Activations have the same numbers in both lists.
static_assert(static_cast<int>(EpilogueOp::Kind::kRelu) == static_cast<int>(PostOp::Kind::kRelu) &&
              static_cast<int>(EpilogueOp::Kind::kSilu) == static_cast<int>(PostOp::Kind::kSilu) &&
              EpilogueOp::Kind::kBias > EpilogueOp::Kind::kSilu);

EpilogueOp from_post_op(const PostOp& op) {
  return {static_cast<EpilogueOp::Kind>(op.kind), op.alpha, op.beta, op.input};
}

void apply_step(const EpilogueOp& op, const float* added, float* y, int64_t n) {
  if (added) return vector_math().add(y, 1, added, 1, y, n);
  apply_post_op({static_cast<PostOp::Kind>(op.kind), op.alpha, op.beta, op.input}, y, n);
}

// Double is rare: one formula per element. NaN stays everywhere.
double clip(double x, double low, double high) { return x < low ? low : x > high ? high : x; }
void apply_step(const EpilogueOp& op, const double* added, double* y, int64_t n) {
  using Kind = EpilogueOp::Kind;
  const auto each = [&](auto f) {
    for (int64_t i = 0; i < n; ++i) y[i] = f(y[i]);
  };
  const double alpha = op.alpha, beta = op.beta;
  switch (op.kind) {
    case Kind::kAdd:
    case Kind::kBias:
      for (int64_t i = 0; i < n; ++i) y[i] += added[i];
      return;
    case Kind::kRelu: return each([](double x) { return x < 0 ? 0 : x; });
    case Kind::kLeakyRelu: return each([&](double x) { return x < 0 ? x * alpha : x; });
    case Kind::kClip: return each([&](double x) { return clip(x, alpha, beta); });
    case Kind::kSigmoid: return each([](double x) { return 1 / (1 + std::exp(-x)); });
    case Kind::kSilu: return each([](double x) { return x * (1 / (1 + std::exp(-x))); });
    case Kind::kTanh: return each([](double x) { return std::tanh(x); });
    case Kind::kHardSwish: return each([](double x) { return x * clip(x / 6 + 0.5, 0, 1); });
    case Kind::kHardSigmoid: return each([&](double x) { return clip(alpha * x + beta, 0, 1); });
  }
}

}  // namespace

template <class T>
Result<Epilogue<T>> Epilogue<T>::make(KernelContext& ctx, std::span<const EpilogueOp> own,
                                      std::span<const int64_t> dims) {
  std::vector<EpilogueOp> ops(own.begin(), own.end());
  for (const PostOp& op : ctx.node().post_ops()) ops.push_back(from_post_op(op));
  Epilogue epilogue;
  for (const EpilogueOp& op : ops) {
    Step step{op, nullptr, 0};
    if (op.kind == EpilogueOp::Kind::kBias) {
      ONNXTOOL_ASSIGN(const ConstView bias, widened(ctx, ctx.input(op.input)));
      step.columns = dims.empty() ? 1 : dims.back();
      if (bias.count != step.columns || bias.dtype != dtype_of<T>)
        return mismatch("the bias has shape " + format_dims(bias.dims) +
                        ", expected one for each column of " + format_dims(dims));
      step.added = static_cast<const T*>(bias.data);
    }
    if (op.kind == EpilogueOp::Kind::kAdd) {
      ONNXTOOL_ASSIGN(const ConstView added, widened(ctx, ctx.input(op.input)));
      if (!std::ranges::equal(added.dims, dims))
        return mismatch("the tensor to add has shape " + format_dims(added.dims) + ", expected " +
                        format_dims(dims));
      if (added.dtype != dtype_of<T>) return unsupported_type(added.dtype, "the tensor to add");
      step.added = static_cast<const T*>(added.data);
    }
    epilogue.steps_.push_back(step);
  }
  return epilogue;
}

template <class T>
void Epilogue<T>::apply(T* y, int64_t n, int64_t offset) const {
  for (const Step& step : steps_) {
    const int64_t at = step.columns ? offset % step.columns : offset;
    apply_step(step.op, step.added ? step.added + at : nullptr, y, n);
  }
}

template class Epilogue<float>;
template class Epilogue<double>;

}  // namespace onnxtool
