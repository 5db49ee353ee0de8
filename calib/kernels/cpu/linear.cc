// Gemm-1, 6, 7, 9, 11, 13 and com.microsoft.FusedGemm-1:
//   y = alpha * op(a) * op(b) + beta * c, c broadcast to [m, n]; FusedGemm then activates.
// f32 and f64; f16 and bf16 are computed in float and rounded once; 32- and 64-bit integers sum
// exactly (wrapping) and are scaled in double.

#include <cmath>

#include "calib/kernels/cpu/epilogue.h"
#include "calib/kernels/cpu/float_io.h"
#include "calib/kernels/cpu/gemm.h"
#include "calib/kernels/cpu/vector_math.h"

namespace onnxtool {
namespace {

struct LinearState final : KernelState {
  const GemmIsa* isa;
  bool transpose_a = false, transpose_b = false;
  float alpha = 1, beta = 1;
  std::vector<EpilogueOp> own;  // FusedGemm
  // Packed b with its type and shape, when it is constant: run() then reads no input 1.
  AlignedArray<float> b;
  AlignedArray<double> b64;
  DataType b_type = DataType::kUndefined;
  Dims b_dims;

  bool packed() const { return b || b64; }
};

struct LinearShape {
  int64_t m, n, k;
};

template <class T>
MatrixPanels<T> panels_of_b(const T* b, const LinearShape& s, bool transpose,
                            int64_t reuse = 1000) {
  return transpose ? MatrixPanels<T>(b, 1, s.k, reuse) : MatrixPanels<T>(b, s.n, 1, reuse);
}

template <const GemmIsa& (*kIsa)()>
Result<std::unique_ptr<KernelState>> prepare(const NodeView& node) {
  ONNXTOOL_TRY(require_inputs(node, {0, 1}));
  auto state = std::make_unique<LinearState>();
  state->isa = &kIsa();
  state->transpose_a = node.attr_int("transA", 0) != 0;
  state->transpose_b = node.attr_int("transB", 0) != 0;
  state->alpha = node.attr_float("alpha", 1);
  state->beta = node.attr_float("beta", 1);
  if (node.op_type() == "FusedGemm") {
    ONNXTOOL_ASSIGN(state->own, fused_activation(node));
  }
  const ConstView* b = node.constant(1);
  if (!b || b->rank() != 2 || !is_float(b->dtype)) return {std::move(state)};
  const LinearShape s{0, b->dims[state->transpose_b ? 0 : 1], b->dims[state->transpose_b ? 1 : 0]};
  if (b->dtype == DataType::kDouble) {
    state->b64 = pack_all(panels_of_b(static_cast<const double*>(b->data), s, state->transpose_b),
                          s.n, s.k, tile_cols_of<double>(*state->isa));
  } else {
    const auto wide = widened_constant<float, AlignedArray<float>>(*b);
    state->b = pack_all(panels_of_b(wide.data(), s, state->transpose_b), s.n, s.k,
                        tile_cols_of<float>(*state->isa));
  }
  state->b_type = b->dtype;
  state->b_dims = to_dims(b->dims);
  node.drop_constant(1);
  return {std::move(state)};
}

const float* packed_b(const LinearState& s, float) { return s.b.data(); }
const double* packed_b(const LinearState& s, double) { return s.b64.data(); }

/// Where c[i, j] lies once c is broadcast: i * row + j * col.
struct AddedStrides {
  int64_t row = 0, col = 0;
};
Result<AddedStrides> broadcast_added(std::span<const int64_t> dims, const LinearShape& s) {
  const int64_t rows = dims.size() > 1 ? dims[dims.size() - 2] : 1,
                cols = dims.empty() ? 1 : dims.back();
  if (dims.size() > 2 || (rows != 1 && rows != s.m) || (cols != 1 && cols != s.n))
    return mismatch("c has shape " + format_dims(dims) + ", which does not broadcast to [" +
                    std::to_string(s.m) + ", " + std::to_string(s.n) + "]");
  return AddedStrides{rows == 1 ? 0 : cols, cols == 1 ? 0 : 1};
}

void scale_row(float* y, int64_t n, float by) { vector_math().mul(y, 1, &by, 0, y, n); }
void scale_row(double* y, int64_t n, double by) {
  for (int64_t j = 0; j < n; ++j) y[j] *= by;
}
void add_row(float* y, int64_t n, const float* c, int64_t step) {
  vector_math().add(y, 1, c, step, y, n);
}
void add_row(double* y, int64_t n, const double* c, int64_t step) {
  for (int64_t j = 0; j < n; ++j) y[j] += c[j * step];
}

/// Sums go straight to y, [m, n].
template <class T>
class LinearSink final : public ProductSink<T> {
 public:
  /// c is already scaled by beta; nullptr: none.
  LinearSink(const LinearShape& shape, T* y, T alpha, const T* c, AddedStrides at,
             const Epilogue<T>& epilogue)
      : shape_(shape), y_(y), alpha_(alpha), c_(c), at_(at), epilogue_(epilogue) {}
  int64_t buffer_count(int64_t) const override { return 0; }
  T* target(int64_t, const GemmRange& range, T*, int64_t* stride) const override {
    *stride = shape_.n;
    return y_ + range.m0 * shape_.n + range.n0;
  }
  void finish(int64_t, const GemmRange& range, T* sums, int64_t stride) const override {
    const int64_t n = range.n1 - range.n0;
    for (int64_t i = range.m0; i < range.m1; ++i, sums += stride) {
      if (alpha_ != 1) scale_row(sums, n, alpha_);
      if (c_) add_row(sums, n, c_ + i * at_.row + range.n0 * at_.col, at_.col);
      epilogue_.apply(sums, n, sums - y_);
    }
  }

