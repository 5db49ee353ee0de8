// MatMul, FusedMatMul, Gemm and FusedGemm on a device; shapes as cpu/matmul_shape.h resolves them.
// Floats go to device::multiply(); 32- and 64-bit integers wrap, one thread an element.

#include "calib/kernels/cpu/epilogue.h"
#include "calib/kernels/cpu/matmul_shape.h"
#include "calib/kernels/cuda/post_ops.h"
#include "calib/kernels/cuda/product.h"

namespace onnxtool {
namespace {

using device::PostOps;
using device::Precision;

struct Factors final : KernelState {
  bool transpose_a = false, transpose_b = false;
  float alpha = 1, beta = 1;
  Precision precision = Precision::kFloat32;
  std::vector<PostOp> own;  // FusedGemm
};

bool is_gemm(std::string_view op) { return op == "Gemm" || op == "FusedGemm"; }

template <Precision precision>
Result<std::unique_ptr<KernelState>> prepare(const NodeView& node) {
  ONNXTOOL_TRY(require_inputs(node, {0, 1}));
  auto state = std::make_unique<Factors>();
  if (node.op_type() != "MatMul") {
    state->transpose_a = node.attr_int("transA", 0) != 0;
    state->transpose_b = node.attr_int("transB", 0) != 0;
    state->alpha = node.attr_float("alpha", 1);
  }
  if (is_gemm(node.op_type())) state->beta = node.attr_float("beta", 1);
  if (node.op_type() == "FusedGemm") {
    ONNXTOOL_ASSIGN(const std::vector<EpilogueOp> activation, fused_activation(node));
    state->own = device::post_ops_from(activation);
  }
  state->precision = precision;
  return {std::move(state)};
}

// y[i] = post(sum + scale * c at the walk's offset), in the wide type of their elements.
template <class T>
struct AddBroadcast {
  DataType from, type;
  const void* sums;  // of type `from`
  const void* c;
  void* y;
  T scale;
  device::StridedWalk<1> walk;
  PostOps post;
  ONNXTOOL_HD void operator()(int64_t i) const {
    T value = device::load<T>(from, sums, i);
    if (c) {
      int64_t at[1];
      walk.offsets(i, at);
      value += scale * device::load<T>(type, c, at[0]);
    }
    device::store<T>(type, y, i, post.apply<T>(value, i));
  }
};

// Rounds sums of type `from` to y, with the optional input 2 added, which broadcasts to `dims`, and
// what follows.
Status add_and_round(KernelContext& ctx, std::span<const PostOp> all_post, DataType from,
                     const void* sums, float scale, std::span<const int64_t> dims,
                     const MutableView& y) {
  const bool added = ctx.has_input(2);
  ONNXTOOL_ASSIGN(const PostOps post, device::post_ops_of(ctx, all_post, 0, dims));
  if (!added && !post.count && sums == y.data) return {};
  Walk<1> walk{to_dims(dims), {Dims(dims.size(), 0)}};
  if (added) {
    const ConstView& c = ctx.input(2);
    if (c.dtype != y.dtype) return unsupported_type(c.dtype, "input 2");
    ONNXTOOL_ASSIGN(const Dims both, broadcast_dims({dims, c.dims}));
    if (!std::ranges::equal(both, dims))
      return mismatch("input 2 has shape " + format_dims(c.dims) +
                      ", which does not broadcast to " + format_dims(dims));
    walk.strides[0] = broadcast_strides(c.dims, dims);
  }
  ONNXTOOL_ASSIGN(const auto strided, device::strided_walk<1>(std::move(walk)));
  const void* c = added ? ctx.input(2).data : nullptr;
  if (y.dtype == DataType::kDouble)
    device::for_each_index(
        y.count, AddBroadcast<double>{from, y.dtype, sums, c, y.data, scale, strided, post});
  else
    device::for_each_index(
        y.count, AddBroadcast<float>{from, y.dtype, sums, c, y.data, scale, strided, post});
  return device::apply_post_ops(ctx, all_post, PostOps::kMost, y);
}

template <class T>
struct IntegerProduct {
  const T *a, *b;
  T* y;
  const int64_t *a_index, *b_index;
  int64_t m, n, k;
  ONNXTOOL_HD void operator()(int64_t i) const {
    const int64_t batch = i / (m * n), row = i / n % m, column = i % n;
    const T* from = a + (a_index[batch] * m + row) * k;
    const T* with = b + b_index[batch] * k * n + column;
    T sum = 0;
    for (int64_t j = 0; j < k; ++j) sum += from[j] * with[j * n];
    y[i] = sum;
  }
};

template <class T>
Status multiply_integers(KernelContext& ctx, const MatMulShape& s, const MutableView& y) {
  const Dims a_index = s.a_index(), b_index = s.b_index();
  const size_t size = a_index.size() * sizeof(int64_t);
  ONNXTOOL_ASSIGN(void* work, ctx.scratch(2 * size));
  auto* at = static_cast<int64_t*>(work);
  device::upload(at, a_index.data(), size);
  device::upload(at + a_index.size(), b_index.data(), size);
  device::for_each_index(
      y.count, IntegerProduct<T>{static_cast<const T*>(ctx.input(0).data),
                                 static_cast<const T*>(ctx.input(1).data), static_cast<T*>(y.data),
                                 at, at + a_index.size(), s.m, s.n, s.k});
  return {};
}

// All products of a batch: at once where the matrices lie evenly, else one by one.
Status multiply_batch(KernelContext& ctx, const MatMulShape& s, device::Product p) {
  const Dims a_index = s.a_index(), b_index = s.b_index();
  const auto a_step = device::even_step(a_index), b_step = device::even_step(b_index);
  const void *a = p.a, *b = p.b;
  auto* c = static_cast<std::byte*>(p.c);
  const bool even = a_step && b_step && !a_index.empty();
  const size_t calls = even ? 1 : a_index.size();
  p.count = even ? s.batches() : 1;
  p.a_step = even ? *a_step * s.m * s.k : 0;
  p.b_step = even ? *b_step * s.k * s.n : 0;
  p.c_step = s.m * s.n;
  for (size_t i = 0; i < calls; ++i) {
    p.a = device::element(a, p.type, a_index[i] * s.m * s.k);
    p.b = device::element(b, p.type, b_index[i] * s.k * s.n);
    p.c = c + static_cast<int64_t>(i) * p.c_step * static_cast<int64_t>(size_bytes_of(p.result, 1));
    ONNXTOOL_TRY(device::multiply(ctx, p));
  }
  return {};
}

Status run(KernelContext& ctx) {
  const auto& state = static_cast<const Factors&>(*ctx.state());
  const ConstView &a = ctx.input(0), &b = ctx.input(1);
  if (b.dtype != a.dtype)
    return mismatch("a has element type " + std::string(name(a.dtype)) + " but b has " +
                    std::string(name(b.dtype)));
  if (is_gemm(ctx.node().op_type()) && (a.rank() != 2 || b.rank() != 2))
    return mismatch("a has shape " + format_dims(a.dims) + " and b has shape " +
                    format_dims(b.dims) + ", expected rank 2");
  ONNXTOOL_ASSIGN(MatMulShape s,
                  resolve_matmul(a.dims, b.dims, state.transpose_a, state.transpose_b));
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, a.dtype, s.out));
  if (y.count == 0) return {};
  const Dims dims = s.out;
  const bool transpose_a = state.transpose_a && a.rank() > 1;
  s.collapse(!transpose_a && a.rank() > 1);
  if (!is_float(a.dtype)) {
    return bits_of(a.dtype) == 64 ? multiply_integers<uint64_t>(ctx, s, y)
                                  : multiply_integers<uint32_t>(ctx, s, y);
  }
  const DataType operand = device::operand_type(a.dtype, state.precision);
  ONNXTOOL_ASSIGN(const ConstView left, converted(ctx, a, operand));
  ONNXTOOL_ASSIGN(const ConstView right, converted(ctx, b, operand));
  device::Product p;
  p.type = operand;
  p.result = a.dtype;
  p.tf32 = state.precision == Precision::kTf32 && a.dtype == DataType::kFloat;
  p.transpose_a = transpose_a;
  p.transpose_b = state.transpose_b && b.rank() > 1;
  p.m = s.m, p.n = s.n, p.k = s.k;
  p.a = left.data, p.b = right.data, p.c = y.data;
  p.alpha = state.alpha;
  // Sums that something is added to are rounded once.
  if (ctx.has_input(2) && a.dtype != DataType::kFloat && a.dtype != DataType::kDouble) {
    p.result = DataType::kFloat;
    ONNXTOOL_ASSIGN(p.c, ctx.scratch(static_cast<size_t>(y.count) * sizeof(float)));
  }
  ONNXTOOL_TRY(multiply_batch(ctx, s, p));
  std::vector<PostOp> all_post = state.own;
  const std::span<const PostOp> fused = ctx.node().post_ops();
  all_post.insert(all_post.end(), fused.begin(), fused.end());
  return add_and_round(ctx, all_post, p.result, p.c, state.beta, dims, y);
}

