// Whole tensors on a device: in other types, and copied along strides (see cpu/convert.h and
// cpu/walk.h, whose functions for the host these stand in for).

#include "calib/kernels/cpu/elementwise.h"
#include "calib/kernels/cuda/elements.h"

namespace onnxtool {
namespace {

using device::load;
using device::store;

// Bytes of bool are 0 or 1 whatever they were.
template <class From, class To>
struct ConvertElements {
  DataType from, to;
  const void* x;
  void* y;
  ONNXTOOL_HD void operator()(int64_t i) const {
    const From value = load<From>(from, x, i);
    if (to == DataType::kBool)
      static_cast<uint8_t*>(y)[i] = value != From{0};
    else
      store<To>(to, y, i, convert_one<To>(value));
  }
};

template <class E>
struct CopyElements {
  const E* in;
  E* out;
  device::StridedWalk<1> walk;
  ONNXTOOL_HD void operator()(int64_t i) const {
    int64_t at[1];
    walk.offsets(i, at);
    out[i] = in[at[0]];
  }
};

template <class E>
struct SpreadElements {
  const E* in;
  E* out;
  device::StridedWalk<1> walk;
  ONNXTOOL_HD void operator()(int64_t i) const {
    int64_t at[1];
    walk.offsets(i, at);
    out[at[0]] = in[i];
  }
};

template <class E>
struct SelectElements {
  const uint8_t* condition;
  const E *x, *y;
  E* out;
  device::StridedWalk<3> walk;
  ONNXTOOL_HD void operator()(int64_t i) const {
    int64_t at[3];
    walk.offsets(i, at);
    out[i] = condition[at[0]] != 0 ? x[at[1]] : y[at[2]];
  }
};

// f.operator()<E>() for the unsigned integer of the element's size: what a device moves.
template <class F>
void dispatch_size(DataType type, F&& f) {
  switch (bits_of(type)) {
    case 16: return f.template operator()<uint16_t>();
    case 32: return f.template operator()<uint32_t>();
    case 64: return f.template operator()<uint64_t>();
    default: return f.template operator()<uint8_t>();
  }
}

}  // namespace

void device_convert(DataType from, const void* in, DataType to, void* out, int64_t count) {
  const auto f = [&]<class From>() {
    const auto t = [&]<class To>() {
      device::for_each_index(count, ConvertElements<From, To>{from, to, in, out});
      return Status();
    };
    return dispatch(wide_type(to), WideTypes{}, "an output", t);
  };
  if (!dispatch(wide_type(from), WideTypes{}, "an input", f).ok())
    device::note_error(-1, "a conversion between types without arithmetic");
}

Result<ConstView> converted(KernelContext& ctx, const ConstView& view, DataType to) {
  if (view.dtype == to) return view;
  if (!device::is_device_type(view.dtype) || !device::is_device_type(to))
    return unsupported_type(view.dtype, "an input");
  ONNXTOOL_ASSIGN(void* buffer, ctx.scratch(size_bytes_of(to, static_cast<uint64_t>(view.count))));
  device_convert(view.dtype, view.data, to, buffer, view.count);
  ConstView result = view;
  result.dtype = to;
  result.data = buffer;
  return result;
}

Result<ConstView> widened(KernelContext& ctx, const ConstView& view) {
  const DataType wide = wide_type(view.dtype);
  if (wide == DataType::kUndefined) return unsupported_type(view.dtype, "an input");
  return converted(ctx, view, wide);
}

Result<ConstView> unpacked(KernelContext&, const ConstView& view) {
  if (is_packed(view.dtype)) return unsupported_type(view.dtype, "an input");
  return view;
}

Result<MovedOutput> MovedOutput::make(KernelContext& ctx, int i, DataType dtype,
                                      std::span<const int64_t> dims) {
  if (is_packed(dtype)) return unsupported_type(dtype, "an output");
  MovedOutput output;
  ONNXTOOL_ASSIGN(output.view_, ctx.output(i, dtype, dims));
  output.dtype_ = dtype;
  output.data_ = output.view_.data;
  return output;
}
void MovedOutput::finish() const {}

Result<WideOutput> WideOutput::make(KernelContext& ctx, int i, DataType dtype,
                                    std::span<const int64_t> dims) {
  WideOutput output;
  const DataType wide = wide_type(dtype);
  if (!device::is_device_type(dtype)) return unsupported_type(dtype, "an output");
  ONNXTOOL_ASSIGN(output.view_, ctx.output(i, dtype, dims));
  output.data_ = output.view_.data;
  if (wide != dtype) {
    ONNXTOOL_ASSIGN(output.data_,
                    ctx.scratch(size_bytes_of(wide, static_cast<uint64_t>(output.view_.count))));
  }
  return output;
}
void WideOutput::finish(KernelContext&) const {
  if (data_ != view_.data)
    device_convert(wide_type(view_.dtype), data_, view_.dtype, view_.data, view_.count);
}

void copy_strided(KernelContext&, DataType type, const void* in, Walk<1> walk, void* out) {
  const int64_t count = product(walk.extents);
  const auto strided = device::strided_walk<1>(std::move(walk));
  if (!strided.ok()) return device::note_error(-1, "a shape of too many axes");
  dispatch_size(type, [&]<class E>() {
    device::for_each_index(
        count, CopyElements<E>{static_cast<const E*>(in), static_cast<E*>(out), *strided});
  });
}

void spread_strided(KernelContext&, DataType type, const void* in, Walk<1> walk, void* out) {
  const int64_t count = product(walk.extents);
  const auto strided = device::strided_walk<1>(std::move(walk));
  if (!strided.ok()) return device::note_error(-1, "a shape of too many axes");
  dispatch_size(type, [&]<class E>() {
    device::for_each_index(
        count, SpreadElements<E>{static_cast<const E*>(in), static_cast<E*>(out), *strided});
  });
}

void select_into(KernelContext&, DataType type, const Walk<3>& walk, int64_t count,
                 const void* condition, const void* x, const void* y, void* out) {
  const auto strided = device::strided_walk<3>(walk);
  if (!strided.ok()) return device::note_error(-1, "a shape of too many axes");
  dispatch_size(type, [&]<class E>() {
    device::for_each_index(
        count, SelectElements<E>{static_cast<const uint8_t*>(condition), static_cast<const E*>(x),
                                 static_cast<const E*>(y), static_cast<E*>(out), *strided});
  });
}

}  // namespace onnxtool
