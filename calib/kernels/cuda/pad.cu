// Pad on a device; modes and pads as cpu/pad_index.h reads them.

#include <algorithm>
#include <cstring>

#include "calib/kernels/cpu/pad_index.h"
#include "calib/kernels/cuda/elements.h"

namespace onnxtool {
namespace {

template <class E>
struct PadElements {
  PadMode mode;
  int rank;
  int64_t extents[device::kMostAxes], in_extents[device::kMostAxes],
      strides[device::kMostAxes], begins[device::kMostAxes];
  const E* x;
  E* y;
  E fill;
  ONNXTOOL_HD void operator()(int64_t i) const {
    int64_t rest = i, from = 0;
    bool outside = false;
    for (int a = rank - 1; a >= 0; --a) {
      const int64_t source = source_index(mode, rest % extents[a] - begins[a], in_extents[a]);
      rest /= extents[a];
      outside |= source < 0;
      from += source * strides[a];
    }
    y[i] = outside ? fill : x[from];
  }
};

template <class E>
void pad_elements(const ConstView& x, const MutableView& y, std::span<const int64_t> pads,
                  PadMode mode, const void* fill) {
  PadElements<E> f{};
  f.mode = mode;
  f.rank = static_cast<int>(x.dims.size());
  const Dims strides = contiguous_strides(x.dims);
  for (size_t a = 0; a < x.dims.size(); ++a) {
    f.extents[a] = y.dims[a];
    f.in_extents[a] = x.dims[a];
    f.strides[a] = strides[a];
    f.begins[a] = pads[a];
  }
  f.x = static_cast<const E*>(x.data);
  f.y = static_cast<E*>(y.data);
  std::memcpy(&f.fill, fill, sizeof f.fill);
  device::for_each_index(y.count, f);
}

Status pad(KernelContext& ctx) {
  const ConstView& x = ctx.input(0);
  ONNXTOOL_ASSIGN(const PadMode mode, pad_mode_of(ctx.node()));
  ONNXTOOL_ASSIGN(const Dims pads, all_pads(ctx));
  if (x.dims.empty() || std::ranges::all_of(pads, [](int64_t p) { return p == 0; }))
    return ctx.output_view(0, 0, x.dims);
  ONNXTOOL_ASSIGN(const Dims dims, padded_dims(x.dims, pads, mode));
  std::byte fill[8] = {};
  if (mode == PadMode::kConstant && ctx.has_input(2) && ctx.input(2).count > 0) {
    if (ctx.input(2).dtype != x.dtype || ctx.input(2).count != 1)
      return mismatch("constant_value is " + std::string(name(ctx.input(2).dtype)) + " of shape " +
                      format_dims(ctx.input(2).dims) + ", expected one " +
                      std::string(name(x.dtype)));
    std::memcpy(fill, ctx.input(2).data, size_bytes_of(x.dtype, 1));
  } else if (const float value = ctx.node().attr_float("value", 0); value != 0) {
    convert_elements(DataType::kFloat, &value, x.dtype, fill, 0, 1);
  }
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, x.dtype, dims));
  switch (bits_of(x.dtype)) {
    case 8: pad_elements<uint8_t>(x, y, pads, mode, fill); break;
    case 16: pad_elements<uint16_t>(x, y, pads, mode, fill); break;
    case 32: pad_elements<uint32_t>(x, y, pads, mode, fill); break;
    default: pad_elements<uint64_t>(x, y, pads, mode, fill); break;
  }
  return {};
}

bool pads_few_axes(const NodeView& node) {
  const size_t rank = node.input_dims(0).size();
  return rank > 0 && rank <= static_cast<size_t>(device::kMostAxes);
}

}  // namespace

constinit const KernelInfo kPad{.op = "Pad",
                                .prepare = needs_inputs<1>,
                                .run = pad,
                                .accepts = pads_few_axes,
                                .use = parameters_on_host};

}  // namespace onnxtool
