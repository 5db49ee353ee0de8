// com.microsoft.QLinearWhere-1 (condition, x, x_scale, x_zero_point, y, y_scale, y_zero_point,
// z_scale, z_zero_point): z = condition ? x : y, in the scale of z. What each byte becomes is in
// two tables.

#include "calib/kernels/cpu/quant_params.h"
#include "calib/kernels/cpu/walk.h"

namespace onnxtool {
namespace {

std::array<uint8_t, 256> requantized(const Quantization& from, const Quantization& to) {
  std::array<uint8_t, 256> table{};
  const std::array<float, 256> values = from.values();
  for (size_t i = 0; i < table.size(); ++i) table[i] = to.code(values[i]);
  return table;
}

Status run(KernelContext& ctx) {
  const ConstView &condition = ctx.input(0), &x = ctx.input(1), &y = ctx.input(4);
  if (y.dtype != x.dtype || condition.dtype != DataType::kBool)
    return mismatch("condition, x and y have element types " + std::string(name(condition.dtype)) +
                    ", " + std::string(name(x.dtype)) + " and " + std::string(name(y.dtype)) +
                    ", expected bool and twice the same");
  ONNXTOOL_ASSIGN(const Quantization x_quant, quantization_of(ctx, 2, 3, x.dtype));
  ONNXTOOL_ASSIGN(const Quantization y_quant, quantization_of(ctx, 5, 6, x.dtype));
  ONNXTOOL_ASSIGN(const Quantization z_quant, quantization_of(ctx, 7, 8, x.dtype));
  ONNXTOOL_ASSIGN(const Dims dims, broadcast_dims({condition.dims, x.dims, y.dims}));
  ONNXTOOL_ASSIGN(const MutableView z, ctx.output(0, x.dtype, dims));
  const auto from_x = requantized(x_quant, z_quant), from_y = requantized(y_quant, z_quant);
  Walk<3> walk{dims,
               {broadcast_strides(condition.dims, dims), broadcast_strides(x.dims, dims),
                broadcast_strides(y.dims, dims)}};
  walk.coalesce();
  const int64_t c_step = walk.inner_stride(0), x_step = walk.inner_stride(1),
                y_step = walk.inner_stride(2);
  auto* to = static_cast<uint8_t*>(z.data);
  parallel_walk(
      ctx, walk, z.count, kGrain, [&](int64_t first, int64_t n, const std::array<int64_t, 3>& at) {
        const auto* c = static_cast<const uint8_t*>(condition.data) + at[0];
        const auto* a = static_cast<const uint8_t*>(x.data) + at[1];
        const auto* b = static_cast<const uint8_t*>(y.data) + at[2];
        for (int64_t i = 0; i < n; ++i)
          to[first + i] = c[i * c_step] != 0 ? from_x[a[i * x_step]] : from_y[b[i * y_step]];
      });
  return {};
}

}  // namespace

constinit const KernelInfo kQLinearWhere{
    .domain = "com.microsoft", .op = "QLinearWhere", .prepare = needs_inputs<9>, .run = run};

}  // namespace onnxtool
