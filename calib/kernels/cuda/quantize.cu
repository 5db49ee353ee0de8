// QuantizeLinear and DequantizeLinear on a device, with the parameters of cpu/quant_layout.h:
//   y = saturate(round_half_even(x / scale) + zero_point)      x = (y - zero_point) * scale
// Codes equal the host's in every bit: the division and the rounding are exact steps of float.

#include <cmath>

#include "calib/kernels/cpu/quant_layout.h"
#include "calib/kernels/cuda/elements.h"

namespace onnxtool {
namespace {

// Which scale belongs to an element.
struct ScaleIndex {
  QuantParameters::Kind kind;
  device::Divider n, inner, block;
  int64_t blocks;

  explicit ScaleIndex(const QuantParameters& p)
      : kind(p.kind),
        n(p.shape.n),
        inner(p.shape.inner),
        block(p.block),
        blocks(p.kind == QuantParameters::Kind::kBlock ? p.blocks() : 1) {}
  ONNXTOOL_HD int64_t of(int64_t i) const {
    if (kind == QuantParameters::Kind::kTensor) return 0;
    const int64_t column = inner.split(i), at = n.split(i);
    if (kind == QuantParameters::Kind::kAxis) return at;
    return (i * blocks + block.quotient(at)) * inner.by() + column;
  }
};

// Elements of x as floats: int32 values are rounded to float first, as on the host.
ONNXTOOL_HD inline float as_float(DataType type, const void* x, int64_t i) {
  if (type == DataType::kInt32) return static_cast<float>(static_cast<const int32_t*>(x)[i]);
  return device::load<float>(type, x, i);
}

struct QuantizeElements {
  DataType from, to;
  const void* x;
  void* y;
  const float* scale;
  const int32_t* zero_point;  // nullptr: 0
  ScaleIndex index;
  int32_t low, high;
  ONNXTOOL_HD void operator()(int64_t i) const {
    const int64_t at = index.of(i);
    const int32_t zero = zero_point ? zero_point[at] : 0;
    // Clipping first gives the same, and settles NaN as the lowest code.
    const float lowest = static_cast<float>(low - zero), highest = static_cast<float>(high - zero);
    float v = as_float(from, x, i) / scale[at];
    v = v > lowest ? v : lowest;
    v = v < highest ? v : highest;
    device::store<int32_t>(to, y, i, static_cast<int32_t>(std::nearbyint(v)) + zero);
  }
};

struct DequantizeElements {
  DataType from, to;
  const void* q;
  void* x;
  const float* scale;
  const int32_t* zero_point;
  ScaleIndex index;
  ONNXTOOL_HD void operator()(int64_t i) const {
    const int64_t at = index.of(i);
    const int32_t zero = zero_point ? zero_point[at] : 0;
    const auto code = static_cast<int32_t>(
        static_cast<uint32_t>(device::load<int32_t>(from, q, i)) - static_cast<uint32_t>(zero));
    device::store<float>(to, x, i, static_cast<float>(code) * scale[at]);
  }
};

DataType code_type(const NodeView& node) {
  if (node.has_input(2)) return node.input_dtype(2);
  const auto type = static_cast<DataType>(node.attr_int("output_dtype", 0));
  return type == DataType::kUndefined ? DataType::kUint8 : type;
}

Status quantize(KernelContext& ctx) {
  const ConstView& x = ctx.input(0);
  const DataType type = code_type(ctx.node());
  const IntRange range = range_of(type);
  ONNXTOOL_ASSIGN(const QuantParameters p, quant_parameters_of(ctx));
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, type, x.dims));
  device::for_each_index(
      y.count, QuantizeElements{x.dtype, type, x.data, y.data, p.scale, p.zero_point, ScaleIndex(p),
                                range.low, range.high});
  return {};
}

DataType float_type(const NodeView& node) {
  const auto type = static_cast<DataType>(node.attr_int("output_dtype", 0));
  return type == DataType::kUndefined ? node.input_dtype(1) : type;
}

Status dequantize(KernelContext& ctx) {
  const ConstView& q = ctx.input(0);
  const DataType type = float_type(ctx.node());
  ONNXTOOL_ASSIGN(const QuantParameters p, quant_parameters_of(ctx));
  ONNXTOOL_ASSIGN(const MutableView x, ctx.output(0, type, q.dims));
  device::for_each_index(x.count, DequantizeElements{q.dtype, type, q.data, x.data, p.scale,
                                                     p.zero_point, ScaleIndex(p)});
  return {};
}

// 8- and 16-bit codes; narrower ones, which share bytes, and 8-bit floats stay on the host.
bool is_code(DataType type) { return device::is_device_type(type) && range_of(type).high != 0; }
bool quantizes(const NodeView& node) {
  const DataType x = node.input_dtype(0);
  return is_code(code_type(node)) &&
         (x == DataType::kInt32 || (is_float(x) && x != DataType::kDouble));
}
bool dequantizes(const NodeView& node) {
  const DataType q = node.input_dtype(0), x = float_type(node);
  return (is_code(q) || q == DataType::kInt32) && is_float(x) && x != DataType::kDouble;
}

constexpr KernelInfo info_of(std::string_view domain, bool to_codes) {
  return {.domain = domain,
          .op = to_codes ? "QuantizeLinear" : "DequantizeLinear",
          .prepare = needs_inputs<2>,
          .run = to_codes ? quantize : dequantize,
          .accepts = to_codes ? quantizes : dequantizes};
}

}  // namespace

constinit const KernelInfo kQuantizeLinear = info_of("", true);
constinit const KernelInfo kDequantizeLinear = info_of("", false);
constinit const KernelInfo kMsQuantizeLinear = info_of("com.microsoft", true);
constinit const KernelInfo kMsDequantizeLinear = info_of("com.microsoft", false);

}  // namespace onnxtool
