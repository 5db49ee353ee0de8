// BatchNormalization-1, 6, 7, 9, 14, 15: y = (x - mean[c]) / sqrt(var[c] + epsilon) * scale[c] +
// b[c]. Up to opset 8, spatial = 0 gives every [c, spatial...] position its own parameters. In
// training mode (14 and later) mean and variance are those of x over all but axis 1, and the
// running ones are
//   running * momentum + batch * (1 - momentum).
// The factor is computed in double and rounded once. f16 and bf16 are computed in float.

#include <cmath>

#include "calib/kernels/cpu/float_io.h"
#include "calib/kernels/cpu/gemm_kernel.h"
#include "calib/kernels/cpu/statistics.h"

namespace onnxtool {
namespace {

void normalize(const float* x, double mean, double scale, float bias, float* y, int64_t n) {
  gemm_isa().normalize_row({x, static_cast<float>(mean), static_cast<float>(scale), bias, y, n});
}
void normalize(const double* x, double mean, double scale, double bias, double* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = (x[i] - mean) * scale + bias;
}

template <class T>
struct Parameters {
  const T *scale, *bias, *mean, *var;
};

/// x [N, groups, n] with one set of parameters for each group.
template <class T>
void infer(KernelContext& ctx, const T* x, int64_t batch, int64_t groups, int64_t n, double epsilon,
           const Parameters<T>& p, T* y) {
  ctx.parallel(batch * groups, grain_of(n), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t g = i % groups;
      const double factor =
          static_cast<double>(p.scale[g]) / std::sqrt(static_cast<double>(p.var[g]) + epsilon);
      normalize(x + i * n, static_cast<double>(p.mean[g]), factor, p.bias[g], y + i * n, n);
    }
  });
}

template <class T>
struct Running {
  T *mean, *var;  // nullptr: not wanted
  double momentum;
};
template <class T>
void train(KernelContext& ctx, const T* x, int64_t batch, int64_t channels, int64_t n,
           double epsilon, const Parameters<T>& p, const Running<T>& running, T* y) {
  ctx.parallel(channels, grain_of(batch * n), [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) {
      const double count = static_cast<double>(batch * n);
      double mean = 0, var = 0;
      for (int64_t i = 0; i < batch; ++i) mean += sum_of(x + (i * channels + c) * n, n);
      mean /= count;
      for (int64_t i = 0; i < batch; ++i)
        var += sum_of_squares_around(x + (i * channels + c) * n, n, mean);
      var /= count;
      const auto blend = [&](T old, double now) {
        return static_cast<T>(static_cast<double>(old) * running.momentum +
                              now * (1 - running.momentum));
      };
      if (running.mean) running.mean[c] = blend(p.mean[c], mean);
      if (running.var) running.var[c] = blend(p.var[c], var);
      const double factor = static_cast<double>(p.scale[c]) / std::sqrt(var + epsilon);
      for (int64_t i = 0; i < batch; ++i)
        normalize(x + (i * channels + c) * n, mean, factor, p.bias[c], y + (i * channels + c) * n,
                  n);
    }
  });
}

template <class T>
Status compute(KernelContext& ctx, const MutableView& y, bool training, int64_t groups, int64_t n) {
  const ConstView& x = ctx.input(0);
  ONNXTOOL_ASSIGN(const T* data, float_input<T>(ctx, 0, x.dtype, "x"));
  Parameters<T> p{};
  const auto read = [&](int i, std::string_view what, const T*& to) -> Status {
    const ConstView& view = ctx.input(i);
    // Since opset 14 parameters may have another float type than x, in whose precision they serve.
    if (!is_float(view.dtype)) return unsupported_type(view.dtype, what);
    if (view.count != groups)
      return mismatch(std::string(what) + " has shape " + format_dims(view.dims) + ", expected " +
                      std::to_string(groups) + " elements");
    ONNXTOOL_ASSIGN(const ConstView wide, converted(ctx, view, dtype_of<T>));
    to = static_cast<const T*>(wide.data);
    return {};
  };
  ONNXTOOL_TRY(read(1, "scale", p.scale));
  ONNXTOOL_TRY(read(2, "bias", p.bias));
  ONNXTOOL_TRY(read(3, "mean", p.mean));
  ONNXTOOL_TRY(read(4, "var", p.var));
  const double epsilon = static_cast<double>(ctx.node().attr_float("epsilon", 1e-5f));
  ONNXTOOL_ASSIGN(const FloatOutput<T> out, FloatOutput<T>::make(ctx, y));
  if (!training) {
    infer<T>(ctx, data, x.dims[0], groups, n, epsilon, p, out.data);
    out.store(ctx);
    return {};
  }
  Running<T> running{nullptr, nullptr,
                     static_cast<double>(ctx.node().attr_float("momentum", 0.9f))};
  for (const int i : {1, 2})
    if (const DataType type = ctx.input(i + 2).dtype;
        ctx.wants_output(i) && wide_type(type) != dtype_of<T>)
      return unsupported_type(type, i == 1 ? "running mean" : "running var");
  FloatOutput<T> mean, var;
  if (ctx.wants_output(1)) {
    ONNXTOOL_ASSIGN(const MutableView view, ctx.output(1, ctx.input(3).dtype, Dims{groups}));
    ONNXTOOL_ASSIGN(mean, FloatOutput<T>::make(ctx, view));
    running.mean = mean.data;
  }
  if (ctx.wants_output(2)) {
    ONNXTOOL_ASSIGN(const MutableView view, ctx.output(2, ctx.input(4).dtype, Dims{groups}));
    ONNXTOOL_ASSIGN(var, FloatOutput<T>::make(ctx, view));
    running.var = var.data;
  }
  train<T>(ctx, data, x.dims[0], groups, n, epsilon, p, running, out.data);
  out.store(ctx);
  if (running.mean) mean.store(ctx);
  if (running.var) var.store(ctx);
  return {};
}

Status run(KernelContext& ctx) {
  const NodeView& node = ctx.node();
  ONNXTOOL_TRY(require_inputs(node, {0, 1, 2, 3, 4}));
  const ConstView& x = ctx.input(0);
  if (x.rank() < 1) return bad_model("x is a scalar, expected [N, C, spatial...]");
  const bool training = node.opset() >= 14 && node.attr_int("training_mode", 0) != 0;
  if (!training)
    for (int i = 1; i < node.num_outputs(); ++i)
      if (ctx.wants_output(i))
        return kernel_error(ErrorCode::kUnsupported,
                            "statistics of training before opset 14 are not supported");
  // [N] counts as one channel.
  const int64_t channels = x.rank() > 1 ? x.dims[1] : 1,
                n = product(x.dims, std::min<size_t>(2, x.dims.size()), x.dims.size());
  const bool spatial = node.opset() >= 9 || node.attr_int("spatial", 1) != 0;
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output_in_place(0, 0, x.dtype, x.dims));
  if (y.count == 0 && !training) return {};
  return dispatch_float(x.dtype, [&]<class T>() {
    return compute<T>(ctx, y, training, spatial ? channels : channels * n, spatial ? n : 1);
  });
}

}  // namespace

constinit const KernelInfo kBatchNormalization{
    .op = "BatchNormalization", .types = kFloatDataTypes, .run = run};

}  // namespace onnxtool
