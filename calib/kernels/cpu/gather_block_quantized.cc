// com.microsoft.GatherBlockQuantized-1: rows of a block-quantized table, dequantized as they are
// gathered: y = (data - zero_point) * scale with one scale for each block of `block_size` elements
// along quantize_axis. uint8 data may hold several elements of `bits` bits each, low ones first,
// along its last axis. Zero points default to 0, for uint8 to 2^(bits - 1).

#include "calib/kernels/cpu/convert.h"
#include "calib/kernels/cpu/indices.h"

namespace onnxtool {
namespace {

enum Input : int { kData, kIndices, kScales, kZeroPoints };

struct Table {
  Dims dims;  // of elements, unpacked
  int64_t gather_axis, quantize_axis, block;
  int64_t bits;  // of an element of uint8 data, else 8
  int32_t zero_point;

  LineShape quantized() const { return line_shape(dims, quantize_axis); }
  int64_t blocks() const { return (quantized().n + block - 1) / block; }
};

Result<Table> read_table(const KernelContext& ctx) {
  const NodeView& node = ctx.node();
  const ConstView& data = ctx.input(kData);
  const int64_t bits = node.attr_int("bits", 4);
  Table t{to_dims(data.dims), 0, 0, node.attr_int("block_size", 128), 8, 0};
  if (bits != 2 && bits != 4 && bits != 8)
    return bad_model("bits is " + std::to_string(bits) + ", expected 2, 4 or 8");
  ONNXTOOL_ASSIGN(t.gather_axis,
                  resolve_axis(node.attr_int("gather_axis", 0), data.rank(), "gather_axis"));
  ONNXTOOL_ASSIGN(t.quantize_axis,
                  resolve_axis(node.attr_int("quantize_axis", 1), data.rank(), "quantize_axis"));
  if (data.dtype == DataType::kUint8) {
    t.bits = bits;
    t.zero_point = 1 << (bits - 1);
    const auto last = checked_mul(t.dims.back(), 8 / bits);
    if (!last || t.gather_axis == data.rank() - 1)
      return bad_model("gather_axis is the packed one, of shape " + format_dims(data.dims));
    t.dims.back() = *last;
  }
  if (t.block < 1) return bad_model("block_size is " + std::to_string(t.block));
  t.block = std::min(t.block, std::max<int64_t>(t.quantized().n, 1));
  return t;
}

// Elements as 8-bit values in int32.
struct Packed {
  const void* data;
  DataType type;
  int64_t bits;

  int32_t at(int64_t i) const {
    const auto* bytes = static_cast<const uint8_t*>(data);
    if (type == DataType::kUint8)
      return (bytes[i * bits / 8] >> (i * bits % 8)) & ((1 << bits) - 1);
    const int32_t nibble = (bytes[i / 2] >> (i % 2 * 4)) & 15;
    return type == DataType::kInt4 && nibble > 7 ? nibble - 16 : nibble;
  }
};

Status check_parameters(const KernelContext& ctx, const Table& t) {
  Dims expected = t.dims;
  expected[static_cast<size_t>(t.quantize_axis)] = t.blocks();
  if (!std::ranges::equal(ctx.input(kScales).dims, expected))
    return mismatch("scales have shape " + format_dims(ctx.input(kScales).dims) + ", expected " +
                    format_dims(expected));
  if (!ctx.has_input(kZeroPoints)) return {};
  const ConstView &data = ctx.input(kData), &zero = ctx.input(kZeroPoints);
  const int64_t per_byte = 8 / t.bits;
  expected.back() = (expected.back() + per_byte - 1) / per_byte;
  if (zero.dtype != data.dtype || !std::ranges::equal(zero.dims, expected))
    return mismatch("zero_points are " + std::string(name(zero.dtype)) + " of shape " +
                    format_dims(zero.dims) + ", expected " + std::string(name(data.dtype)) +
                    " of " + format_dims(expected));
  return {};
}

Status run(KernelContext& ctx) {
  const ConstView &data = ctx.input(kData), &scales = ctx.input(kScales);
  ONNXTOOL_ASSIGN(const Table t, read_table(ctx));
  ONNXTOOL_TRY(check_parameters(ctx, t));
  const LineShape gathered = line_shape(t.dims, t.gather_axis), quantized = t.quantized();
  ONNXTOOL_ASSIGN(const auto indices,
                  checked_indices(ctx, ctx.input(kIndices), std::span(&gathered.n, 1)));
  const std::span<const int64_t> index_dims = ctx.input(kIndices).dims;
  Dims dims(t.dims.begin(), t.dims.begin() + t.gather_axis);
  dims.insert(dims.end(), index_dims.begin(), index_dims.end());
  dims.insert(dims.end(), t.dims.begin() + t.gather_axis + 1, t.dims.end());
  ONNXTOOL_ASSIGN(const WideOutput y, WideOutput::make(ctx, 0, scales.dtype, dims));
  if (y.count() == 0) return {};
  ONNXTOOL_ASSIGN(const ConstView wide, converted(ctx, scales, DataType::kFloat));
  const auto* scale = static_cast<const float*>(wide.data);
  const Packed from{data.data, data.dtype, t.bits};
  const bool has_zero_points = ctx.has_input(kZeroPoints);
  const Packed zero{has_zero_points ? ctx.input(kZeroPoints).data : nullptr, data.dtype, t.bits};
  // Packed zero points begin a new byte with each row of the last axis.
  const int64_t zero_row =
      t.dims.size() - 1 == static_cast<size_t>(t.quantize_axis) ? t.blocks() : t.dims.back();
  const int64_t per_byte = data.dtype == DataType::kUint8 ? 8 / t.bits : 1;
  const int64_t zero_stride = (zero_row + per_byte - 1) / per_byte * per_byte;
  const int64_t n = static_cast<int64_t>(indices.size());
  ctx.parallel(gathered.outer * n, grain_of(8 * gathered.inner), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t first =
          (row / n * gathered.n + indices[static_cast<size_t>(row % n)]) * gathered.inner;
      for (int64_t i = 0; i < gathered.inner; ++i) {
        const int64_t at = first + i, line = at / quantized.inner;
        const int64_t parameter =
            (line / quantized.n * t.blocks() + line % quantized.n / t.block) * quantized.inner +
            at % quantized.inner;
        const int32_t offset =
            has_zero_points ? zero.at(parameter / zero_row * zero_stride + parameter % zero_row)
                            : t.zero_point;
        y.data<float>()[row * gathered.inner + i] =
            static_cast<float>(from.at(at) - offset) * scale[parameter];
      }
    }
  });
  y.finish(ctx);
  return {};
}

Result<std::unique_ptr<KernelState>> prepare(const NodeView& node) {
  ONNXTOOL_TRY(require_inputs(node, {kData, kIndices, kScales}));
  return std::unique_ptr<KernelState>();
}

}  // namespace

constinit const KernelInfo kGatherBlockQuantized{
    .domain = "com.microsoft",
    .op = "GatherBlockQuantized",
    .types = {DataType::kUint8, DataType::kInt4, DataType::kUint4},
    .prepare = prepare,
    .run = run};

}  // namespace onnxtool
