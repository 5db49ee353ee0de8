// QuantizeLinear, DequantizeLinear, DynamicQuantizeLinear.
//
//   y = saturate(round_half_even(x / scale) + zero_point)      x = (y - zero_point) * scale
//
// per tensor, along an axis, or in blocks along an axis. All arithmetic is in float; 8- and 4-bit
// floats have no zero point and round as Cast does.

#include <algorithm>
#include <cmath>

#include "calib/kernels/cpu/elementwise.h"
#include "calib/kernels/cpu/quant_layout.h"
#include "calib/kernels/cpu/quant_params.h"
#include "calib/kernels/cpu/vector_math.h"

namespace onnxtool {
namespace {

Result<QuantParameters> parameters_of(KernelContext& ctx) {
  ONNXTOOL_ASSIGN(QuantParameters p, quant_parameters_of(ctx));
  if (p.zero_point) return p;
  const auto count = static_cast<size_t>(ctx.input(1).count);
  ONNXTOOL_ASSIGN(void* zeros, ctx.scratch(count * sizeof(int32_t)));
  std::fill_n(static_cast<int32_t*>(zeros), count, 0);
  p.zero_point = static_cast<const int32_t*>(zeros);
  return p;
}

// body(first, n, line): elements [first, first + n) have the parameters of `line`.
template <class Body>
void for_each_line(KernelContext& ctx, const QuantParameters& p, int64_t count, const Body& body) {
  if (count == 0) return;
  const auto line = [&](int64_t i, int64_t step) {
    return QuantLine{p.scale + i, p.zero_point + i, step};
  };
  const int64_t inner = p.shape.inner, n = p.shape.n;
  if (p.kind == QuantParameters::Kind::kTensor) {
    ctx.parallel(count, kGrain,
                 [&](int64_t begin, int64_t end) { body(begin, end - begin, line(0, 0)); });
  } else if (p.kind == QuantParameters::Kind::kAxis && inner > 1) {
    ctx.parallel(p.shape.outer * n, grain_of(inner), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) body(row * inner, inner, line(row % n, 0));
    });
  } else if (p.kind == QuantParameters::Kind::kAxis) {
    ctx.parallel(p.shape.outer, grain_of(n), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) body(row * n, n, line(0, 1));
    });
  } else if (inner > 1) {
    ctx.parallel(p.shape.outer * n, grain_of(inner), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row)
        body(row * inner, inner, line((row / n * p.blocks() + row % n / p.block) * inner, 1));
    });
  } else {
    ctx.parallel(p.shape.outer * p.blocks(), grain_of(p.block), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t first = i % p.blocks() * p.block;
        body(i / p.blocks() * n + first, std::min(p.block, n - first), line(i, 0));
      }
    });
  }
}

QuantLine advance(QuantLine line, int64_t n) {
  return {line.scale + n * line.step, line.zero_point + n * line.step, line.step};
}

// Quantizes floats to whole bytes (or words); packed types are packed later.
void quantize_run(DataType type, bool saturate, const float* x, QuantLine line, void* y,
                  int64_t first, int64_t n) {
  const VectorMath& vector = vector_math();
  const IntRange range = range_of(type);
  if (bits_of(type) == 16) {
    vector.quantize16(x, line, range.low, range.high, static_cast<uint16_t*>(y) + first, n);
  } else if (!is_small_float(type)) {
    vector.quantize8(x, line, range.low, range.high, static_cast<uint8_t*>(y) + first, n);
  } else {
    for (int64_t i = 0; i < n; ++i)
      static_cast<uint8_t*>(y)[first + i] =
          encode_small_float(type, x[i] / line.scale[i * line.step], saturate);
  }
}

// At most kBlock elements.
void load_as_float(DataType type, const void* data, int64_t first, int64_t n, float* out) {
  if (type != DataType::kInt32) return load_wide<float>(type, data, first, n, out);
  const int32_t* in = static_cast<const int32_t*>(data) + first;
  for (int64_t i = 0; i < n; ++i) out[i] = static_cast<float>(in[i]);
}

// Per-tensor parameters serve any layout; others need plain order.
Result<ConstView> ordered(KernelContext& ctx, const QuantParameters& p, bool packed) {
  if (p.kind == QuantParameters::Kind::kTensor && !packed) return ctx.input(0);
  return in_plain_order(ctx, ctx.input(0));
}

Status quantize(KernelContext& ctx) {
  DataType type = static_cast<DataType>(ctx.node().attr_int("output_dtype", 0));
  if (ctx.has_input(2))
    type = ctx.input(2).dtype;
  else if (type == DataType::kUndefined)
    type = DataType::kUint8;
  if (range_of(type).high == 0 && !is_small_float(type))
    return unsupported_type(type, "the output");
  const bool saturate = ctx.node().attr_int("saturate", 1) != 0;
  ONNXTOOL_ASSIGN(const QuantParameters p, parameters_of(ctx));
  ONNXTOOL_ASSIGN(const ConstView x, ordered(ctx, p, is_packed(type)));
  if (wide_type(x.dtype) != DataType::kFloat && x.dtype != DataType::kInt32)
    return unsupported_type(x.dtype, "input 0");
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, type, x.dims, x.layout));
  void* bytes = y.data;
  if (is_packed(type)) {
    ONNXTOOL_ASSIGN(bytes, ctx.scratch(static_cast<size_t>(y.count)));
  }
  for_each_line(ctx, p, physical_count(x.dims, x.layout, x.count),
                [&](int64_t first, int64_t n, QuantLine line) {
                  if (x.dtype == DataType::kFloat)
                    return quantize_run(type, saturate, static_cast<const float*>(x.data) + first,
                                        line, bytes, first, n);
                  float block[kBlock];
                  for (int64_t i = 0; i < n; i += kBlock) {
                    const int64_t length = std::min(kBlock, n - i);
                    load_as_float(x.dtype, x.data, first + i, length, block);
                    quantize_run(type, saturate, block, advance(line, i), bytes, first + i, length);
                  }
                });
  if (is_packed(type)) pack_elements(type, static_cast<const uint8_t*>(bytes), y.count, y.data);
  clear_padding(y);
  return {};
}

