// Operators that pick elements by value or position: NonZero, Compress, ReverseSequence, Unique.

#include <algorithm>
#include <compare>
#include <complex>
#include <numeric>

#include "calib/kernels/cpu/indices.h"
#include "calib/kernels/cpu/walk.h"

namespace onnxtool {
namespace {

// Where elements are not zero: strings that are not empty, complex numbers of which a part is not
// 0.
Result<std::vector<int64_t>> find_nonzero(KernelContext& ctx) {
  const ConstView& given = ctx.input(0);
  std::vector<int64_t> found;
  const auto find = [&]<class T>(const T* values) {
    for (int64_t i = 0; i < given.count; ++i)
      if (values[i] != T{}) found.push_back(i);
  };
  switch (given.dtype) {
    case DataType::kString: find(static_cast<const std::string*>(given.data)); return found;
    case DataType::kComplex64:
      find(static_cast<const std::complex<float>*>(given.data));
      return found;
    case DataType::kComplex128:
      find(static_cast<const std::complex<double>*>(given.data));
      return found;
    default: break;
  }
  ONNXTOOL_ASSIGN(const ConstView x, widened(ctx, given));
  ONNXTOOL_TRY(dispatch(x.dtype, WideTypes{}, "input 0", [&]<class T>() -> Status {
    find(static_cast<const T*>(x.data));
    return {};
  }));
  return found;
}

// [rank, n]: the indices of elements that are not zero, in row-major order.
Status nonzero(KernelContext& ctx) {
  const ConstView& x = ctx.input(0);
  ONNXTOOL_ASSIGN(std::vector<int64_t> found, find_nonzero(ctx));
  const auto n = static_cast<int64_t>(found.size());
  const Dims dims{x.rank(), n};
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, DataType::kInt64, dims));
  int64_t* out = y.as<int64_t>().data();
  for (int64_t d = x.rank(); d-- > 0;) {
    const int64_t extent = x.dims[static_cast<size_t>(d)];
    for (int64_t i = 0; i < n; ++i) {
      int64_t& rest = found[static_cast<size_t>(i)];
      out[d * n + i] = rest % extent;
      rest /= extent;
    }
  }
  return {};
}

Status compress(KernelContext& ctx) {
  const DataType type = ctx.input(0).dtype;
  const ConstView& condition = ctx.input(1);
  if (condition.dtype != DataType::kBool || condition.rank() != 1)
    return mismatch("condition is " + std::string(name(condition.dtype)) + " of shape " +
                    format_dims(condition.dims) + ", expected bool of rank 1");
  ONNXTOOL_ASSIGN(const ConstView x, unpacked(ctx, ctx.input(0)));
  LineShape shape{1, x.count, 1};
  Dims dims{0};
  size_t axis = 0;
  if (ctx.node().has_attribute("axis")) {
    ONNXTOOL_ASSIGN(const int64_t a, resolve_axis(ctx.node().attr_int("axis", 0), x.rank()));
    shape = line_shape(x.dims, a);
    dims = to_dims(x.dims);
    axis = static_cast<size_t>(a);
  }
  if (condition.count > shape.n)
    return mismatch("condition has " + std::to_string(condition.count) +
                    " elements for an extent of " + std::to_string(shape.n));
  std::vector<int64_t> kept;
  for (int64_t i = 0; i < condition.count; ++i)
    if (condition.as<uint8_t>()[static_cast<size_t>(i)] != 0) kept.push_back(i);
  dims[axis] = static_cast<int64_t>(kept.size());
  ONNXTOOL_ASSIGN(const MovedOutput y, MovedOutput::make(ctx, 0, type, dims));
  if (y.count() == 0) return {};
  dispatch_movement(x.dtype, [&]<class E>() {
    const E* from = static_cast<const E*>(x.data);
    E* to = static_cast<E*>(y.data());
    for (int64_t o = 0; o < shape.outer; ++o)
      for (const int64_t i : kept)
        to = std::copy_n(from + (o * shape.n + i) * shape.inner, shape.inner, to);
  });
  y.finish();
  return {};
}

Status reverse_sequence(KernelContext& ctx) {
  const int64_t time_axis = ctx.node().attr_int("time_axis", 0),
                batch_axis = ctx.node().attr_int("batch_axis", 1);
  const DataType type = ctx.input(0).dtype;
  ONNXTOOL_ASSIGN(const ConstView x, unpacked(ctx, ctx.input(0)));
  if (x.rank() < 2)
    return mismatch("input has shape " + format_dims(x.dims) + ", expected at least rank 2");
  if (time_axis + batch_axis != 1 || time_axis < 0 || time_axis > 1)
    return bad_model("time_axis is " + std::to_string(time_axis) + " and batch_axis " +
                     std::to_string(batch_axis) + ", expected 0 and 1 in either order");
  const int64_t times = x.dims[static_cast<size_t>(time_axis)],
                batches = x.dims[static_cast<size_t>(batch_axis)];
  ONNXTOOL_ASSIGN(const Dims lengths, integer_values(ctx.input(1), "sequence_lens"));
  if (static_cast<int64_t>(lengths.size()) != batches)
    return mismatch("sequence_lens has " + std::to_string(lengths.size()) + " elements for " +
                    std::to_string(batches) + " batches");
  for (const int64_t length : lengths)
    if (length < 0 || length > times)
      return mismatch("sequence_lens has " + std::to_string(length) + " for " +
                      std::to_string(times) + " time steps");
  ONNXTOOL_ASSIGN(const MovedOutput y, MovedOutput::make(ctx, 0, type, x.dims));
  if (y.count() == 0) return {};
  const int64_t inner = product(x.dims, 2, x.dims.size());
  const int64_t time_stride = time_axis == 0 ? batches * inner : inner,
                batch_stride = time_axis == 0 ? inner : times * inner;
  dispatch_movement(x.dtype, [&]<class E>() {
    const E* from = static_cast<const E*>(x.data);
    E* to = static_cast<E*>(y.data());
    for (int64_t b = 0; b < batches; ++b) {
      const int64_t length = lengths[static_cast<size_t>(b)];
      for (int64_t t = 0; t < times; ++t)
        std::copy_n(from + b * batch_stride + (t < length ? length - 1 - t : t) * time_stride,
                    inner, to + b * batch_stride + t * time_stride);
    }
  });
  y.finish();
  return {};
}

