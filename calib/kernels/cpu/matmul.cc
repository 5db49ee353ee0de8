// MatMul-1, 9, 13 with numpy's broadcasting, and com.microsoft.FusedMatMul-1:
//   y = alpha * op(a) * op(b), op transposing the last two dimensions where transA, transB say so;
//   with transBatchA, transBatchB first moving the first dimension behind those of the batch.
// A third input of one value for each column is added to the product: what a plan fuses behind it.
// f32 and f64; f16 and bf16 are computed in float and rounded once; 32- and 64-bit integers wrap.

#include "calib/kernels/cpu/epilogue.h"
#include "calib/kernels/cpu/float_io.h"
#include "calib/kernels/cpu/gemm.h"
#include "calib/kernels/cpu/matmul_shape.h"
#include "calib/kernels/cpu/walk.h"

namespace onnxtool {
namespace {

struct MatMulState final : KernelState {
  const GemmIsa* isa;
  bool transpose_a = false, transpose_b = false;
  bool batch_behind_a = false, batch_behind_b = false;  // the first dimension is one of the matrix
  float alpha = 1;
  // Packed b with its type and shape, when it is constant: run() then reads no input 1.
  AlignedArray<float> b;
  AlignedArray<double> b64;
  DataType b_type = DataType::kUndefined;
  Dims b_dims;

  bool packed() const { return b || b64; }
};

/// Where element (i, j) of a matrix lies: i * row + j * col.
struct Strides {
  int64_t row, col;
};
/// Of the last two dimensions as the product sees them; a vector on the right is one column.
Strides strides_of(std::span<const int64_t> dims, bool transpose, bool right) {
  if (dims.size() == 1) return right ? Strides{1, 1} : Strides{dims[0], 1};
  return transpose ? Strides{1, dims.back()} : Strides{dims.back(), 1};
}

/// All matrices of b as panels, one after the other.
template <class T>
AlignedArray<T> pack_b(const GemmIsa& isa, const T* b, std::span<const int64_t> dims,
                       bool transpose, int64_t k, int64_t n) {
  const int64_t count = dims.size() < 2 ? 1 : product(dims, 0, dims.size() - 2);
  const int nr = tile_cols_of<T>(isa);
  const int64_t size = packed_count<T>(n, k, nr);
  const Strides s = strides_of(dims, transpose, true);
  AlignedArray<T> packed(count * size);
  for (int64_t i = 0; i < count; ++i)
    pack_panels<T>(MatrixPanels<T>(b + i * k * n, s.row, s.col), n, k, nr, 0, ceil_div(n, nr),
                   packed.data() + i * size);
  return packed;
}

template <const GemmIsa& (*kIsa)()>
Result<std::unique_ptr<KernelState>> prepare(const NodeView& node) {
  ONNXTOOL_TRY(require_inputs(node, {0, 1}));
  auto state = std::make_unique<MatMulState>();
  state->isa = &kIsa();
  if (node.op_type() == "FusedMatMul") {
    state->transpose_a = node.attr_int("transA", 0) != 0;
    state->transpose_b = node.attr_int("transB", 0) != 0;
    state->alpha = node.attr_float("alpha", 1);
    state->batch_behind_a = node.attr_int("transBatchA", 0) != 0;
    state->batch_behind_b = node.attr_int("transBatchB", 0) != 0;
  }
  const ConstView* b = node.constant(1);
  if (!b || b->rank() < 1 || !is_float(b->dtype) || state->batch_behind_b)
    return {std::move(state)};
  // The left side does not matter for b: a vector of the right length stands in for it.
  const bool swap = state->transpose_b && b->rank() > 1;
  const int64_t rows = b->rank() == 1 ? b->dims[0] : b->dims[b->dims.size() - 2];
  const int64_t cols = b->rank() == 1 ? 1 : b->dims.back();
  const int64_t k = swap ? cols : rows, n = swap ? rows : cols;
  if (b->dtype == DataType::kDouble) {
    state->b64 =
        pack_b(*state->isa, static_cast<const double*>(b->data), b->dims, state->transpose_b, k, n);
  } else {
    const auto wide = widened_constant<float, AlignedArray<float>>(*b);
    state->b = pack_b(*state->isa, wide.data(), b->dims, state->transpose_b, k, n);
  }
  state->b_type = b->dtype;
  state->b_dims = to_dims(b->dims);
  node.drop_constant(1);
  return {std::move(state)};
}

const float* packed_b(const MatMulState& s, float) { return s.b.data(); }
const double* packed_b(const MatMulState& s, double) { return s.b64.data(); }

/// Sums go straight to y, [batches, m, n].
template <class T>
class MatMulSink final : public ProductSink<T> {
 public:
  MatMulSink(const MatMulShape& shape, T* y, T alpha, const Epilogue<T>& epilogue)
      : shape_(shape), y_(y), alpha_(alpha), epilogue_(epilogue) {}
  int64_t buffer_count(int64_t) const override { return 0; }
  T* target(int64_t batch, const GemmRange& range, T*, int64_t* stride) const override {
    *stride = shape_.n;
    return y_ + (batch * shape_.m + range.m0) * shape_.n + range.n0;
  }
  void finish(int64_t, const GemmRange& range, T* sums, int64_t stride) const override {
    const int64_t n = range.n1 - range.n0;
    for (int64_t i = range.m0; i < range.m1; ++i, sums += stride) {
      if (alpha_ != 1)
        for (int64_t j = 0; j < n; ++j) sums[j] *= alpha_;
      epilogue_.apply(sums, n, sums - y_);
    }
  }