// Floats from quantized elements [first, first + n).
void dequantize_run(DataType type, const void* q, QuantLine line, float* x, int64_t first,
                    int64_t n) {
  const VectorMath& vector = vector_math();
  switch (type) {
    case DataType::kUint8:
      return vector.dequantize_u8(static_cast<const uint8_t*>(q) + first, line, x, n);
    case DataType::kInt8:
      return vector.dequantize_s8(static_cast<const int8_t*>(q) + first, line, x, n);
    case DataType::kUint16:
      return vector.dequantize_u16(static_cast<const uint16_t*>(q) + first, line, x, n);
    case DataType::kInt16:
      return vector.dequantize_s16(static_cast<const int16_t*>(q) + first, line, x, n);
    case DataType::kInt32:
      return vector.dequantize_s32(static_cast<const int32_t*>(q) + first, line, x, n);
    default: break;
  }
  int32_t block[kBlock];
  for (int64_t i = 0; i < n; i += kBlock) {
    const int64_t length = std::min(kBlock, n - i);
    const QuantLine here = advance(line, i);
    if (is_small_float(type)) {
      load_wide<float>(type, q, first + i, length, x + i);
      vector.mul(x + i, 1, here.scale, here.step, x + i, length);
    } else {
      load_wide<int32_t>(type, q, first + i, length, block);
      vector.dequantize_s32(block, here, x + i, length);
    }
  }
}

Status dequantize(KernelContext& ctx) {
  const DataType type = ctx.input(0).dtype;
  auto result = static_cast<DataType>(ctx.node().attr_int("output_dtype", 0));
  if (result == DataType::kUndefined) result = ctx.input(1).dtype;
  if (range_of(type).high == 0 && type != DataType::kInt32 && !is_small_float(type))
    return unsupported_type(type, "input 0");
  if (!is_float(result) || result == DataType::kDouble)
    return unsupported_type(result, "the output");
  ONNXTOOL_ASSIGN(const QuantParameters p, parameters_of(ctx));
  ONNXTOOL_ASSIGN(const ConstView q, ordered(ctx, p, is_packed(type)));
  ONNXTOOL_ASSIGN(const MutableView x, ctx.output(0, result, q.dims, q.layout));
  for_each_line(ctx, p, physical_count(q.dims, q.layout, q.count),
                [&](int64_t first, int64_t n, QuantLine line) {
                  if (result == DataType::kFloat)
                    return dequantize_run(type, q.data, line, static_cast<float*>(x.data) + first,
                                          first, n);
                  float block[kBlock];
                  for (int64_t i = 0; i < n; i += kBlock) {
                    const int64_t length = std::min(kBlock, n - i);
                    dequantize_run(type, q.data, advance(line, i), block, first + i, length);
                    store_wide<float>(result, block, length, x.data, first + i);
                  }
                });
  clear_padding(x);
  return {};
}

// uint8 over the range of x with 0: scale = (max - min) / 255, zero_point = round(-min / scale). A
// tensor of zeros has scale 1, as in ONNX Runtime; the formula would divide by 0.
Status dynamic_quantize(KernelContext& ctx) {
  const ConstView& x = ctx.input(0);
  if (x.dtype != DataType::kFloat) return unsupported_type(x.dtype, "input 0");
  const float* in = static_cast<const float*>(x.data);
  const Quantization q = dynamic_quantization(in, x.count);
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, DataType::kUint8, x.dims));
  ONNXTOOL_ASSIGN(const MutableView scale_out, ctx.output(1, DataType::kFloat, {}));
  ONNXTOOL_ASSIGN(const MutableView zero_point_out, ctx.output(2, DataType::kUint8, {}));
  scale_out.as<float>()[0] = q.scale;
  zero_point_out.as<uint8_t>()[0] = static_cast<uint8_t>(q.zero_point);
  ctx.parallel(x.count, kGrain, [&](int64_t begin, int64_t end) {
    vector_math().quantize8(in + begin, {&q.scale, &q.zero_point, 0}, 0, 255,
                            y.as<uint8_t>().data() + begin, end - begin);
  });
  return {};
}

bool takes_values_in_any_layout(int input, Layout) { return input == 0; }

}  // namespace

constinit const KernelInfo kQuantizeLinear{.op = "QuantizeLinear",
                                           .prepare = needs_inputs<2>,
                                           .run = quantize,
                                           .takes_layout = takes_values_in_any_layout};
constinit const KernelInfo kDequantizeLinear{.op = "DequantizeLinear",
                                             .prepare = needs_inputs<2>,
                                             .run = dequantize,
                                             .takes_layout = takes_values_in_any_layout};
constinit const KernelInfo kMsQuantizeLinear{.domain = "com.microsoft",
                                             .op = "QuantizeLinear",
                                             .prepare = needs_inputs<2>,
                                             .run = quantize,
                                             .takes_layout = takes_values_in_any_layout};
constinit const KernelInfo kMsDequantizeLinear{.domain = "com.microsoft",
                                               .op = "DequantizeLinear",
                                               .prepare = needs_inputs<2>,
                                               .run = dequantize,
                                               .takes_layout = takes_values_in_any_layout};
constinit const KernelInfo kDynamicQuantizeLinear{
    .op = "DynamicQuantizeLinear", .prepare = needs_inputs<1>, .run = dynamic_quantize};

}  // namespace onnxtool
