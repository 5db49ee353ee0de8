// Operands, masks and caches of attention (attention_core.h), for the host and for a device.

#include <limits>

#include "calib/kernels/cpu/attention_core.h"
#include "calib/kernels/cpu/walk.h"

namespace onnxtool {

HeadShape heads_first(int64_t batches, int64_t heads, int64_t rows, int64_t size) {
  return {batches, heads, rows, size, heads * rows * size, rows * size, size};
}
HeadShape rows_first(int64_t batches, int64_t heads, int64_t rows, int64_t size) {
  return {batches, heads, rows, size, heads * rows * size, size, heads * size};
}

Result<HeadShape> head_shape(std::span<const int64_t> dims, int64_t heads, std::string_view what) {
  if (dims.size() == 4) return heads_first(dims[0], dims[1], dims[2], dims[3]);
  if (dims.size() != 3)
    return mismatch(std::string(what) + " has shape " + format_dims(dims) +
                    ", expected rank 3 or 4");
  if (heads < 1 || dims[2] % heads != 0)
    return mismatch(std::string(what) + " has shape " + format_dims(dims) +
                    ", which does not divide into " + std::to_string(heads) + " heads");
  return rows_first(dims[0], heads, dims[1], dims[2] / heads);
}

namespace {

template <class E>
struct CopyRows {
  const E* in;
  HeadShape from;
  E* out;
  HeadShape to;
  const int64_t* first;
  struct Row {
    const E* in;
    E* out;
    ONNXTOOL_HD void operator()(int64_t i) const { out[i] = in[i]; }
  };
  ONNXTOOL_HD Row row(int64_t i) const {
    const int64_t row = i % from.rows, head = i / from.rows % from.heads,
                  batch = i / from.rows / from.heads;
    const int64_t to_row = row + (first ? first[batch] : 0);
    return {in + from.offset(batch, head) + row * from.row_stride,
            out + to.offset(batch, head) + to_row * to.row_stride};
  }
};

template <class T>
struct HideUnless {
  const uint8_t* shown;
  T* bias;
  struct Row {
    const uint8_t* shown;
    T* bias;
    ONNXTOOL_HD void operator()(int64_t i) const {
      bias[i] = shown[i] != 0 ? T{0} : -std::numeric_limits<T>::infinity();
    }
  };
  ONNXTOOL_HD Row row(int64_t) const { return {shown, bias}; }
};

}  // namespace

void copy_heads(KernelContext& ctx, DataType type, const void* in, const HeadShape& from, void* out,
                const HeadShape& to, const int64_t* first) {
  HeadShape source = from;
  if (from.row_stride == from.size && to.row_stride == from.size) {  // all of a head at once
    source.size *= source.rows;
    source.rows = 1;
  }
  const auto copy = [&]<class E>() {
    for_each_cell(ctx, source.batches * source.heads * source.rows, source.size,
                  CopyRows<E>{static_cast<const E*>(in), source, static_cast<E*>(out), to, first});
  };
  switch (bits_of(type)) {
    case 16: return copy.template operator()<uint16_t>();
    case 32: return copy.template operator()<uint32_t>();
    default: return copy.template operator()<uint64_t>();
  }
}

Result<HeadTensor> append_rows(KernelContext& ctx, const ConstView* past, const HeadTensor& now,
                               int output, std::string_view what) {
  const HeadShape& s = now.shape;
  HeadShape before = heads_first(s.batches, s.heads, 0, s.size);
  if (past != nullptr) {
    const std::span<const int64_t> d = past->dims;
    if (d.size() != 4 || d[0] != s.batches || d[1] != s.heads || d[3] != s.size ||
        past->dtype != now.view.dtype)
      return mismatch(std::string(what) + " is " + std::string(name(past->dtype)) + " of shape " +
                      format_dims(d) + ", expected " + std::string(name(now.view.dtype)) + " of [" +
                      std::to_string(s.batches) + ", " + std::to_string(s.heads) + ", any, " +
                      std::to_string(s.size) + "]");
    before = heads_first(s.batches, s.heads, d[2], s.size);
  }
  const auto rows = checked_add(before.rows, s.rows);
  if (!rows) return mismatch(std::string(what) + " has too many rows");
  const Dims dims{s.batches, s.heads, *rows, s.size};
  const auto count = checked_product(dims);
  if (!count) return mismatch(std::string(what) + " has too many elements");
  HeadTensor all{now.view, heads_first(s.batches, s.heads, *rows, s.size)};
  void* data = nullptr;
  if (output >= 0 && ctx.wants_output(output)) {
    ONNXTOOL_ASSIGN(const MutableView out, ctx.output(output, now.view.dtype, dims));
    data = out.data;
  } else {
    ONNXTOOL_ASSIGN(data, ctx.scratch(static_cast<size_t>(
                              size_bytes_of(now.view.dtype, static_cast<uint64_t>(*count)))));
  }
  all.view.data = data;
  all.view.count = *count;
  if (*count == 0) return all;
  if (past != nullptr) copy_heads(ctx, past->dtype, past->data, before, data, all.shape, nullptr);
  if (s.rows == 0) return all;
  auto* to = static_cast<std::byte*>(data) +
             before.rows * s.size * static_cast<int64_t>(size_bytes_of(now.view.dtype, 1));
  copy_heads(ctx, now.view.dtype, now.view.data, s, to, all.shape, nullptr);
  return all;
}

Result<ConstView> as_bias(KernelContext& ctx, const ConstView& mask, DataType to) {
  if (mask.dtype != DataType::kBool) return converted(ctx, mask, to);
  ONNXTOOL_ASSIGN(void* buffer, ctx.scratch(size_bytes_of(to, static_cast<uint64_t>(mask.count))));
  ONNXTOOL_TRY(dispatch(to, TypeList<float, double>{}, "the mask", [&]<class T>() -> Status {
    for_each_cell(ctx, 1, mask.count,
                  HideUnless<T>{static_cast<const uint8_t*>(mask.data), static_cast<T*>(buffer)});
    return {};
  }));
  ConstView bias = mask;
  bias.dtype = to;
  bias.data = buffer;
  return bias;
}

KeyRange KeyWindow::range(int64_t batch, int64_t query, int64_t keys) const {
  const auto of = [batch](const std::vector<int64_t>& values) {
    return values[values.size() == 1 ? 0 : static_cast<size_t>(batch)];
  };
  return key_range(left, right, offsets.empty() ? 0 : of(offsets),
                   valid.empty() ? INT64_MAX : of(valid), query, keys);
}

template <class T>
Result<MaskBias<T>> MaskBias<T>::make(KeyWindow window, const ConstView* mask,
                                      std::span<const int64_t> full) {
  MaskBias bias;
  bias.window = std::move(window);
  if (mask == nullptr) return bias;
  bool fits = mask->rank() >= 1 && mask->rank() <= 4 && mask->dims.back() <= full[3];
  Dims to = to_dims(full);
  if (fits) to[3] = bias.mask_keys = mask->dims.back();
  const size_t lead = 4 - std::min<size_t>(mask->dims.size(), 4);
  for (size_t i = 0; fits && i + 1 < mask->dims.size(); ++i)
    fits = mask->dims[i] == 1 || mask->dims[i] == to[lead + i];
  if (!fits)
    return mismatch("the mask has shape " + format_dims(mask->dims) +
                    ", which does not broadcast to " + format_dims(full));
  bias.mask = static_cast<const T*>(mask->data);
  const Dims strides = broadcast_strides(mask->dims, to);
  std::copy_n(strides.begin(), 3, bias.strides.begin());
  return bias;
}

template Result<MaskBias<float>> MaskBias<float>::make(KeyWindow, const ConstView*,
                                                       std::span<const int64_t>);
template Result<MaskBias<double>> MaskBias<double>::make(KeyWindow, const ConstView*,
                                                         std::span<const int64_t>);

Status check_attention(const HeadShape& q, const HeadShape& k, const HeadShape& v) {
  const auto text = [](const HeadShape& s) {
    return "[" + std::to_string(s.batches) + ", " + std::to_string(s.heads) + ", " +
           std::to_string(s.rows) + ", " + std::to_string(s.size) + "]";
  };
  const bool fits = q.batches == k.batches && q.batches == v.batches && k.heads == v.heads &&
                    k.rows == v.rows && q.size == k.size && k.heads > 0 && q.heads % k.heads == 0;
  if (fits) return {};
  return mismatch("query, key and value of [batch, heads, rows, size] " + text(q) + ", " + text(k) +
                  " and " + text(v) + " do not fit each other");
}

}  // namespace onnxtool