constexpr std::initializer_list<DataType> kTypes = {
    DataType::kFloat, DataType::kDouble, DataType::kFloat16, DataType::kBfloat16,
    DataType::kInt32, DataType::kUint32, DataType::kInt64,   DataType::kUint64};
constexpr std::initializer_list<DataType> kFloats = {DataType::kFloat, DataType::kDouble,
                                                     DataType::kFloat16, DataType::kBfloat16};
constexpr std::initializer_list<DataType> kFloatOnly = {DataType::kFloat};

bool has_plain_batches(const NodeView& node) {
  return node.attr_int("transBatchA", 0) == 0 && node.attr_int("transBatchB", 0) == 0;
}

template <Precision precision>
constexpr KernelInfo info(std::string_view domain, std::string_view op,
                          std::initializer_list<DataType> types) {
  return {.domain = domain,
          .op = op,
          .types = precision == Precision::kFloat32 ? types : kFloatOnly,
          .prepare = prepare<precision>,
          .run = run,
          .accepts = op == "FusedMatMul" ? has_plain_batches : nullptr,
          .fuses = device::fuses_float};
}
constexpr device::ReducedKernels reduced(std::string_view domain, std::string_view op) {
  return {info<Precision::kTf32>(domain, op, {}), info<Precision::kBf16>(domain, op, {}),
          info<Precision::kFp16>(domain, op, {})};
}

}  // namespace

constinit const KernelInfo kMatMul = info<Precision::kFloat32>("", "MatMul", kTypes);
constinit const KernelInfo kFusedMatMul =
    info<Precision::kFloat32>("com.microsoft", "FusedMatMul", kFloats);
constinit const KernelInfo kGemm = info<Precision::kFloat32>("", "Gemm", kFloats);
constinit const KernelInfo kFusedGemm =
    info<Precision::kFloat32>("com.microsoft", "FusedGemm", kFloats);
constinit const device::ReducedKernels kReducedMatMul = reduced("", "MatMul");
constinit const device::ReducedKernels kReducedFusedMatMul =
    reduced("com.microsoft", "FusedMatMul");
constinit const device::ReducedKernels kReducedGemm = reduced("", "Gemm");
constinit const device::ReducedKernels kReducedFusedGemm = reduced("com.microsoft", "FusedGemm");

}  // namespace onnxtool