 private:
  const LinearShape& shape_;
  T* y_;
  T alpha_;
  const T* c_;
  AddedStrides at_;
  const Epilogue<T>& epilogue_;
};

template <class T>
Status compute(KernelContext& ctx, const LinearState& state, const LinearShape& s, DataType type,
               const MutableView& y) {
  ONNXTOOL_ASSIGN(const T* a, float_input<T>(ctx, 0, type, "a"));
  ONNXTOOL_ASSIGN(const T* c, optional_float_input<T>(ctx, 2, type, "c"));
  AddedStrides at;
  if (c) {
    ONNXTOOL_ASSIGN(at, broadcast_added(ctx.input(2).dims, s));
    if (state.beta != 1) {
      const int64_t count = ctx.input(2).count;
      ONNXTOOL_ASSIGN(void* scratch, ctx.scratch(static_cast<size_t>(count) * sizeof(T)));
      std::copy_n(c, count, static_cast<T*>(scratch));
      scale_row(static_cast<T*>(scratch), count, T(state.beta));
      c = static_cast<const T*>(scratch);
    }
  }
  ONNXTOOL_ASSIGN(const Epilogue<T> epilogue, Epilogue<T>::make(ctx, state.own, y.dims));
  ONNXTOOL_ASSIGN(const FloatOutput<T> out, FloatOutput<T>::make(ctx, y));
  const LinearSink<T> sink(s, out.data, T(state.alpha), c, at, epilogue);
  const auto make_a = [&](int64_t) {
    return state.transpose_a ? MatrixPanels<T>(a, s.m, 1) : MatrixPanels<T>(a, 1, s.k);
  };
  const int nr = tile_cols_of<T>(*state.isa);
  if (const T* packed = packed_b(state, T{})) {
    ONNXTOOL_TRY(for_each_product<T>(
        ctx, *state.isa, 1, s.m, s.n, s.k, make_a,
        [&](int64_t) { return PackedPanels<T>(packed, s.n, nr); }, sink));
  } else {
    ONNXTOOL_ASSIGN(const T* b, float_input<T>(ctx, 1, type, "b"));
    const int64_t reuse = ceil_div(s.m, tile_rows_of<T>(*state.isa));
    ONNXTOOL_TRY(for_each_product<T>(
        ctx, *state.isa, 1, s.m, s.n, s.k, make_a,
        [&](int64_t) { return panels_of_b(b, s, state.transpose_b, reuse); }, sink));
  }
  out.store(ctx);
  return {};
}

/// U: unsigned of T's width, in which sums wrap.
template <class T, class U>
Status compute_integers(KernelContext& ctx, const LinearState& state, const LinearShape& s,
                        const MutableView& y) {
  const T* a = static_cast<const T*>(ctx.input(0).data);
  const T* b = static_cast<const T*>(ctx.input(1).data);
  const T* c = nullptr;
  AddedStrides at;
  if (ctx.has_input(2)) {
    if (ctx.input(2).dtype != y.dtype) return unsupported_type(ctx.input(2).dtype, "c");
    ONNXTOOL_ASSIGN(at, broadcast_added(ctx.input(2).dims, s));
    c = static_cast<const T*>(ctx.input(2).data);
  }
  const auto scaled = [](U x, float by) {
    return by == 1
               ? x
               : static_cast<U>(to_int64(std::trunc(static_cast<double>(static_cast<T>(x)) * by)));
  };
  T* out = static_cast<T*>(y.data);
  ctx.parallel(s.m * s.n, grain_of(s.k), [&](int64_t begin, int64_t end) {
    for (int64_t e = begin; e < end; ++e) {
      const int64_t i = e / s.n, j = e % s.n;
      U sum = 0;
      for (int64_t p = 0; p < s.k; ++p)
        sum += static_cast<U>(a[state.transpose_a ? p * s.m + i : i * s.k + p]) *
               static_cast<U>(b[state.transpose_b ? j * s.k + p : p * s.n + j]);
      sum = scaled(sum, state.alpha);
      if (c) sum += scaled(static_cast<U>(c[i * at.row + j * at.col]), state.beta);
      out[e] = static_cast<T>(sum);
    }
  });
  return {};
}

Status run(KernelContext& ctx) {
  const auto& state = static_cast<const LinearState&>(*ctx.state());
  const ConstView& a = ctx.input(0);
  const DataType b_type = state.packed() ? state.b_type : ctx.input(1).dtype;
  const std::span<const int64_t> b =
      state.packed() ? std::span<const int64_t>(state.b_dims) : ctx.input(1).dims;
  if (a.dims.size() != 2 || b.size() != 2)
    return mismatch("a has shape " + format_dims(a.dims) + " and b has shape " + format_dims(b) +
                    ", expected rank 2");
  if (b_type != a.dtype)
    return mismatch("a has element type " + std::string(name(a.dtype)) + " but b has " +
                    std::string(name(b_type)));
  const size_t ta = state.transpose_a ? 1 : 0, tb = state.transpose_b ? 1 : 0;
  const LinearShape s{a.dims[ta], b[1 - tb], a.dims[1 - ta]};
  if (b[tb] != s.k)
    return mismatch("a has shape " + format_dims(a.dims) + " and b has shape " + format_dims(b) +
                    ": the products are over " + std::to_string(s.k) + " and " +
                    std::to_string(b[tb]) + " elements");
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, a.dtype, Dims{s.m, s.n}));
  switch (a.dtype) {
    case DataType::kInt32: return compute_integers<int32_t, uint32_t>(ctx, state, s, y);
    case DataType::kUint32: return compute_integers<uint32_t, uint32_t>(ctx, state, s, y);
    case DataType::kInt64: return compute_integers<int64_t, uint64_t>(ctx, state, s, y);
    case DataType::kUint64: return compute_integers<uint64_t, uint64_t>(ctx, state, s, y);
    default: break;
  }
  return dispatch_float(a.dtype, [&]<class T>() { return compute<T>(ctx, state, s, a.dtype, y); });
}

