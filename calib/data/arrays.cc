#include "calib/data/arrays.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <utility>

#include "libopt/support/checked.h"
#include "libopt/support/half.h"

namespace onnxtool {
namespace {

static_assert(std::endian::native == std::endian::little, "payloads are used as they are stored");

Error mismatch(std::string message, std::string hint = {}) {
  return Error{ErrorCode::kMismatch, std::move(message), std::move(hint)};
}

uint64_t element_size_bytes(const StoredArray& a) {
  if (a.text == TextForm::kBytes) return a.text_width;
  if (a.text == TextForm::kUtf32) return a.text_width * 4;
  return size_bytes_of(a.dtype, 1);
}

// `size` is that of one number: complex values swap each of their parts.
void swap_bytes(std::span<std::byte> bytes, size_t size) {
  for (size_t i = 0; i + size <= bytes.size(); i += size)
    std::reverse(bytes.begin() + i, bytes.begin() + i + size);
}

// From the order of reversed dims to that of `dims`.
std::vector<std::byte> transpose_from_fortran(const std::vector<std::byte>& in,
                                              std::span<const int64_t> dims, size_t element) {
  const size_t rank = dims.size();
  std::vector<std::byte> out(in.size());
  std::vector<size_t> stride(rank);  // of each dim in `in`, in bytes
  size_t step = element;
  for (size_t d = 0; d < rank; ++d) {
    stride[d] = step;
    step *= static_cast<size_t>(dims[d]);
  }
  std::vector<int64_t> index(rank, 0);
  size_t from = 0;
  for (size_t to = 0; to < out.size(); to += element) {
    std::memcpy(out.data() + to, in.data() + from, element);
    for (size_t d = rank; d-- > 0;) {
      from += stride[d];
      if (++index[d] < dims[d]) break;
      from -= stride[d] * static_cast<size_t>(dims[d]);
      index[d] = 0;
    }
  }
  return out;
}

void append_utf8(uint32_t c, std::string& out) {
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xc0 | c >> 6);
    out += static_cast<char>(0x80 | (c & 63));
  } else if (c < 0x10000) {
    out += static_cast<char>(0xe0 | c >> 12);
    out += static_cast<char>(0x80 | (c >> 6 & 63));
    out += static_cast<char>(0x80 | (c & 63));
  } else {
    out += static_cast<char>(0xf0 | c >> 18);
    out += static_cast<char>(0x80 | (c >> 12 & 63));
    out += static_cast<char>(0x80 | (c >> 6 & 63));
    out += static_cast<char>(0x80 | (c & 63));
  }
}

Result<std::vector<std::string>> decode_text(const StoredArray& a, std::span<const std::byte> bytes,
                                             size_t count) {
  std::vector<std::string> out(count);
  const size_t width = a.text_width;
  for (size_t i = 0; i < count; ++i) {
    if (a.text == TextForm::kBytes) {
      const char* p = reinterpret_cast<const char*>(bytes.data()) + i * width;
      size_t length = width;
      while (length > 0 && p[length - 1] == '\0') --length;
      out[i].assign(p, length);
      continue;
    }
    size_t length = width;
    const auto at = [&](size_t k) {
      uint32_t c;
      std::memcpy(&c, bytes.data() + (i * width + k) * 4, 4);
      return c;
    };
    while (length > 0 && at(length - 1) == 0) --length;
    for (size_t k = 0; k < length; ++k) {
      if (at(k) > 0x10ffff || (at(k) >= 0xd800 && at(k) < 0xe000))
        return bad_data(a.place + ": element " + std::to_string(i) + " holds no Unicode text");
      append_utf8(at(k), out[i]);
    }
  }
  return out;
}

template <class F, class T>
bool copy_integers(const Tensor& from, std::vector<std::byte>& out, int64_t max_value,
                   std::string& culprit) {
  const std::vector<F> in = from.values<F>();
  out.resize(in.size() * sizeof(T));
  for (size_t i = 0; i < in.size(); ++i) {
    if (!std::in_range<T>(in[i]) || (max_value && std::cmp_greater(in[i], max_value))) {
      culprit = std::to_string(in[i]);
      return false;
    }
    const T v = static_cast<T>(in[i]);
    std::memcpy(out.data() + i * sizeof(T), &v, sizeof(T));
  }
  return true;
}

