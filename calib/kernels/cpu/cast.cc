// Cast and CastLike, between all types. Numbers: convert_elements(). Strings: shortest decimal form
// that reads back equal; NaN and INF as the operator page spells them.

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <new>

#include "calib/kernels/cpu/convert.h"
#include "libopt/support/ascii.h"

namespace onnxtool {
namespace {

template <class T>
std::string to_text(T x) {
  if constexpr (std::is_floating_point_v<T>) {
    if (std::isnan(x)) return "NaN";
    if (std::isinf(x)) return x > 0 ? "INF" : "-INF";
  }
  char buffer[40];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, x);
  return std::string(buffer, end.ptr);
}

template <class T>
Result<T> from_text(const std::string& text) {
  const char* begin = text.data();
  const char* const end = begin + text.size();
  if (begin != end && *begin == '+') ++begin;
  T value{};
  const auto parsed = std::from_chars(begin, end, value);
  if (parsed.ec == std::errc() && parsed.ptr == end) return value;
  if constexpr (std::is_integral_v<T>) {  // "1e3", "2.0"
    ONNXTOOL_ASSIGN(const double real, from_text<double>(text));
    return static_cast<T>(to_int64(real));
  } else {
    // Out of range: "1e400" is infinite, "1e-400" is zero; from_chars leaves the value alone.
    if (parsed.ec == std::errc::result_out_of_range && parsed.ptr == end)
      return static_cast<T>(std::strtod(text.c_str(), nullptr));
    return mismatch("string '" + text + "' is not a number");
  }
}

Status from_strings(const ConstView& x, const MutableView& y) {
  if (is_packed(y.dtype)) return unsupported_type(y.dtype, "the output");
  const DataType wide = wide_type(y.dtype);
  const DataType parsed =
      wide == DataType::kFloat || wide == DataType::kDouble ? DataType::kDouble : DataType::kInt64;
  for (int64_t i = 0; i < x.count; ++i) {
    const std::string& text = x.as<std::string>()[static_cast<size_t>(i)];
    std::byte number[8];
    if (y.dtype == DataType::kUint64 && !text.starts_with('-')) {
      ONNXTOOL_ASSIGN(y.as<uint64_t>()[static_cast<size_t>(i)], from_text<uint64_t>(text));
      continue;
    }
    if (parsed == DataType::kDouble) {
      ONNXTOOL_ASSIGN(const double value, from_text<double>(text));
      new (number) double(value);
    } else {
      ONNXTOOL_ASSIGN(const int64_t value, from_text<int64_t>(text));
      new (number) int64_t(value);
    }
    std::byte element[8];
    convert_elements(parsed, number, y.dtype, element, 0, 1);
    const auto size = static_cast<int64_t>(size_bytes_of(y.dtype, 1));
    std::copy_n(element, size, static_cast<std::byte*>(y.data) + i * size);
  }
  return {};
}

Status to_strings(const ConstView& x, const MutableView& y) {
  return dispatch(wide_type(x.dtype), WideTypes{}, "input 0", [&]<class T>() -> Status {
    T block[kBlock];
    for (int64_t i = 0; i < x.count; i += kBlock) {
      const int64_t n = std::min(kBlock, x.count - i);
      load_wide<T>(x.dtype, x.data, i, n, block);
      for (int64_t j = 0; j < n; ++j)
        y.as<std::string>()[static_cast<size_t>(i + j)] = to_text(block[j]);
    }
    return {};
  });
}

Status cast_to(KernelContext& ctx, DataType to) {
  const ConstView& x = ctx.input(0);
  const NodeView& node = ctx.node();
  const bool saturate = node.attr_int("saturate", 1) != 0;
  if (x.dtype == to) return ctx.output_view(0, 0, x.dims);
  if (to == DataType::kString) {
    ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, to, x.dims));
    return to_strings(x, y);
  }
  if (wide_type(to) == DataType::kUndefined) return unsupported_type(to, "the output");
  if (x.dtype == DataType::kString) {
    ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, to, x.dims));
    return from_strings(x, y);
  }
  if (wide_type(x.dtype) == DataType::kUndefined) return unsupported_type(x.dtype, "input 0");
  if (to == DataType::kFloat8E8M0) {
    const std::string_view mode = node.attr_string("round_mode", "up");
    if (mode != "up" && mode != "down" && mode != "nearest")
      return bad_model("round_mode is '" + std::string(mode) + "', expected up, down or nearest");
    ONNXTOOL_ASSIGN(const ConstView values, converted(ctx, x, DataType::kFloat));
    ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, to, x.dims));
    std::ranges::transform(values.as<float>(), y.as<uint8_t>().begin(),
                           [&](float v) { return encode_e8m0(v, saturate, mode); });
    return {};
  }
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, to, x.dims));
  auto convert = [&](int64_t begin, int64_t end) {
    convert_elements(x.dtype, x.data, to, y.data, begin, end - begin, saturate);
  };
  if (is_packed(to))
    convert(0, x.count);  // neighbours share bytes
  else
    ctx.parallel(x.count, kGrain, convert);
  return {};
}

Status cast(KernelContext& ctx) {
  const auto to = static_cast<DataType>(ctx.node().attr_int("to", 0));
  if (to != DataType::kUndefined) return cast_to(ctx, to);
  // Cast-1 names the type as a string: "FLOAT".
  const std::string_view spelled = ctx.node().attr_string("to", "");
  const std::string lower = to_lower(spelled);
  for (int32_t t = 1; t <= static_cast<int32_t>(DataType::kInt2); ++t)
    if (name(static_cast<DataType>(t)) == lower) return cast_to(ctx, static_cast<DataType>(t));
  return bad_model("to is '" + std::string(spelled) + "', expected an element type");
}

Status cast_like(KernelContext& ctx) { return cast_to(ctx, ctx.input(1).dtype); }

}  // namespace

constinit const KernelInfo kCast{.op = "Cast", .prepare = needs_inputs<1>, .run = cast};
constinit const KernelInfo kCastLike{
    .op = "CastLike", .prepare = needs_inputs<2>, .run = cast_like};

}  // namespace onnxtool
