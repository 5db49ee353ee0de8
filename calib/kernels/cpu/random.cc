// RandomUniform, RandomNormal and their Like forms, Bernoulli, Multinomial: one sequence of random
// numbers for each node, taken in the order of the elements (random_state.h).

#include "calib/kernels/cpu/random_state.h"

#include "calib/kernels/cpu/float_io.h"

namespace onnxtool {
namespace {

// Output 0 of `type` and `dims` from draw(), called once for each element in order.
template <class Draw>
Status fill(KernelContext& ctx, DataType type, std::span<const int64_t> dims, const Draw& draw) {
  if (wide_type(type) == DataType::kUndefined || is_packed(type))
    return unsupported_type(type, "the output");
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, type, dims));
  double block[kBlock];
  for (int64_t i = 0; i < y.count; i += kBlock) {
    const int64_t n = std::min(kBlock, y.count - i);
    for (int64_t j = 0; j < n; ++j) block[j] = draw();
    std::byte* to = static_cast<std::byte*>(y.data) + i * (bits_of(type) / 8);
    convert_elements(DataType::kDouble, block, type, to, 0, n);
  }
  return {};
}

DataType type_attribute(const NodeView& node, DataType fallback) {
  return static_cast<DataType>(node.attr_int("dtype", static_cast<int64_t>(fallback)));
}

Status fill_uniform(KernelContext& ctx, DataType type, std::span<const int64_t> dims) {
  const double low = ctx.node().attr_float("low", 0), high = ctx.node().attr_float("high", 1);
  RandomState random = random_state(ctx.node());
  return fill(ctx, type, dims, [&] { return low + (high - low) * random.uniform(); });
}
Status fill_normal(KernelContext& ctx, DataType type, std::span<const int64_t> dims) {
  const double mean = ctx.node().attr_float("mean", 0), scale = ctx.node().attr_float("scale", 1);
  RandomState random = random_state(ctx.node());
  return fill(ctx, type, dims, [&] { return mean + scale * random.normal(); });
}

using Fill = Status (*)(KernelContext&, DataType, std::span<const int64_t>);

template <Fill kFill>
Status random(KernelContext& ctx) {
  const NodeView& node = ctx.node();
  if (!node.has_attribute("shape")) return bad_model("attribute 'shape' is missing");
  const std::span<const int64_t> dims = node.attr_ints("shape");
  if (!checked_product(dims)) return bad_model("shape " + format_dims(dims) + " is not a shape");
  return kFill(ctx, type_attribute(node, DataType::kFloat), dims);
}
template <Fill kFill>
Status random_like(KernelContext& ctx) {
  const ConstView& x = ctx.input(0);
  return kFill(ctx, type_attribute(ctx.node(), x.dtype), x.dims);
}

// 1 with probability x, by the inverse of the distribution as numpy takes it for one trial.
Status bernoulli(KernelContext& ctx) {
  const ConstView& x = ctx.input(0);
  ONNXTOOL_ASSIGN(const ConstView wide, converted(ctx, x, DataType::kDouble));
  const auto* p = static_cast<const double*>(wide.data);
  for (int64_t i = 0; i < x.count; ++i)
    if (!(p[i] >= 0 && p[i] <= 1))
      return mismatch("element " + std::to_string(i) + " is " + std::to_string(p[i]) +
                      ", expected a probability");
  RandomState random_numbers = random_state(ctx.node());
  return fill(ctx, type_attribute(ctx.node(), x.dtype), x.dims, [&]() -> double {
    const double chance = *p++, u = random_numbers.uniform();
    return chance <= 0.5 ? u > 1 - chance : u <= chance;
  });
}

// sample_size classes for each row of unnormalized log-probabilities.
Status multinomial(KernelContext& ctx) {
  const ConstView& x = ctx.input(0);
  const int64_t samples = ctx.node().attr_int("sample_size", 1);
  if (x.rank() != 2 || samples < 0)
    return mismatch("input has shape " + format_dims(x.dims) + " and sample_size is " +
                    std::to_string(samples) + ", expected [batch, classes] and at least 0");
  const DataType type = type_attribute(ctx.node(), DataType::kInt32);
  if (type != DataType::kInt32 && type != DataType::kInt64)
    return unsupported_type(type, "the output");
  ONNXTOOL_ASSIGN(const ConstView wide, converted(ctx, x, DataType::kDouble));
  const int64_t classes = x.dims[1];
  const auto* row = static_cast<const double*>(wide.data);
  std::vector<double> sums(static_cast<size_t>(x.count > 0 ? classes : 0));
  RandomState random_numbers = random_state(ctx.node());
  int64_t drawn = 0;
  if (sums.empty() && x.dims[0] > 0 && samples > 0) return mismatch("input has no classes");
  for (int64_t i = 0; i < (x.count > 0 ? x.dims[0] : 0); ++i) {
    double total = 0;
    const double max = *std::max_element(row + i * classes, row + (i + 1) * classes);
    for (int64_t c = 0; c < classes; ++c) total += std::exp(row[i * classes + c] - max);
    if (!(total > 0)) return mismatch("row " + std::to_string(i) + " holds no probabilities");
  }
  return fill(ctx, type, Dims{x.dims[0], samples}, [&]() -> double {
    const double* logits = row + drawn / samples * classes;
    if (drawn++ % samples == 0) {
      const double max = *std::max_element(logits, logits + classes);
      double sum = 0;
      for (int64_t c = 0; c < classes; ++c)
        sums[static_cast<size_t>(c)] = sum += std::exp(logits[c] - max);
    }
    const auto found =
        std::upper_bound(sums.begin(), sums.end(), random_numbers.uniform() * sums.back());
    return static_cast<double>(std::min<int64_t>(found - sums.begin(), classes - 1));
  });
}

}  // namespace

constinit const KernelInfo kRandomUniform{.op = "RandomUniform", .run = random<fill_uniform>};
constinit const KernelInfo kRandomNormal{.op = "RandomNormal", .run = random<fill_normal>};
constinit const KernelInfo kRandomUniformLike{
    .op = "RandomUniformLike", .prepare = needs_inputs<1>, .run = random_like<fill_uniform>};
constinit const KernelInfo kRandomNormalLike{
    .op = "RandomNormalLike", .prepare = needs_inputs<1>, .run = random_like<fill_normal>};
constinit const KernelInfo kBernoulli{
    .op = "Bernoulli", .types = kFloatDataTypes, .prepare = needs_inputs<1>, .run = bernoulli};
constinit const KernelInfo kMultinomial{
    .op = "Multinomial", .types = kFloatDataTypes, .prepare = needs_inputs<1>, .run = multinomial};

}  // namespace onnxtool
