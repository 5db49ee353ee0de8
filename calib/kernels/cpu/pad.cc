// Pad: constant, reflect, edge and wrap, negative pads included.
//
// Each axis becomes a table that says which input index an output index shows, -1 for the fill
// value. The innermost axis is copied as one run per row plus its margins.

#include <algorithm>
#include <cstring>

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

Status pad(KernelContext& ctx) {
  const DataType type = ctx.input(0).dtype;
  ONNXTOOL_ASSIGN(const PadMode mode, pad_mode_of(ctx.node()));
  ONNXTOOL_ASSIGN(const Dims pads, all_pads(ctx));
  ONNXTOOL_ASSIGN(const ConstView x, unpacked(ctx, ctx.input(0)));
  const size_t rank = x.dims.size();
  if (rank == 0 || std::ranges::all_of(pads, [](int64_t p) { return p == 0; }))
    return ctx.output_view(0, 0, x.dims);
  ONNXTOOL_ASSIGN(const Dims dims, padded_dims(x.dims, pads, mode));
  ONNXTOOL_ASSIGN(const MovedOutput y, MovedOutput::make(ctx, 0, type, dims));
  if (y.count() == 0) return {};
  // Only now: the output's allocation has bounded the extents.
  std::vector<Dims> tables(rank);
  for (size_t i = 0; i < rank; ++i)
    for (int64_t j = 0; j < dims[i]; ++j)
      tables[i].push_back(source_index(mode, j - pads[i], x.dims[i]));
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
    pad_elements(ctx, static_cast<const E*>(x.data), x.dims, fill, dims, tables, pads[rank - 1],
                 static_cast<E*>(y.data()));
  });
  y.finish();
  return {};
}

}  // namespace

constinit const KernelInfo kPad{.op = "Pad", .prepare = needs_inputs<1>, .run = pad};

}  // namespace onnxtool
