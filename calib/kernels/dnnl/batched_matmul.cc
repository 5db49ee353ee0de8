// MatMul-1, 9, 13 in float32 where both sides are computed, with numpy's broadcasting of the batch:
//   y[b.., m, n] = sum over k of a[b.., m, k] * b[b.., k, n]
// The batch is cut into pieces by the extents alone: how oneDNN blocks k may follow the other
// extents, so a cut that followed the number of threads could change the order of the sums.

#include <algorithm>
#include <cstring>

#include "calib/kernels/dnnl/bf16.h"
#include "calib/kernels/dnnl/kernels.h"
#include "calib/kernels/dnnl/pieces.h"
#include "calib/kernels/dnnl/shape_cache.h"
#include "calib/kernels/dnnl/windows.h"

namespace onnxtool {
namespace {

// Some 40 us of one thread: enough to wake another one for.
constexpr double kPieceFlops = 4e6;
// Larger matrices are cut into ranges of rows of at least this many, each of which reads all of b.
constexpr int64_t kLeastPieceRows = 64;

struct Primitive {
  Executable code;
  size_t scratch_bytes = 0;
};

// Where one piece begins, in elements.
struct Piece {
  size_t primitive;
  int64_t a, b, y;
};

struct Product {
  DnnlType operands = kDnnlFloat;
  int64_t m = 0, n = 0, k = 0;
  std::vector<int64_t> dims;  // of y
  std::vector<Primitive> primitives;
  std::vector<Piece> pieces;
  size_t scratch_bytes = 0;
};

struct State final : KernelState {
  DnnlType operands = kDnnlFloat;
  mutable ShapeCache<Product> products;
};

Described<dnnl::matmul> describe(int64_t a_count, int64_t b_count, int64_t m, int64_t n, int64_t k,
                                 DnnlType operands) {
  return describe_matmul(plain_desc({a_count, m, k}, operands),
                         plain_desc({b_count, k, n}, operands),
                         plain_desc({std::max(a_count, b_count), m, n}), make_attributes({}));
}

Primitive make_primitive(int64_t a_count, int64_t b_count, int64_t rows, const Product& p) {
  const auto d = describe(a_count, b_count, rows, p.n, p.k, p.operands);
  const size_t scratch = d.desc.scratchpad_desc().get_size();
  return {Executable(dnnl::matmul(d.desc), {{DNNL_ARG_SRC, d.desc.src_desc()},
                                            {DNNL_ARG_WEIGHTS, d.desc.weights_desc()},
                                            {DNNL_ARG_DST, d.desc.dst_desc()},
                                            {DNNL_ARG_SCRATCHPAD, scratch_desc(scratch)}}),
          scratch};
}

Error mismatch(std::span<const int64_t> a, std::span<const int64_t> b) {
  return kernel_error(ErrorCode::kMismatch,
                      "sides have dims " + dims_text(a) + " and " + dims_text(b));
}

// Index of the matrix that batch position `at` of `batch` reads from a side with these batch dims.
int64_t matrix_of(int64_t at, std::span<const int64_t> batch, std::span<const int64_t> side) {
  int64_t index = 0, step = 1;
  for (size_t i = 0; i < batch.size(); ++i) {
    const int64_t position = at % batch[batch.size() - 1 - i];
    at /= batch[batch.size() - 1 - i];
    if (i >= side.size()) continue;
    const int64_t extent = side[side.size() - 1 - i];
    if (extent != 1) index += position * step;
    step *= extent;
  }
  return index;
}

Result<Product> make_product(std::span<const int64_t> a_dims, std::span<const int64_t> b_dims,
                             DnnlType operands) {
  Product p;
  p.operands = operands;
  if (a_dims.empty() || b_dims.empty()) return mismatch(a_dims, b_dims);
  // A vector is one row on the left, one column on the right.
  const bool row = a_dims.size() == 1, column = b_dims.size() == 1;
  p.m = row ? 1 : a_dims[a_dims.size() - 2];
  p.k = a_dims.back();
  p.n = column ? 1 : b_dims.back();
  if ((column ? b_dims[0] : b_dims[b_dims.size() - 2]) != p.k) return mismatch(a_dims, b_dims);
  const auto a_batch = a_dims.first(row ? 0 : a_dims.size() - 2),
             b_batch = b_dims.first(column ? 0 : b_dims.size() - 2);
  for (size_t i = 0; i < std::max(a_batch.size(), b_batch.size()); ++i) {
    const int64_t x = i < a_batch.size() ? a_batch[a_batch.size() - 1 - i] : 1,
                  y = i < b_batch.size() ? b_batch[b_batch.size() - 1 - i] : 1;
    if (x != y && x != 1 && y != 1) return mismatch(a_dims, b_dims);
    p.dims.insert(p.dims.begin(), x == 1 ? y : x);
  }
  const std::vector<int64_t> batch = p.dims;
  if (!row) p.dims.push_back(p.m);
  if (!column) p.dims.push_back(p.n);
  const auto count = checked_product(p.dims);
  if (!count) return mismatch(a_dims, b_dims);
  if (*count == 0 || p.k == 0) return p;

  hold_to_one_thread();
  const int64_t batches = *checked_product(batch), a_count = *checked_product(a_batch),
                b_count = *checked_product(b_batch);
  const double flops =
      2.0 * static_cast<double>(p.m) * static_cast<double>(p.n) * static_cast<double>(p.k);
  // Several matrices go into one primitive where they follow each other on both sides, or on one
  // side while the other has but one.
  const bool regular = (a_count == batches || a_count == 1) && (b_count == batches || b_count == 1);
  const int64_t together =
      regular ? std::max<int64_t>(static_cast<int64_t>(kPieceFlops / flops), 1) : 1;
  const int64_t ranges = (batches + together - 1) / together;
  const int64_t row_ranges = std::clamp<int64_t>(static_cast<int64_t>(flops / kPieceFlops), 1,
                                                 std::max<int64_t>(p.m / kLeastPieceRows, 1));
  std::vector<std::pair<int64_t, int64_t>> known;  // matrices and rows of each primitive
  for (int64_t i = 0; i < ranges * row_ranges; ++i) {
    const int64_t r = i / row_ranges, begin = batches * r / ranges,
                  size = batches * (r + 1) / ranges - begin;
    const int64_t top = p.m * (i % row_ranges) / row_ranges,
                  rows = p.m * (i % row_ranges + 1) / row_ranges - top;
    const auto found = std::find(known.begin(), known.end(), std::pair(size, rows));
    const auto index = static_cast<size_t>(found - known.begin());
    if (found == known.end()) {
      known.emplace_back(size, rows);
      p.primitives.push_back(
          make_primitive(a_count == 1 ? 1 : size, b_count == 1 ? 1 : size, rows, p));
      p.scratch_bytes = std::max(p.scratch_bytes, p.primitives.back().scratch_bytes);
    }
    p.pieces.push_back({index, (matrix_of(begin, batch, a_batch) * p.m + top) * p.k,
                        matrix_of(begin, batch, b_batch) * p.k * p.n, (begin * p.m + top) * p.n});
  }
  return p;
}

// Only where oneDNN has generated code: its gemm is slower than the cpu set's.
bool accepts_as(const NodeView& node, DnnlType operands) {
  if (node.input_dtype(0) != DataType::kFloat || node.input_dtype(1) != DataType::kFloat ||
      node.has_input(2))  // the bias that a plan adds
    return false;
  try {
    hold_to_one_thread();
    return describe(2, 2, 64, 64, 64, operands).implementation.starts_with("brg");
  } catch (const dnnl::error&) {
    return false;
  }
}

bool accepts(const NodeView& node) { return accepts_as(node, kDnnlFloat); }
bool accepts_bf16(const NodeView& node) { return accepts_as(node, DnnlType::bf16); }

Result<std::unique_ptr<KernelState>> prepare(const NodeView&) {
  return {std::make_unique<State>()};
}
Result<std::unique_ptr<KernelState>> prepare_bf16(const NodeView&) {
  auto state = std::make_unique<State>();
  state->operands = DnnlType::bf16;
  return {std::move(state)};
}

Status run(KernelContext& ctx) {
  const auto& state = static_cast<const State&>(*ctx.state());
  const ConstView &a = ctx.input(0), &b = ctx.input(1);
  std::vector<int64_t> key(a.dims.begin(), a.dims.end());
  key.push_back(-1);
  key.insert(key.end(), b.dims.begin(), b.dims.end());
  ONNXTOOL_ASSIGN(const auto p, state.products.get(key, [&] {
    return catching([&] { return make_product(a.dims, b.dims, state.operands); });
  }));
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, DataType::kFloat, p->dims));
  if (p->k == 0 && y.count) std::memset(y.data, 0, static_cast<size_t>(y.count) * sizeof(float));
  const void *left = a.data, *right = b.data;
  if (state.operands == DnnlType::bf16) {
    ONNXTOOL_ASSIGN(left, rounded_to_bf16(ctx, static_cast<const float*>(left), a.count));
    ONNXTOOL_ASSIGN(right, rounded_to_bf16(ctx, static_cast<const float*>(right), b.count));
  }
  const auto element = static_cast<int64_t>(dnnl::memory::data_type_size(state.operands));
  return run_all_pieces(ctx, p->pieces.size(), p->scratch_bytes,
                        [&](size_t i, void* scratch) -> Status {
                          const Piece& piece = p->pieces[i];
                          p->primitives[piece.primitive].code.execute(
                              {static_cast<const std::byte*>(left) + piece.a * element,
                               static_cast<const std::byte*>(right) + piece.b * element,
                               static_cast<float*>(y.data) + piece.y, scratch});
                          return {};
                        });
}

}  // namespace

constinit const KernelInfo kBatchedMatMul{.op = "MatMul",
                                          .types = {DataType::kFloat},
                                          .prepare = prepare,
                                          .run = run,
                                          .accepts = accepts};
constinit const KernelInfo kBatchedMatMulBf16{.op = "MatMul",
                                              .types = {DataType::kFloat},
                                              .prepare = prepare_bf16,
                                              .run = run,
                                              .accepts = accepts_bf16};

}  // namespace onnxtool
