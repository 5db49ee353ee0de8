// Pad: constant, reflect, edge and wrap, negative pads included.
//
// Each axis becomes a table that says which input index an output index shows, -1 for the fill
// value. The innermost axis is copied as one run per row plus its margins.

#include <algorithm>
#include <cstring>

#include "calib/kernels/cpu/convert.h"
#include "calib/kernels/cpu/walk.h"

namespace onnxtool {
namespace {

enum class Mode { kConstant, kReflect, kEdge, kWrap };

int64_t source_index(Mode mode, int64_t i, int64_t extent) {
  if (i >= 0 && i < extent) return i;
  const auto modulo = [](int64_t v, int64_t n) { return (v % n + n) % n; };
  switch (mode) {
    case Mode::kEdge: return i < 0 ? 0 : extent - 1;
    case Mode::kWrap: return modulo(i, extent);
    case Mode::kReflect: {
      if (extent == 1) return 0;
      const int64_t m = modulo(i, 2 * extent - 2);
      return m < extent ? m : 2 * extent - 2 - m;
    }
    case Mode::kConstant: break;
  }
  return -1;
}

// pads of every axis, [begins..., ends...], from the input, the attribute of Pad-1 (`paddings`) or
// Pad-2 (`pads`), and the axes of Pad-18.
Result<Dims> all_pads(const KernelContext& ctx) {
  const auto rank = static_cast<size_t>(ctx.input(0).rank());
  const bool by_input = ctx.node().opset() >= 11 || !ctx.node().domain().empty();
  ONNXTOOL_ASSIGN(const std::optional<Dims> given,
                  integers_from(ctx, by_input ? 1 : -1,
                                ctx.node().opset() < 2 && !by_input ? "paddings" : "pads"));
  if (!given) return bad_model("pads are missing");
  Dims axes;
  if (by_input && ctx.has_input(3)) {
    ONNXTOOL_ASSIGN(const Dims values, integer_values(ctx.input(3), "axes"));
    ONNXTOOL_ASSIGN(axes, resolve_axes(values, ctx.input(0).rank()));
  } else {
    for (size_t i = 0; i < rank; ++i) axes.push_back(static_cast<int64_t>(i));
  }
  if (given->size() != 2 * axes.size())
    return mismatch("pads has " + std::to_string(given->size()) + " elements, expected " +
                    std::to_string(2 * axes.size()));
  Dims pads(2 * rank);
  for (size_t i = 0; i < axes.size(); ++i) {
    pads[static_cast<size_t>(axes[i])] = (*given)[i];
    pads[rank + static_cast<size_t>(axes[i])] = (*given)[axes.size() + i];
  }
  return pads;
}

Result<Mode> mode_of(const NodeView& node) {
  const std::string_view mode = node.attr_string("mode", "constant");
  if (mode == "constant") return Mode::kConstant;
  if (mode == "reflect") return Mode::kReflect;
  if (mode == "edge") return Mode::kEdge;
  if (mode == "wrap") return Mode::kWrap;
  return bad_model("mode is '" + std::string(mode) + "', expected constant, reflect, edge or wrap");
}

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
  ONNXTOOL_ASSIGN(const Mode mode, mode_of(ctx.node()));
  ONNXTOOL_ASSIGN(const Dims pads, all_pads(ctx));
  ONNXTOOL_ASSIGN(const ConstView x, unpacked(ctx, ctx.input(0)));
  const size_t rank = x.dims.size();
  if (rank == 0 || std::ranges::all_of(pads, [](int64_t p) { return p == 0; }))
    return ctx.output_view(0, 0, x.dims);
  Dims dims;
  for (size_t i = 0; i < rank; ++i) {
    const std::optional<int64_t> with_begin = checked_add(x.dims[i], pads[i]);
    const std::optional<int64_t> extent =
        with_begin ? checked_add(*with_begin, pads[rank + i]) : std::nullopt;
    if (!extent || *extent < 0)
      return mismatch("pads " + format_dims(pads) + " leave no valid extent on axis " +
                      std::to_string(i) + " of shape " + format_dims(x.dims));
    if (x.dims[i] == 0 && *extent > 0 && mode != Mode::kConstant)
      return mismatch("axis " + std::to_string(i) + " has no elements to pad with");
    dims.push_back(*extent);
  }
  ONNXTOOL_ASSIGN(const MovedOutput y, MovedOutput::make(ctx, 0, type, dims));
  if (y.count() == 0) return {};
  // Only now: the output's allocation has bounded the extents.
  std::vector<Dims> tables(rank);
  for (size_t i = 0; i < rank; ++i)
    for (int64_t j = 0; j < dims[i]; ++j)
      tables[i].push_back(source_index(mode, j - pads[i], x.dims[i]));
  const ConstView* value = nullptr;
  ConstView unpacked_value;
  if (mode == Mode::kConstant && ctx.has_input(2) && ctx.input(2).count > 0) {
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