 private:
  const MatMulShape& shape_;
  T* y_;
  T alpha_;
  const Epilogue<T>& epilogue_;
};

template <class T>
Status multiply(KernelContext& ctx, const MatMulState& state, const MatMulShape& shape, const T* a,
                Strides a_at, const T* b, Strides b_at, const MatMulSink<T>& sink) {
  const GemmIsa& isa = *state.isa;
  const int nr = tile_cols_of<T>(isa);
  const Dims a_index = shape.a_index(), b_index = shape.b_index();
  const auto make_a = [&](int64_t batch) {
    return MatrixPanels<T>(a + a_index[static_cast<size_t>(batch)] * shape.m * shape.k, a_at.col,
                           a_at.row);
  };
  const int64_t packed_size = packed_count<T>(shape.n, shape.k, nr);
  const T* packed = packed_b(state, T{});
  // b that several tasks would pack alike is packed once.
  if (!packed && shape.m > 16 * tile_rows_of<T>(isa)) {
    const int64_t count = product(shape.b_batch), panels = ceil_div(shape.n, nr);
    ONNXTOOL_ASSIGN(void* scratch,
                    ctx.scratch(static_cast<size_t>(count * packed_size) * sizeof(T)));
    ctx.parallel(count * panels, grain_of(shape.k * nr), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        pack_panels<T>(MatrixPanels<T>(b + i / panels * shape.k * shape.n, b_at.row, b_at.col),
                       shape.n, shape.k, nr, i % panels, i % panels + 1,
                       static_cast<T*>(scratch) + i / panels * packed_size);
    });
    packed = static_cast<const T*>(scratch);
  }
  if (packed)
    return for_each_product<T>(
        ctx, isa, shape.batches(), shape.m, shape.n, shape.k, make_a,
        [&](int64_t batch) {
          return PackedPanels<T>(packed + b_index[static_cast<size_t>(batch)] * packed_size,
                                 shape.n, nr);
        },
        sink);
  const int64_t reuse = ceil_div(shape.m, tile_rows_of<T>(isa));
  return for_each_product<T>(
      ctx, isa, shape.batches(), shape.m, shape.n, shape.k, make_a,
      [&](int64_t batch) {
        return MatrixPanels<T>(b + b_index[static_cast<size_t>(batch)] * shape.k * shape.n,
                               b_at.row, b_at.col, reuse);
      },
      sink);
}

/// Integers: plain loops in unsigned arithmetic, which wraps.
template <class T>
void multiply_integers(KernelContext& ctx, const MatMulShape& shape, const T* a, const T* b, T* y) {
  const Dims a_index = shape.a_index(), b_index = shape.b_index();
  const int64_t m = shape.m, n = shape.n, k = shape.k;
  ctx.parallel(shape.batches() * m, grain_of(n * k), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const T* from = a + (a_index[static_cast<size_t>(row / m)] * m + row % m) * k;
      const T* with = b + b_index[static_cast<size_t>(row / m)] * k * n;
      T* to = y + row * n;
      std::fill_n(to, n, T{});
      for (int64_t i = 0; i < k; ++i)
        for (int64_t j = 0; j < n; ++j) to[j] += from[i] * with[i * n + j];
    }
  });
}

std::span<const EpilogueOp> bias_of(const KernelContext& ctx) {
  static constexpr EpilogueOp kBias[] = {{.kind = EpilogueOp::Kind::kBias, .input = 2}};
  return ctx.has_input(2) ? std::span(kBias) : std::span<const EpilogueOp>();
}

