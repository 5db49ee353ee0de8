#include "calib/exec/tensor_parts.h"

#include <algorithm>

#include "libopt/support/checked.h"

namespace onnxtool {
namespace {

Error mismatch(std::string message) { return Error{ErrorCode::kMismatch, std::move(message), {}}; }

// Elements before the axis, and bytes (or strings) of one position of it.
struct Lines {
  size_t outer = 1, inner = 1;
};
Lines lines_of(const std::vector<int64_t>& dims, int64_t axis) {
  Lines l;
  for (size_t i = 0; i < dims.size(); ++i) {
    if (static_cast<int64_t>(i) < axis) l.outer *= static_cast<size_t>(dims[i]);
    if (static_cast<int64_t>(i) > axis) l.inner *= static_cast<size_t>(dims[i]);
  }
  return l;
}

Status whole_bytes(const Tensor& t) {
  if (t.dtype() == DataType::kString || bits_of(t.dtype()) >= 8) return {};
  return Error{ErrorCode::kUnsupported,
               "sequences of " + std::string(name(t.dtype())) + " cannot be cut or joined",
               {}};
}

// Appends positions [begin, begin + count) of each line to `out`, line `o` only.
template <class Unit>
void append(std::span<const Unit> from, std::vector<Unit>& out, size_t o, size_t line, size_t begin,
            size_t count) {
  const auto first = from.begin() + static_cast<std::ptrdiff_t>(o * line + begin);
  out.insert(out.end(), first, first + static_cast<std::ptrdiff_t>(count));
}

size_t unit_bytes(DataType type) { return static_cast<size_t>(bits_of(type) / 8); }

Tensor made(DataType type, std::vector<int64_t> dims, std::vector<std::byte> bytes) {
  return Tensor::from_bytes(type, std::move(dims), std::move(bytes));
}
Tensor made(DataType, std::vector<int64_t> dims, std::vector<std::string> strings) {
  return Tensor::from_strings(std::move(dims), std::move(strings));
}

template <class Unit>
std::span<const Unit> units_of(const Tensor& t) {
  if constexpr (std::is_same_v<Unit, std::string>)
    return t.strings();
  else
    return t.bytes();
}

template <class Unit>
Tensor cut(const Tensor& t, int64_t axis, int64_t begin, int64_t count, size_t unit) {
  const Lines l = lines_of(t.dims(), axis);
  const size_t step = l.inner * unit,
               line = step * static_cast<size_t>(t.dims()[static_cast<size_t>(axis)]);
  std::vector<int64_t> dims = t.dims();
  dims[static_cast<size_t>(axis)] = count;
  std::vector<Unit> out;
  if (t.count()) {
    out.reserve(l.outer * step * static_cast<size_t>(count));
    for (size_t o = 0; o < l.outer; ++o)
      append<Unit>(units_of<Unit>(t), out, o, line, static_cast<size_t>(begin) * step,
                   static_cast<size_t>(count) * step);
  }
  return made(t.dtype(), std::move(dims), std::move(out));
}

template <class Unit>
Tensor glue(std::span<const Tensor> parts, int64_t axis, std::vector<int64_t> dims, size_t unit) {
  const Lines l = lines_of(dims, axis);
  std::vector<Unit> out;
  out.reserve(static_cast<size_t>(*checked_product(dims)) * unit);
  for (size_t o = 0; o < l.outer; ++o)
    for (const Tensor& t : parts) {
      const size_t line = l.inner * unit * static_cast<size_t>(t.dims()[static_cast<size_t>(axis)]);
      if (t.count()) append<Unit>(units_of<Unit>(t), out, o, line, 0, line);
    }
  return made(parts[0].dtype(), std::move(dims), std::move(out));
}

}  // namespace

Result<int64_t> resolved_axis(int64_t axis, int64_t rank) {
  if (axis < -rank || axis >= rank)
    return mismatch("axis " + std::to_string(axis) + " is out of range for rank " +
                    std::to_string(rank));
  return axis < 0 ? axis + rank : axis;
}

Result<Tensor> part_of(const Tensor& t, int64_t axis, int64_t begin, int64_t count) {
  ONNXTOOL_TRY(whole_bytes(t));
  if (t.dtype() == DataType::kString) return cut<std::string>(t, axis, begin, count, 1);
  return cut<std::byte>(t, axis, begin, count, unit_bytes(t.dtype()));
}

Result<Tensor> joined(std::span<const Tensor> parts, int64_t axis) {
  const Tensor& first = parts[0];
  ONNXTOOL_TRY(whole_bytes(first));
  std::vector<int64_t> dims = first.dims();
  const auto a = static_cast<size_t>(axis);
  for (const Tensor& t : parts.subspan(1)) {
    std::vector<int64_t> expected = first.dims();
    if (t.rank() == first.rank()) expected[a] = t.dims()[a];
    if (t.dtype() != first.dtype() || t.dims() != expected)
      return mismatch("tensors of " + std::string(name(first.dtype())) + format_dims(first.dims()) +
                      " and " + std::string(name(t.dtype())) + format_dims(t.dims()) +
                      " cannot be joined along axis " + std::to_string(axis));
    const auto sum = checked_add(dims[a], t.dims()[a]);
    if (!sum) return mismatch("the joined tensor would be too long");
    dims[a] = *sum;
  }
  const auto count = checked_product(dims);
  if (!count || *count > (int64_t{1} << 56))
    return mismatch("the joined tensor would have impossible dims " + format_dims(dims));
  if (first.dtype() == DataType::kString) return glue<std::string>(parts, axis, std::move(dims), 1);
  return glue<std::byte>(parts, axis, std::move(dims), unit_bytes(first.dtype()));
}

}  // namespace onnxtool