// Calls f with a value of the C++ type of an integer DataType (bool as uint8_t); false for any
// other.
template <class F>
bool with_integer(DataType t, F&& f) {
  switch (t) {
    case DataType::kBool:
    case DataType::kUint8: f(uint8_t{}); return true;
    case DataType::kInt8: f(int8_t{}); return true;
    case DataType::kUint16: f(uint16_t{}); return true;
    case DataType::kInt16: f(int16_t{}); return true;
    case DataType::kUint32: f(uint32_t{}); return true;
    case DataType::kInt32: f(int32_t{}); return true;
    case DataType::kUint64: f(uint64_t{}); return true;
    case DataType::kInt64: f(int64_t{}); return true;
    default: return false;
  }
}

bool is_integer(DataType t) {
  return with_integer(t, [](auto) {});
}

template <class T>
Result<Tensor> round_to(const Tensor& from) {
  const std::vector<double> in = from.to_doubles();
  std::vector<T> out(in.size());
  for (size_t i = 0; i < in.size(); ++i) {
    out[i] = T(in[i]);
    if (std::isfinite(in[i]) && !std::isfinite(static_cast<double>(out[i])))
      return mismatch("value " + std::to_string(in[i]) + " at element " + std::to_string(i) +
                      " passes the range of " + std::string(name(dtype_of<T>)));
  }
  return Tensor::from(from.dims(), out);
}

bool dims_fit(std::span<const int64_t> want, std::span<const int64_t> have) {
  return want.size() == have.size() &&
         std::equal(want.begin(), want.end(), have.begin(),
                    [](int64_t w, int64_t h) { return w < 0 || w == h; });
}

// What an array gives for an input: the match without its array index, or why it does not fit.
struct Fit {
  bool fits = false;
  Match match;
  std::vector<int64_t> dims;  // of one sample, before a batch dim is added
};

Fit fit_array(const InputSpec& spec, const StoredArray& array, std::optional<int64_t> batch_axis) {
  Fit fit;
  fit.dims = array.dims;
  if (batch_axis) {
    const auto rank = static_cast<int64_t>(array.dims.size());
    const int64_t axis = *batch_axis < 0 ? *batch_axis + rank : *batch_axis;
    if (axis < 0 || axis >= rank) return fit;
    fit.match.axis = axis;
    if (spec.known_rank && spec.dims.size() != array.dims.size()) {
      fit.match.drop_axis = true;
      fit.dims.erase(fit.dims.begin() + axis);
    } else {
      if (spec.known_rank && spec.dims[static_cast<size_t>(axis)] > 0)
        fit.match.extent = spec.dims[static_cast<size_t>(axis)];
      fit.dims[static_cast<size_t>(axis)] = fit.match.extent;
    }
  }
  if (!spec.known_rank || dims_fit(spec.dims, fit.dims)) {
    fit.fits = true;
  } else if (!batch_axis && !spec.dims.empty() && (spec.dims[0] == 1 || spec.dims[0] < 0) &&
             dims_fit(std::span(spec.dims).subspan(1), fit.dims)) {
    fit.fits = true;
    fit.match.add_batch = true;
  } else if (!batch_axis && spec.dims.empty() && fit.dims.size() == 1 && fit.dims[0] == 1) {
    fit.fits = true;
    fit.match.to_scalar = true;
  }
  return fit;
}

std::string format_array(const StoredArray& a) {
  return (a.name.empty() ? std::string() : "'" + a.name + "' ") + format_type(a.dtype, a.dims);
}

std::string list_specs(std::span<const InputSpec> specs) {
  std::string s;
  for (const InputSpec& spec : specs) s += (s.empty() ? "" : ", ") + format_spec(spec);
  return s.empty() ? "none" : s;
}

std::string list_arrays(std::span<const StoredArray> arrays) {
  std::string s;
  for (const StoredArray& a : arrays) s += (s.empty() ? "" : ", ") + format_array(a);
  return s.empty() ? "none" : s;
}

// The error of an array that was chosen for an input and does not fit it.
Error misfit(const InputSpec& spec, const StoredArray& array, const Fit& fit,
             std::optional<int64_t> batch_axis) {
  std::string found = "array is " + format_type(array.dtype, array.dims);
  if (batch_axis && !fit.match.axis) {
    return mismatch(array.place + ": " + found + ", which has no axis " +
                        std::to_string(*batch_axis) + " to take samples from",
                    "change --batch-axis");
  }
  if (batch_axis) found += ", one sample of it " + format_dims(fit.dims);
  std::string hint;
  if (!batch_axis && spec.known_rank && !array.dims.empty()) {
    const std::span<const int64_t> rest = std::span(array.dims).subspan(1);
    const bool longer = dims_fit(spec.dims, rest);
    const bool wider = !spec.dims.empty() && array.dims.size() == spec.dims.size() &&
                       dims_fit(std::span(spec.dims).subspan(1), rest);
    if (longer || wider) hint = "pass --batch-axis 0 if the array stacks samples";
  }
  return mismatch(array.place + ": " + found + ", expected " + format_spec(spec), hint);
}

}  // namespace

