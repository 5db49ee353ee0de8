// Engines for elementwise operators (see the header).

#include "calib/kernels/cpu/elementwise.h"

#include <algorithm>
#include <optional>

#include "calib/kernels/cpu/walk.h"

namespace onnxtool {
namespace {

int64_t block_of(Layout layout) {
  return layout == Layout::kBlocked8 ? 8 : layout == Layout::kBlocked16 ? 16 : 1;
}

bool same_dims(std::span<const int64_t> a, std::span<const int64_t> b) {
  return std::ranges::equal(a, b);
}

// Loads blocks of `type`, runs on wide elements, stores.
template <class W>
void unary_blocks(DataType type, DataType result, const void* x, void* y, int64_t begin,
                  int64_t end, UnaryRun run, const void* closure) {
  W in[kBlock], out[kBlock];
  while (begin < end) {
    const int64_t n = std::min(kBlock, end - begin);
    load_wide<W>(type, x, begin, n, in);
    if (result == DataType::kBool) {
      run(closure, in, static_cast<uint8_t*>(y) + begin, n);
    } else {
      run(closure, in, out, n);
      store_wide<W>(type, out, n, y, begin);
    }
    begin += n;
  }
}

template <class W>
void binary_blocks(DataType type, DataType result, const void* a, int64_t a_first, int64_t a_step,
                   const void* b, int64_t b_first, int64_t b_step, void* out, int64_t first,
                   int64_t count, BinaryRun run, const void* closure) {
  W x[kBlock], y[kBlock], z[kBlock];
  if (a_step == 0) load_wide<W>(type, a, a_first, 1, x);
  if (b_step == 0) load_wide<W>(type, b, b_first, 1, y);
  for (int64_t i = 0; i < count; i += kBlock) {
    const int64_t n = std::min(kBlock, count - i);
    if (a_step != 0) load_wide<W>(type, a, a_first + i, n, x);
    if (b_step != 0) load_wide<W>(type, b, b_first + i, n, y);
    if (result == DataType::kBool) {
      run(closure, x, a_step, y, b_step, static_cast<uint8_t*>(out) + first + i, n);
    } else {
      run(closure, x, a_step, y, b_step, z, n);
      store_wide<W>(type, z, n, out, first + i);
    }
  }
}

}  // namespace

void clear_padding(const MutableView& view) {
  const int64_t block = block_of(view.layout);
  if (block == 1 || view.count == 0 || view.dims[1] % block == 0) return;
  const int64_t channels = view.dims[1], blocks = (channels + block - 1) / block;
  const int64_t pixels = product(view.dims, 2, view.dims.size());
  const auto size = static_cast<int64_t>(size_bytes_of(view.dtype, 1));
  const int64_t used = channels % block;
  auto* bytes = static_cast<std::byte*>(view.data);
  for (int64_t n = 0; n < view.dims[0]; ++n)
    for (int64_t p = 0; p < pixels; ++p) {
      const int64_t pixel = ((n * blocks + blocks - 1) * pixels + p) * block;
      std::fill_n(bytes + (pixel + used) * size, (block - used) * size, std::byte{0});
    }
}

Result<ConstView> in_plain_order(KernelContext& ctx, const ConstView& view) {
  if (view.layout == Layout::kPlain) return view;
  const int64_t channels = view.dims[1], pixels = product(view.dims, 2, view.dims.size());
  ONNXTOOL_ASSIGN(void* buffer,
                  ctx.scratch(size_bytes_of(view.dtype, static_cast<uint64_t>(view.count))));
  const int64_t block = view.layout == Layout::kChannelsLast ? channels : block_of(view.layout);
  const int64_t blocks = block == 0 ? 0 : (channels + block - 1) / block;
  dispatch_movement(view.dtype, [&]<class E>() {
    const E* in = static_cast<const E*>(view.data);
    E* out = static_cast<E*>(buffer);
    for (int64_t n = 0; n < view.dims[0]; ++n)
      for (int64_t c = 0; c < channels; ++c) {
        const E* from = in + (n * blocks + c / block) * pixels * block + c % block;
        for (int64_t p = 0; p < pixels; ++p) *out++ = from[p * block];
      }
  });
  ConstView plain = view;
  plain.data = buffer;
  plain.layout = Layout::kPlain;
  return plain;
}

int64_t physical_count(std::span<const int64_t> dims, Layout layout, int64_t count) {
  const int64_t block = block_of(layout);
  if (block == 1 || count == 0) return count;
  return count / dims[1] * ((dims[1] + block - 1) / block * block);
}

Status run_unary(KernelContext& ctx, int input, DataType result, bool raw, UnaryRun run,
                 const void* closure) {
  const ConstView& x = ctx.input(input);
  const auto size = static_cast<int64_t>(size_bytes_of(x.dtype, 1));
  const auto result_size = static_cast<int64_t>(size_bytes_of(result, 1));
  ONNXTOOL_ASSIGN(const MutableView y, size == result_size
                                           ? ctx.output_in_place(0, input, result, x.dims)
                                           : ctx.output(0, result, x.dims, x.layout));
  const int64_t count = physical_count(x.dims, x.layout, x.count);
  const bool direct = raw || is_wide(x.dtype);
  ctx.parallel(count, kGrain, [&](int64_t begin, int64_t end) {
    if (direct) {
      run(closure, at(x, begin * size), static_cast<std::byte*>(y.data) + begin * result_size,
          end - begin);
    } else if (wide_type(x.dtype) == DataType::kFloat) {
      unary_blocks<float>(x.dtype, result, x.data, y.data, begin, end, run, closure);
    } else if (wide_type(x.dtype) == DataType::kInt32) {
      unary_blocks<int32_t>(x.dtype, result, x.data, y.data, begin, end, run, closure);
    } else {
      unary_blocks<int64_t>(x.dtype, result, x.data, y.data, begin, end, run, closure);
    }
  });
  clear_padding(y);
  return {};
}

namespace {

// Where no conversion is needed.
void walk_direct(KernelContext& ctx, const ConstView& a, const ConstView& b, const MutableView& dst,
                 const Walk<2>& walk, int64_t count, BinaryRun run, const void* closure) {
  const auto size = static_cast<int64_t>(size_bytes_of(a.dtype, 1));
  const auto result_size = static_cast<int64_t>(size_bytes_of(dst.dtype, 1));
  const int64_t a_step = walk.inner_stride(0), b_step = walk.inner_stride(1);
  parallel_walk<2>(ctx, walk, count, kGrain,
                   [&](int64_t first, int64_t n, const std::array<int64_t, 2>& at_ab) {
                     run(closure, at(a, at_ab[0] * size), a_step, at(b, at_ab[1] * size), b_step,
                         static_cast<std::byte*>(dst.data) + first * result_size, n);
                   });
}

}  // namespace

void binary_into(KernelContext& ctx, const ConstView& a, const ConstView& b, const MutableView& dst,
                 bool raw, BinaryRun run, const void* closure) {
  const bool direct = raw || is_wide(a.dtype);
  Walk<2> walk;
  int64_t count = dst.count;
  if (dst.layout != Layout::kPlain) {  // equal layouts, or a single element
    count = physical_count(dst.dims, dst.layout, dst.count);
    walk = {{count}, {Dims{a.layout == dst.layout ? 1 : 0}, Dims{b.layout == dst.layout ? 1 : 0}}};
  } else {
    walk = {to_dims(dst.dims),
            {broadcast_strides(a.dims, dst.dims), broadcast_strides(b.dims, dst.dims)}};
    walk.coalesce();
  }
  const int64_t a_step = walk.inner_stride(0), b_step = walk.inner_stride(1);
  if (direct) {
    walk_direct(ctx, a, b, dst, walk, count, run, closure);
    clear_padding(dst);
    return;
  }
  parallel_walk<2>(ctx, walk, count, kGrain,
                   [&](int64_t first, int64_t n, const std::array<int64_t, 2>& at_ab) {
                     if (wide_type(a.dtype) == DataType::kFloat) {
                       binary_blocks<float>(a.dtype, dst.dtype, a.data, at_ab[0], a_step, b.data,
                                            at_ab[1], b_step, dst.data, first, n, run, closure);
                     } else if (wide_type(a.dtype) == DataType::kInt32) {
                       binary_blocks<int32_t>(a.dtype, dst.dtype, a.data, at_ab[0], a_step, b.data,
                                              at_ab[1], b_step, dst.data, first, n, run, closure);
                     } else {
                       binary_blocks<int64_t>(a.dtype, dst.dtype, a.data, at_ab[0], a_step, b.data,
                                              at_ab[1], b_step, dst.data, first, n, run, closure);
                     }
                   });
  clear_padding(dst);
}

namespace {

// Operands whose elements lie in rows: b (or a) has one element, or those of the last axes.
struct Rows {
  int64_t count = 0, length = 0;              // of the larger operand
  bool repeats_a = false, repeats_b = false;  // the same row every time
  int64_t a_step = 1, b_step = 1;             // 0: a single element
};

// nullopt: the operands broadcast in another way, or not at all.
std::optional<Rows> as_rows(const ConstView& a, const ConstView& b) {
  if (a.layout != b.layout && a.count != 1 && b.count != 1) return std::nullopt;
  if (same_dims(a.dims, b.dims)) {
    const int64_t n = physical_count(a.dims, a.layout, a.count);
    return a.layout == b.layout ? std::optional<Rows>({1, n, false, false, 1, 1}) : std::nullopt;
  }
  const bool b_small = b.rank() < a.rank() || (b.rank() == a.rank() && b.count <= a.count);
  const ConstView &large = b_small ? a : b, &small = b_small ? b : a;
  const int64_t n = physical_count(large.dims, large.layout, large.count);
  if (small.count == 1 && small.rank() <= large.rank() && small.layout == Layout::kPlain)
    return b_small ? Rows{1, n, false, false, 1, 0} : Rows{1, n, false, false, 0, 1};
  if (large.layout != Layout::kPlain || small.layout != Layout::kPlain || small.count == 0 ||
      n == 0)
    return std::nullopt;
  std::span<const int64_t> tail = small.dims;
  while (!tail.empty() && tail.front() == 1) tail = tail.subspan(1);
  if (!same_dims(tail, large.dims.last(tail.size()))) return std::nullopt;
  return b_small ? Rows{n / b.count, b.count, false, true, 1, 1}
                 : Rows{n / a.count, a.count, true, false, 1, 1};
}

Status run_rows(KernelContext& ctx, const ConstView& a, const ConstView& b, const Rows& rows,
                DataType result, BinaryRun run, const void* closure) {
  const auto size = static_cast<int64_t>(size_bytes_of(a.dtype, 1));
  const auto result_size = static_cast<int64_t>(size_bytes_of(result, 1));
  const bool full_a = rows.a_step != 0 && !rows.repeats_a;
  const ConstView& full = full_a ? a : b;
  ONNXTOOL_ASSIGN(const MutableView out,
                  size == result_size ? ctx.output_in_place(0, full_a ? 0 : 1, result, full.dims)
                                      : ctx.output(0, result, full.dims, full.layout));
  ctx.parallel(rows.count * rows.length, kGrain, [&](int64_t begin, int64_t end) {
    // In elements of the result; a row may be cut by the pieces.
    while (begin < end) {
      const int64_t column = begin % rows.length, n = std::min(rows.length - column, end - begin);
      const int64_t at_a = rows.a_step == 0 ? 0 : rows.repeats_a ? column : begin;
      const int64_t at_b = rows.b_step == 0 ? 0 : rows.repeats_b ? column : begin;
      run(closure, at(a, at_a * size), rows.a_step, at(b, at_b * size), rows.b_step,
          static_cast<std::byte*>(out.data) + begin * result_size, n);
      begin += n;
    }
  });
  clear_padding(out);
  return {};
}

// [N, C, spatial...] in the order [N, spatial..., C].
Dims channels_last(std::span<const int64_t> dims) {
  Dims out = to_dims(dims);
  std::rotate(out.begin() + 1, out.begin() + 2, out.end());
  return out;
}

// Strides that read `view` at `dims`, both in the order [N, spatial..., C].
Dims channels_last_strides(const ConstView& view, std::span<const int64_t> dims) {
  if (view.layout == Layout::kChannelsLast)
    return broadcast_strides(channels_last(view.dims), channels_last(dims));
  return channels_last(broadcast_strides(view.dims, dims));
}

// Whether the operands can be read where they lie for a result with its channels last: gates of
// one value for each channel beside images are common.
bool reads_channels_last(const ConstView& a, const ConstView& b, std::span<const int64_t> dims) {
  if (dims.size() < 3 || product(dims) == 0) return false;
  bool any = false;
  for (const ConstView* v : {&a, &b}) {
    if (v->layout != Layout::kPlain && v->layout != Layout::kChannelsLast) return false;
    any |= v->layout == Layout::kChannelsLast && same_dims(v->dims, dims);
    if (v->layout == Layout::kChannelsLast && v->rank() != static_cast<int64_t>(dims.size()))
      return false;
    const int64_t step = channels_last_strides(*v, dims).back();
    if (step != 0 && step != 1) return false;
  }
  return any;
}

}  // namespace

Status run_binary(KernelContext& ctx, const ConstView& a_given, const ConstView& b_given,
                  DataType result, bool raw, BinaryRun run, const void* closure) {
  if (a_given.dtype != b_given.dtype)
    return bad_model("inputs have element types " + std::string(name(a_given.dtype)) + " and " +
                     std::string(name(b_given.dtype)) + ", expected equal ones");
  if (is_packed(a_given.dtype)) return unsupported_type(a_given.dtype, "input 0");
  ConstView a = a_given, b = b_given;
  if (raw || is_wide(a.dtype))
    if (const auto rows = as_rows(a, b)) return run_rows(ctx, a, b, *rows, result, run, closure);
  ONNXTOOL_ASSIGN(const Dims dims, broadcast_dims({a.dims, b.dims}));
  const bool a_full = same_dims(a.dims, dims), b_full = same_dims(b.dims, dims);
  const bool one_layout = a_full && b_full ? a.layout == b.layout
                          : a_full         ? b.count == 1 && b.layout == Layout::kPlain
                                           : b_full && a.count == 1 && a.layout == Layout::kPlain;
  if (!one_layout && (raw || is_wide(a.dtype)) && reads_channels_last(a, b, dims)) {
    const bool from_a = a_full && a.layout == Layout::kChannelsLast;
    ONNXTOOL_ASSIGN(const MutableView out,
                    size_bytes_of(result, 1) == size_bytes_of(a.dtype, 1)
                        ? ctx.output_in_place(0, from_a ? 0 : 1, result, dims)
                        : ctx.output(0, result, dims, Layout::kChannelsLast));
    Walk<2> walk{channels_last(dims),
                 {channels_last_strides(a, dims), channels_last_strides(b, dims)}};
    walk.coalesce();
    walk_direct(ctx, a, b, out, walk, out.count, run, closure);
    return {};
  }
  if (!one_layout) {
    ONNXTOOL_ASSIGN(a, in_plain_order(ctx, a));
    ONNXTOOL_ASSIGN(b, in_plain_order(ctx, b));
  }
  // A buffer is taken over only in the layout that its input came in.
  const bool same_size = size_bytes_of(result, 1) == size_bytes_of(a.dtype, 1);
  const bool reuse_a = same_size && a_full && a.layout == a_given.layout;
  const bool reuse_b = same_size && b_full && b.layout == b_given.layout;
  const Layout layout = a_full ? a.layout : b_full ? b.layout : Layout::kPlain;
  ONNXTOOL_ASSIGN(const MutableView out, reuse_a   ? ctx.output_in_place(0, 0, result, dims)
                                         : reuse_b ? ctx.output_in_place(0, 1, result, dims)
                                                   : ctx.output(0, result, dims, layout));
  binary_into(ctx, a, b, out, raw, run, closure);
  return {};
}

}  // namespace onnxtool