/// [d, batch..., e] as [batch..., d, e], whose dims `storage` holds.
Result<ConstView> batch_first(KernelContext& ctx, const ConstView& x, Dims& storage) {
  if (x.rank() < 3) return x;
  Walk<1> walk{to_dims(x.dims), {contiguous_strides(x.dims)}};
  std::rotate(walk.extents.begin(), walk.extents.begin() + 1, walk.extents.end() - 1);
  std::rotate(walk.strides[0].begin(), walk.strides[0].begin() + 1, walk.strides[0].end() - 1);
  storage = walk.extents;
  const size_t size = size_bytes_of(x.dtype, static_cast<uint64_t>(x.count));
  ONNXTOOL_ASSIGN(void* copy, ctx.scratch(size));
  copy_strided(ctx, x.dtype, x.data, std::move(walk), copy);
  ConstView moved = x;
  moved.dims = storage;
  moved.data = copy;
  return moved;
}

Status run(KernelContext& ctx) {
  const auto& state = static_cast<const MatMulState&>(*ctx.state());
  ConstView a = ctx.input(0), b;
  Dims a_storage, b_storage;
  if (state.batch_behind_a) {
    ONNXTOOL_ASSIGN(a, batch_first(ctx, a, a_storage));
  }
  if (!state.packed()) b = ctx.input(1);
  if (state.batch_behind_b) {
    ONNXTOOL_ASSIGN(b, batch_first(ctx, b, b_storage));
  }
  const DataType b_type = state.packed() ? state.b_type : b.dtype;
  const std::span<const int64_t> b_dims =
      state.packed() ? std::span<const int64_t>(state.b_dims) : b.dims;
  if (b_type != a.dtype)
    return mismatch("a has element type " + std::string(name(a.dtype)) + " but b has " +
                    std::string(name(b_type)));
  ONNXTOOL_ASSIGN(MatMulShape shape,
                  resolve_matmul(a.dims, b_dims, state.transpose_a, state.transpose_b));
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, a.dtype, shape.out));
  if (y.count == 0) return {};
  shape.collapse(!state.transpose_a && a.rank() > 1);
  if (!is_float(a.dtype)) {
    const bool wide = bits_of(a.dtype) == 64;
    const auto compute = [&]<class T>() {
      multiply_integers(ctx, shape, static_cast<const T*>(a.data), static_cast<const T*>(b.data),
                        static_cast<T*>(y.data));
    };
    if (wide)
      compute.template operator()<uint64_t>();
    else
      compute.template operator()<uint32_t>();
    return {};
  }
  return dispatch_float(a.dtype, [&]<class T>() -> Status {
    ONNXTOOL_ASSIGN(const ConstView a_wide, widened(ctx, a));
    const T* b_data = nullptr;
    if (!state.packed()) {
      ONNXTOOL_ASSIGN(const ConstView b_wide, widened(ctx, b));
      b_data = static_cast<const T*>(b_wide.data);
    }
    ONNXTOOL_ASSIGN(const Epilogue<T> epilogue, Epilogue<T>::make(ctx, bias_of(ctx), shape.out));
    ONNXTOOL_ASSIGN(const FloatOutput<T> out, FloatOutput<T>::make(ctx, y));
    ONNXTOOL_TRY(multiply<T>(ctx, state, shape, static_cast<const T*>(a_wide.data),
                             strides_of(a.dims, state.transpose_a, false), b_data,
                             strides_of(b_dims, state.transpose_b, true),
                             MatMulSink<T>(shape, out.data, state.alpha, epilogue)));
    out.store(ctx);
    return {};
  });
}

constexpr std::initializer_list<DataType> kTypes = {
    DataType::kFloat, DataType::kDouble, DataType::kFloat16, DataType::kBfloat16,
    DataType::kInt32, DataType::kUint32, DataType::kInt64,   DataType::kUint64};

}  // namespace

constinit const KernelInfo kMatMul{.op = "MatMul",
                                   .types = kTypes,
                                   .prepare = prepare<gemm_isa>,
                                   .run = run,
                                   .fuses = epilogue_fuses};
constinit const KernelInfo kMatMulPortable{.op = "MatMul",
                                           .types = kTypes,
                                           .prepare = prepare<gemm_isa_portable>,
                                           .run = run,
                                           .fuses = epilogue_fuses};
constinit const KernelInfo kFusedMatMul{.domain = "com.microsoft",
                                        .op = "FusedMatMul",
                                        .types = kFloatDataTypes,
                                        .prepare = prepare<gemm_isa>,
                                        .run = run,
                                        .fuses = epilogue_fuses};
constinit const KernelInfo kFusedMatMulPortable{.domain = "com.microsoft",
                                                .op = "FusedMatMul",
                                                .types = kFloatDataTypes,
                                                .prepare = prepare<gemm_isa_portable>,
                                                .run = run,
                                                .fuses = epilogue_fuses};

}  // namespace onnxtool