constexpr std::initializer_list<DataType> kTypes = {
    DataType::kFloat, DataType::kDouble, DataType::kFloat16, DataType::kBfloat16,
    DataType::kInt32, DataType::kUint32, DataType::kInt64,   DataType::kUint64};

}  // namespace

constinit const KernelInfo kGemm{.op = "Gemm",
                                 .types = kTypes,
                                 .prepare = prepare<gemm_isa>,
                                 .run = run,
                                 .fuses = epilogue_fuses};
constinit const KernelInfo kGemmPortable{.op = "Gemm",
                                         .types = kTypes,
                                         .prepare = prepare<gemm_isa_portable>,
                                         .run = run,
                                         .fuses = epilogue_fuses};
constinit const KernelInfo kFusedGemm{.domain = "com.microsoft",
                                      .op = "FusedGemm",
                                      .types = kFloatDataTypes,
                                      .prepare = prepare<gemm_isa>,
                                      .run = run,
                                      .fuses = epilogue_fuses};
constinit const KernelInfo kFusedGemmPortable{.domain = "com.microsoft",
                                              .op = "FusedGemm",
                                              .types = kFloatDataTypes,
                                              .prepare = prepare<gemm_isa_portable>,
                                              .run = run,
                                              .fuses = epilogue_fuses};

}  // namespace onnxtool