std::string format_type(DataType dtype, std::span<const int64_t> dims) {
  return std::string(name(dtype)) + format_dims(dims);
}

std::string format_spec(const InputSpec& spec) {
  std::string s = "'" + spec.name + "' " + std::string(name(spec.dtype));
  if (!spec.known_rank) return s + "[...]";
  s += "[";
  for (size_t i = 0; i < spec.dims.size(); ++i) {
    const bool named = i < spec.dim_names.size() && !spec.dim_names[i].empty();
    s += (i ? ", " : "") + (spec.dims[i] >= 0 ? std::to_string(spec.dims[i])
                            : named           ? spec.dim_names[i]
                                              : "?");
  }
  return s + "]";
}

std::optional<uint64_t> stored_size_bytes(const StoredArray& array) {
  const auto count = checked_product(array.dims);
  if (!count) return std::nullopt;
  const auto size = checked_mul(*count, static_cast<int64_t>(element_size_bytes(array)));
  if (!size) return std::nullopt;
  return static_cast<uint64_t>(*size);
}

Result<Tensor> load_array(const StoredArray& array, const std::optional<Slice>& slice) {
  if (array.value) {
    ONNXTOOL_CHECK(!slice);
    return *array.value;
  }
  const size_t element = element_size_bytes(array);
  std::vector<int64_t> dims = array.dims;
  size_t outer = 1, whole = 1, begin = 0, extent = 1, inner = 1;
  if (slice) {
    dims[static_cast<size_t>(slice->axis)] = slice->extent;
    // Fortran order is C order of the reversed dims.
    for (size_t d = 0; d < array.dims.size(); ++d) {
      const auto axis = static_cast<size_t>(slice->axis);
      if (d == axis) continue;
      ((d < axis) != array.fortran_order ? outer : inner) *= static_cast<size_t>(array.dims[d]);
    }
    whole = static_cast<size_t>(array.dims[static_cast<size_t>(slice->axis)]);
    begin = static_cast<size_t>(slice->begin);
    extent = static_cast<size_t>(slice->extent);
  } else {
    for (int64_t d : array.dims) inner *= static_cast<size_t>(d);
  }
  const size_t chunk = extent * inner * element;
  std::vector<std::byte> bytes(outer * chunk);
  if (chunk > 0)
    for (size_t o = 0; o < outer; ++o)
      ONNXTOOL_TRY(array.bytes->read_at(array.offset + (o * whole + begin) * inner * element,
                                        std::span(bytes).subspan(o * chunk, chunk)));

  if (array.big_endian) {
    const bool complex =
        array.dtype == DataType::kComplex64 || array.dtype == DataType::kComplex128;
    swap_bytes(bytes, array.text == TextForm::kUtf32 ? 4 : complex ? element / 2 : element);
  }
  if (array.fortran_order && dims.size() > 1 && element > 0)
    bytes = transpose_from_fortran(bytes, dims, element);
  if (array.text != TextForm::kNone) {
    ONNXTOOL_ASSIGN(std::vector<std::string> strings,
                    decode_text(array, bytes, outer * extent * inner));
    return Tensor::from_strings(std::move(dims), std::move(strings));
  }
  if (array.dtype == DataType::kBool)
    for (std::byte b : bytes)
      if (b > std::byte{1})
        return bad_data(array.place + ": a bool is stored as " +
                        std::to_string(std::to_integer<int>(b)) + ", expected 0 or 1");
  return Tensor::from_bytes(array.dtype, std::move(dims), std::move(bytes));
}

bool may_convert(DataType from, DataType to) {
  return from == to || (is_float(from) && is_float(to)) || (is_integer(from) && is_integer(to));
}

Result<Tensor> convert_tensor(Tensor tensor, DataType to) {
  const DataType from = tensor.dtype();
  if (from == to) return tensor;
  if (is_float(from) && is_float(to)) {
    switch (to) {
      case DataType::kFloat: return round_to<float>(tensor);
      case DataType::kDouble: return round_to<double>(tensor);
      case DataType::kFloat16: return round_to<Half>(tensor);
      default: return round_to<Bfloat16>(tensor);
    }
  }
  if (!is_integer(from) || !is_integer(to))
    return mismatch(
        "elements are " + std::string(name(from)) + ", expected " + std::string(name(to)),
        "convert the data: floats are taken for floats and integers for integers, nothing else");
  std::vector<std::byte> out;
  std::string culprit;
  bool ok = false;
  with_integer(from, [&]<class F>(F) {
    with_integer(to, [&]<class T>(T) {
      ok = copy_integers<F, T>(tensor, out, to == DataType::kBool ? 1 : 0, culprit);
    });
  });
  if (!ok)
    return mismatch("value " + culprit + " of " + std::string(name(from)) +
                    " elements does not fit " + std::string(name(to)));
  return Tensor::from_bytes(to, tensor.dims(), std::move(out));
}

