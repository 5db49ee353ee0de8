#include "calib/exec/stacker.h"

#include <algorithm>

namespace onnxtool {
namespace {

// What the scan outputs of one loop may take.
constexpr size_t kMaxStackedBytes = size_t{1} << 33;

Error too_much() {
  return Error{ErrorCode::kLimit,
               "scan outputs pass " + std::to_string(kMaxStackedBytes) + " bytes",
               "the loop's condition may never become false"};
}

// `count` slices, each of `outer` pieces: to piece-major order, the slices of a piece side by side.
template <class Unit>
std::vector<Unit> interleaved(const std::vector<Unit>& slices, size_t count, size_t outer,
                              bool reversed) {
  if (outer <= 1 && !reversed) return slices;
  std::vector<Unit> out;
  out.reserve(slices.size());
  const size_t slice = count ? slices.size() / count : 0, piece = outer ? slice / outer : 0;
  for (size_t o = 0; o < outer && slice; ++o)
    for (size_t i = 0; i < count; ++i) {
      const auto from = slices.begin() + static_cast<std::ptrdiff_t>(
                                             (reversed ? count - 1 - i : i) * slice + o * piece);
      out.insert(out.end(), from, from + static_cast<std::ptrdiff_t>(piece));
    }
  return out;
}

}  // namespace

Stacker::Stacker(const ValueType& type) {
  if (type.is_tensor() && (bits_of(type.dtype) || type.dtype == DataType::kString))
    dtype_ = type.dtype;
  if (type.shape)
    for (const Dim& d : *type.shape) dims_.push_back(d.value.value_or(0));
}

Status Stacker::add(RunContext::Impl& child, int slot) {
  ONNXTOOL_ASSIGN(const ConstView v, child.host_view(slot));
  if (bytes_.size() + strings_.size() * sizeof(std::string) > kMaxStackedBytes) return too_much();
  if (count_ == 0) {
    dtype_ = v.dtype;
    dims_.assign(v.dims.begin(), v.dims.end());
  } else if (v.dtype != dtype_ ||
             !std::equal(v.dims.begin(), v.dims.end(), dims_.begin(), dims_.end())) {
    return Error{ErrorCode::kMismatch,
                 "a scan output changes from " + std::string(name(dtype_)) + format_dims(dims_) +
                     " to " + std::string(name(v.dtype)) + format_dims(v.dims),
                 {}};
  }
  ++count_;
  if (v.dtype == DataType::kString) {
    const auto s = v.as<std::string>();
    strings_.insert(strings_.end(), s.begin(), s.end());
    return {};
  }
  if (bits_of(v.dtype) < 8)
    return Error{ErrorCode::kUnsupported,
                 "scan outputs of " + std::string(name(v.dtype)) + " are not supported",
                 {}};
  const auto* b = static_cast<const std::byte*>(v.data);
  if (v.count)
    bytes_.insert(bytes_.end(), b, b + size_bytes_of(v.dtype, static_cast<uint64_t>(v.count)));
  return {};
}

Tensor Stacker::result(int64_t axis, bool reversed) const {
  std::vector<int64_t> dims = dims_;
  if (axis < 0) axis += rank() + 1;
  size_t outer = 1;
  for (int64_t i = 0; i < axis; ++i) outer *= static_cast<size_t>(dims[static_cast<size_t>(i)]);
  dims.insert(dims.begin() + axis, count_);
  const auto count = static_cast<size_t>(count_);
  if (dtype_ == DataType::kString)
    return Tensor::from_strings(std::move(dims), interleaved(strings_, count, outer, reversed));
  return Tensor::from_bytes(dtype_, std::move(dims), interleaved(bytes_, count, outer, reversed));
}

std::vector<Stacker> stackers_for(const SubPlan& sub, size_t first_output, size_t count) {
  std::vector<Stacker> out;
  for (size_t i = 0; i < count; ++i) out.emplace_back(sub.output_types[first_output + i]);
  return out;
}

}  // namespace onnxtool