// Subtensors along `axis` (or elements): the distinct ones, with their first positions, the mapping
// back, and counts.
template <class T>
Status unique_of(KernelContext& ctx, const ConstView& x, const T* values) {
  const bool sorted = ctx.node().attr_int("sorted", 1) != 0;
  LineShape shape{1, x.count, 1};
  Dims dims{0};
  size_t axis = 0;
  if (ctx.node().has_attribute("axis")) {
    ONNXTOOL_ASSIGN(const int64_t a, resolve_axis(ctx.node().attr_int("axis", 0), x.rank()));
    shape = line_shape(x.dims, a);
    dims = to_dims(x.dims);
    axis = static_cast<size_t>(a);
  }
  const auto element = [&](int64_t i, int64_t j) -> const T& {
    return values[(j / shape.inner * shape.n + i) * shape.inner + j % shape.inner];
  };
  const int64_t length = shape.outer * shape.inner;
  // NaN sorts last and NaNs are equal, so that the order is total.
  const auto before = [&](int64_t a, int64_t b) {
    for (int64_t j = 0; j < length; ++j) {
      const T &p = element(a, j), &q = element(b, j);
      if (p < q || (q != q && p == p)) return -1;
      if (q < p || (p != p && q == q)) return 1;
    }
    return 0;
  };
  std::vector<int64_t> order(static_cast<size_t>(shape.n));
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return before(a, b) < 0; });
  std::vector<int64_t> first, counts, inverse(order.size());
  for (size_t i = 0; i < order.size(); ++i) {
    if (i == 0 || before(order[i - 1], order[i]) != 0) {
      first.push_back(order[i]);
      counts.push_back(0);
    }
    inverse[static_cast<size_t>(order[i])] = static_cast<int64_t>(first.size()) - 1;
    ++counts.back();
  }
  if (!sorted) {  // by first appearance
    std::vector<int64_t> rank(first.size()), place(first.size());
    std::iota(rank.begin(), rank.end(), int64_t{0});
    std::ranges::sort(rank, {}, [&](int64_t g) { return first[static_cast<size_t>(g)]; });
    const std::vector<int64_t> old_first = first, old_counts = counts;
    for (size_t i = 0; i < rank.size(); ++i) {
      first[i] = old_first[static_cast<size_t>(rank[i])];
      counts[i] = old_counts[static_cast<size_t>(rank[i])];
      place[static_cast<size_t>(rank[i])] = static_cast<int64_t>(i);
    }
    for (int64_t& g : inverse) g = place[static_cast<size_t>(g)];
  }
  const auto n = static_cast<int64_t>(first.size());
  dims[axis] = n;
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, ctx.input(0).dtype, dims));
  const DataType type = ctx.input(0).dtype;
  dispatch_movement(type, [&]<class E>() {
    const E* from = static_cast<const E*>(ctx.input(0).data);
    E* to = static_cast<E*>(y.data);
    for (int64_t o = 0; o < shape.outer; ++o)
      for (const int64_t i : first)
        to = std::copy_n(from + (o * shape.n + i) * shape.inner, shape.inner, to);
  });
  const std::vector<int64_t>* const extra[] = {&first, &inverse, &counts};
  for (int i = 0; i < 3; ++i) {
    if (!ctx.wants_output(i + 1)) continue;
    const auto count = static_cast<int64_t>(extra[i]->size());
    ONNXTOOL_ASSIGN(const MutableView out,
                    ctx.output(i + 1, DataType::kInt64, std::span(&count, 1)));
    std::ranges::copy(*extra[i], out.as<int64_t>().begin());
  }
  return {};
}

Status unique(KernelContext& ctx) {
  const ConstView& x = ctx.input(0);
  if (is_packed(x.dtype)) return unsupported_type(x.dtype, "input 0");
  if (x.dtype == DataType::kString)
    return unique_of(ctx, x, static_cast<const std::string*>(x.data));
  ONNXTOOL_ASSIGN(const ConstView wide, widened(ctx, x));
  return dispatch(wide.dtype, WideTypes{}, "input 0", [&]<class T>() {
    return unique_of(ctx, wide, static_cast<const T*>(wide.data));
  });
}

}  // namespace

constinit const KernelInfo kNonZero{.op = "NonZero", .prepare = needs_inputs<1>, .run = nonzero};
constinit const KernelInfo kCompress{.op = "Compress", .prepare = needs_inputs<2>, .run = compress};
constinit const KernelInfo kReverseSequence{
    .op = "ReverseSequence", .prepare = needs_inputs<2>, .run = reverse_sequence};
constinit const KernelInfo kUnique{.op = "Unique", .prepare = needs_inputs<1>, .run = unique};

}  // namespace onnxtool