Result<std::vector<Match>> match_arrays(std::span<const InputSpec> specs,
                                        std::span<const StoredArray> arrays,
                                        std::optional<int64_t> batch_axis,
                                        const std::string& place) {
  constexpr size_t kNone = SIZE_MAX;
  std::vector<size_t> chosen(specs.size(), kNone);
  std::vector<bool> taken(arrays.size(), false);
  const auto choose = [&](size_t spec, size_t array) {
    chosen[spec] = array;
    taken[array] = true;
  };
  const auto all_chosen = [&] {
    return std::find(chosen.begin(), chosen.end(), kNone) == chosen.end();
  };

  if (specs.size() == 1 && arrays.size() == 1) {
    choose(0, 0);
  } else {
    for (size_t s = 0; s < specs.size(); ++s)
      for (size_t a = 0; a < arrays.size(); ++a)
        if (!arrays[a].name.empty() && arrays[a].name == specs[s].name) choose(s, a);

    const bool positions =
        specs.size() == arrays.size() &&
        std::all_of(arrays.begin(), arrays.end(), [&](const StoredArray& a) {
          return a.position >= 0 && static_cast<size_t>(a.position) < specs.size();
        });
    if (!all_chosen() && positions)
      for (size_t a = 0; a < arrays.size(); ++a) choose(static_cast<size_t>(arrays[a].position), a);

    if (!all_chosen()) {
      const std::vector<bool> named = taken;
      std::vector<size_t> candidates(specs.size(), 0), claims(arrays.size(), 0);
      for (size_t s = 0; s < specs.size(); ++s) {
        if (chosen[s] != kNone) continue;
        for (size_t a = 0; a < arrays.size(); ++a) {
          if (named[a] || !may_convert(arrays[a].dtype, specs[s].dtype) ||
              !fit_array(specs[s], arrays[a], batch_axis).fits)
            continue;
          ++candidates[s];
          ++claims[a];
          choose(s, a);
        }
      }
      for (size_t s = 0; s < specs.size(); ++s)
        if (chosen[s] == kNone || candidates[s] > 1 || claims[chosen[s]] > 1)
          return mismatch(
              place + ": the data does not tell which array is input " + format_spec(specs[s]) +
                  "; arrays: " + list_arrays(arrays) + "; inputs: " + list_specs(specs),
              "name the arrays as the inputs; without names shape and type must be unique");
    }
  }

  std::vector<Match> matches(specs.size());
  for (size_t s = 0; s < specs.size(); ++s) {
    const StoredArray& array = arrays[chosen[s]];
    Fit fit = fit_array(specs[s], array, batch_axis);
    if (!fit.fits) return misfit(specs[s], array, fit, batch_axis);
    if (!may_convert(array.dtype, specs[s].dtype))
      return mismatch(
          array.place + ": array is " + format_type(array.dtype, array.dims) + ", expected " +
              format_spec(specs[s]),
          "convert the data: floats are taken for floats and integers for integers, nothing else");
    fit.match.array = chosen[s];
    matches[s] = fit.match;
  }
  return matches;
}

Result<Tensor> load_input(const InputSpec& spec, const StoredArray& array, const Match& match,
                          int64_t index) {
  std::optional<Slice> slice;
  if (match.axis) slice = Slice{*match.axis, index * match.extent, match.extent};
  ONNXTOOL_ASSIGN(Tensor tensor, load_array(array, slice));
  std::vector<int64_t> dims = tensor.dims();
  if (match.drop_axis) dims.erase(dims.begin() + *match.axis);
  if (match.add_batch) dims.insert(dims.begin(), 1);
  if (match.to_scalar) dims.clear();
  if (dims != tensor.dims()) tensor = tensor.reshaped(std::move(dims));
  Result<Tensor> converted = convert_tensor(std::move(tensor), spec.dtype);
  if (!converted.ok()) return std::move(converted).error().at(array.place);
  return converted;
}

std::string describe_match(const InputSpec& spec, const StoredArray& array, const Match& match) {
  std::string s = format_array(array);
  if (match.axis) s += " along axis " + std::to_string(*match.axis);
  if (match.add_batch) s += " with a batch dim in front";
  if (match.to_scalar) s += " as a scalar";
  if (array.dtype != spec.dtype) s += " as " + std::string(name(spec.dtype));
  return s;
}

}  // namespace onnxtool
