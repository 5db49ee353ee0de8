// Pad: constant, reflect, edge and wrap, negative pads included.
//
// Each axis becomes a table that says which input index an output index shows, -1 for the fill
// value. The innermost axis is copied as one run per row plus its margins. Images whose channels
// are last in memory stay so.

#include <algorithm>
#include <cstring>

#include "calib/kernels/cpu/elementwise.h"
#include "calib/kernels/cpu/pad_index.h"
#include "calib/kernels/cpu/walk.h"

namespace onnxtool {
namespace {

// `leading` is the pad before the innermost axis.
template <class E>
void pad_elements(KernelContext& ctx, const E* in, std::span<const int64_t> in_dims, const E& fill,
                  std::span<const int64_t> dims, const std::vector<Dims>& tables, int64_t leading,
                  E* out) {
  const Dims strides = contiguous_strides(in_dims);
  const size_t last = dims.size() - 1;
  const int64_t inner = dims[last];
  const Dims& table = tables[last];
  // [run, run_end) is a plain copy of the input from table[run] on.
  const int64_t run = std::clamp<int64_t>(leading, 0, inner);
  const int64_t run_end = std::clamp<int64_t>(leading + in_dims[last], run, inner);
  const int64_t rows = product(dims, 0, last);
  ctx.parallel(rows, grain_of(inner), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      int64_t offset = 0;
      bool outside = false;
      for (int64_t rest = row, i = static_cast<int64_t>(last); i-- > 0;) {
        const auto d = static_cast<size_t>(i);
        const int64_t source = tables[d][static_cast<size_t>(rest % dims[d])];
        rest /= dims[d];
        outside |= source < 0;
        offset += source * strides[d];
      }
      E* to = out + row * inner;
      if (outside) {
        std::fill_n(to, inner, fill);
        continue;
      }
      const auto margin = [&](int64_t from, int64_t until) {
        for (int64_t i = from; i < until; ++i) {
          const int64_t source = table[static_cast<size_t>(i)];
          to[i] = source < 0 ? fill : in[offset + source];
        }
      };
      margin(0, run);
      if (run_end > run)
        std::copy_n(in + offset + table[static_cast<size_t>(run)], run_end - run, to + run);
      margin(run_end, inner);
    }
  });
}

// The axes in the order of memory where channels are last there.
Dims channels_behind(std::span<const int64_t> v) {
  Dims order = to_dims(v);
  std::rotate(order.begin() + 1, order.begin() + 2, order.end());
  return order;
}

Status copied(KernelContext& ctx, const ConstView& x) {
  if (x.layout == Layout::kPlain) return ctx.output_view(0, 0, x.dims);
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, x.dtype, x.dims, x.layout));
  if (y.count) std::memcpy(y.data, x.data, size_bytes_of(x.dtype, static_cast<uint64_t>(x.count)));
  return {};
}

Status pad(KernelContext& ctx) {
  const DataType type = ctx.input(0).dtype;
  ONNXTOOL_ASSIGN(const PadMode mode, pad_mode_of(ctx.node()));
  ONNXTOOL_ASSIGN(Dims pads, all_pads(ctx));
  const size_t rank = ctx.input(0).dims.size();
  if (rank == 0 || std::ranges::all_of(pads, [](int64_t p) { return p == 0; }))
    return copied(ctx, ctx.input(0));
  ONNXTOOL_ASSIGN(ConstView x, unpacked(ctx, ctx.input(0)));
  if (is_packed(type)) {
    ONNXTOOL_ASSIGN(x, in_plain_order(ctx, x));
  }
  ONNXTOOL_ASSIGN(Dims dims, padded_dims(x.dims, pads, mode));
  const bool channels_last = x.layout == Layout::kChannelsLast;
  MovedOutput moved;
  MutableView as_last;
  if (channels_last) {
    ONNXTOOL_ASSIGN(as_last, ctx.output(0, type, dims, x.layout));
  } else {
    ONNXTOOL_ASSIGN(moved, MovedOutput::make(ctx, 0, type, dims));
  }
  void* const y = channels_last ? as_last.data : moved.data();
  if (product(dims) == 0) return {};
  Dims x_dims = to_dims(x.dims);
  if (channels_last) {
    const std::span<const int64_t> all = pads;
    const Dims begins = channels_behind(all.first(rank)), ends = channels_behind(all.last(rank));
    pads = begins;
    pads.insert(pads.end(), ends.begin(), ends.end());
    dims = channels_behind(dims);
    x_dims = channels_behind(x_dims);
  }
  // Only now: the output's allocation has bounded the extents.
  std::vector<Dims> tables(rank);
  for (size_t i = 0; i < rank; ++i)
    for (int64_t j = 0; j < dims[i]; ++j)
      tables[i].push_back(source_index(mode, j - pads[i], x_dims[i]));
  const ConstView* value = nullptr;
  ConstView unpacked_value;
  if (mode == PadMode::kConstant && ctx.has_input(2) && ctx.input(2).count > 0) {
    if (ctx.input(2).dtype != type || ctx.input(2).count != 1)
      return mismatch("constant_value is " + std::string(name(ctx.input(2).dtype)) + " of shape " +
                      format_dims(ctx.input(2).dims) + ", expected one " + std::string(name(type)));
    ONNXTOOL_ASSIGN(unpacked_value, unpacked(ctx, ctx.input(2)));
    value = &unpacked_value;
  }
  const float attribute = ctx.node().attr_float("value", 0);
  std::byte from_attribute[16] = {};
  if (value == nullptr && attribute != 0 && wide_type(type) != DataType::kUndefined &&
      !is_packed(type))
    convert_elements(DataType::kFloat, &attribute, type, from_attribute, 0, 1);
  dispatch_movement(x.dtype, [&]<class E>() {
    E fill{};
    if (value != nullptr)
      fill = *static_cast<const E*>(value->data);
    else if constexpr (!std::is_same_v<E, std::string>)
      std::memcpy(&fill, from_attribute, sizeof fill);
    pad_elements(ctx, static_cast<const E*>(x.data), x_dims, fill, dims, tables, pads[rank - 1],
                 static_cast<E*>(y));
  });
  if (!channels_last) moved.finish();
  return {};
}

}  // namespace

constinit const KernelInfo kPad{.op = "Pad",
                                .prepare = needs_inputs<1>,
                                .run = pad,
                                .takes_layout = [](int input, Layout layout) {
                                  return input == 0 && layout == Layout::kChannelsLast;
                                }};

}  // namespace onnxtool
