// Whole tensors in other types, as kernels of the host see them (see convert.h).

#include "calib/kernels/cpu/convert.h"

namespace onnxtool {

Result<ConstView> converted(KernelContext& ctx, const ConstView& view, DataType to) {
  if (view.dtype == to) return view;
  if (wide_type(view.dtype) == DataType::kUndefined)
    return unsupported_type(view.dtype, "an input");
  ONNXTOOL_ASSIGN(void* buffer, ctx.scratch(size_bytes_of(to, static_cast<uint64_t>(view.count))));
  auto convert = [&](int64_t begin, int64_t end) {
    convert_elements(view.dtype, view.data, to, buffer, begin, end - begin);
  };
  if (is_packed(to))
    convert(0, view.count);  // bytes are shared between neighbours
  else
    ctx.parallel(view.count, kGrain, convert);
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

Result<ConstView> unpacked(KernelContext& ctx, const ConstView& view) {
  if (!is_packed(view.dtype)) return view;
  ONNXTOOL_ASSIGN(void* buffer, ctx.scratch(static_cast<size_t>(view.count)));
  unpack_elements(view.dtype, view.data, view.count, static_cast<uint8_t*>(buffer));
  ConstView result = view;
  result.dtype = DataType::kUint8;
  result.data = buffer;
  return result;
}

Result<MovedOutput> MovedOutput::make(KernelContext& ctx, int i, DataType dtype,
                                      std::span<const int64_t> dims) {
  MovedOutput output;
  ONNXTOOL_ASSIGN(output.view_, ctx.output(i, dtype, dims));
  output.dtype_ = dtype;
  output.data_ = output.view_.data;
  if (is_packed(dtype)) {
    ONNXTOOL_ASSIGN(output.data_, ctx.scratch(static_cast<size_t>(output.view_.count)));
    output.dtype_ = DataType::kUint8;
  }
  return output;
}

void MovedOutput::finish() const {
  if (data_ != view_.data)
    pack_elements(view_.dtype, static_cast<const uint8_t*>(data_), view_.count, view_.data);
}

Result<WideOutput> WideOutput::make(KernelContext& ctx, int i, DataType dtype,
                                    std::span<const int64_t> dims) {
  WideOutput output;
  const DataType wide = wide_type(dtype);
  if (wide == DataType::kUndefined) return unsupported_type(dtype, "an output");
  ONNXTOOL_ASSIGN(output.view_, ctx.output(i, dtype, dims));
  output.data_ = output.view_.data;
  if (wide != dtype) {
    ONNXTOOL_ASSIGN(output.data_,
                    ctx.scratch(size_bytes_of(wide, static_cast<uint64_t>(output.view_.count))));
  }
  return output;
}

void WideOutput::finish(KernelContext& ctx) const {
  if (data_ == view_.data) return;
  auto convert = [&](int64_t begin, int64_t end) {
    convert_elements(wide_type(view_.dtype), data_, view_.dtype, view_.data, begin, end - begin);
  };
  if (is_packed(view_.dtype))
    convert(0, view_.count);  // neighbours share bytes
  else
    ctx.parallel(view_.count, kGrain, convert);
}

}  // namespace onnxtool
