// Scaled dot-product attention over many heads, shared by the standard's operator and the ones of
// com.microsoft: scores = softmax(softcap(scale * q k^T) + bias), y = scores v.
//
// On the host a task owns a block of queries of one head and keeps its scores in cache; products go
// through the blocked ones of gemm.h, so that the bits depend on neither threads nor blocks of
// other queries. On a device (cuda/attention_core.cu) all heads are one product.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>

#include "calib/kernels/cpu/cells.h"

namespace onnxtool {

/// How products are computed: gemm.h says it for the host, cuda/gemm_isa.h for a device.
struct GemmIsa;
const GemmIsa& gemm_isa();
const GemmIsa& gemm_isa_portable();

/// Where [batch, head, row, column] lies in a tensor; columns follow each other.
struct HeadShape {
  int64_t batches = 0, heads = 0, rows = 0, size = 0;
  int64_t batch_stride = 0, head_stride = 0, row_stride = 0;

  ONNXTOOL_HD int64_t offset(int64_t batch, int64_t head) const {
    return batch * batch_stride + head * head_stride;
  }
  int64_t count() const { return batches * heads * rows * size; }
};
/// [batch, heads, rows, size], contiguous.
HeadShape heads_first(int64_t batches, int64_t heads, int64_t rows, int64_t size);
/// [batch, rows, heads * size], contiguous.
HeadShape rows_first(int64_t batches, int64_t heads, int64_t rows, int64_t size);
/// Of a tensor of rank 4 (heads first) or 3 (rows first, `heads` of them); `what` names it in
/// errors.
Result<HeadShape> head_shape(std::span<const int64_t> dims, int64_t heads, std::string_view what);

/// A tensor and how its heads lie in it.
struct HeadTensor {
  ConstView view;
  HeadShape shape;
};
/// Copies every head's rows to those of `to` from first[batch] on (nullptr: from 0), which has
/// room.
void copy_heads(KernelContext& ctx, DataType type, const void* in, const HeadShape& from, void* out,
                const HeadShape& to, const int64_t* first);
/// `past` followed by `now` along the rows, as [batch, heads, rows, size]: in output `output` (-1:
/// none) where it is wanted, else in scratch. past: nullptr where there is none.
Result<HeadTensor> append_rows(KernelContext& ctx, const ConstView* past, const HeadTensor& now,
                               int output, std::string_view what);
/// The tensor in element type `to`; bool becomes the bias 0 (true) or minus infinity.
Result<ConstView> as_bias(KernelContext& ctx, const ConstView& mask, DataType to);

/// The keys [first, last) that a query sees, of `keys`: those from query + offset - left (unless
/// left < 0) to query + offset + right (unless right < 0), and below `valid`.
struct KeyRange {
  int64_t first, last;
};
ONNXTOOL_HD inline KeyRange key_range(int64_t left, int64_t right, int64_t offset, int64_t valid,
                                      int64_t query, int64_t keys) {
  const int64_t at = query + offset;
  int64_t first = 0, last = keys;
  if (left >= 0) first = std::clamp<int64_t>(at - std::min(left, keys + query), 0, keys);
  if (right >= 0) last = std::clamp<int64_t>(at + std::min(right, keys) + 1, 0, keys);
  last = std::min(last, std::max<int64_t>(valid, 0));
  return {std::min(first, last), last};
}

/// Which keys a query sees by position, as key_range() has it: offset = offsets[batch] (or
/// offsets[0]; none: 0), valid[batch] (empty: all).
struct KeyWindow {
  int64_t left = -1, right = -1;
  std::vector<int64_t> offsets, valid;

  KeyRange range(int64_t batch, int64_t query, int64_t keys) const;
};

/// What is added to scores before softmax: a mask that broadcasts to [batch, head, query,
/// mask_keys], and minus infinity for keys past mask_keys or outside the window.
template <class T>
struct MaskBias {
  KeyWindow window;
  const T* mask = nullptr;           // nullptr: none
  std::array<int64_t, 3> strides{};  // of batch, head and query
  int64_t mask_keys = INT64_MAX;

  /// mask: of element type T. `full`: [batch, head, query, keys], which it must broadcast to; the
  /// last extent may be smaller instead.
  static Result<MaskBias> make(KeyWindow window, const ConstView* mask,
                               std::span<const int64_t> full);
  /// Adds to scores[0, keys) of one query.
  void add(int64_t batch, int64_t head, int64_t query, T* scores, int64_t keys) const;
  /// No query up to `last_query` sees a key from here on. At most `keys`.
  int64_t visible_keys(int64_t batch, int64_t last_query, int64_t keys) const;
};

/// The scores of all stages that an output may show.
enum class ScoreStage : uint8_t { kProduct, kCapped, kBiased, kProbabilities };

template <class T>
struct AttentionProblem {
  HeadShape q, k, v, y;  // k and v: fewer heads serve groups of q's
  const T* q_data = nullptr;
  const T* k_data = nullptr;
  const T* v_data = nullptr;
  T* y_data = nullptr;
  T scale = 1;
  T softcap = 0;                               // 0: none; else softcap * tanh(x / softcap)
  std::array<const MaskBias<T>*, 2> biases{};  // added in this order; nullptr: none
  T* scores = nullptr;  // [batch, head, query, key] of `stage`; nullptr: not wanted
  ScoreStage stage = ScoreStage::kProduct;
  bool blind_gives_nan = false;  // as Softmax does of a row that is minus infinity throughout
};

/// Checks that the operands fit each other: batches, heads, rows of k and v, sizes of q and k.
Status check_attention(const HeadShape& q, const HeadShape& k, const HeadShape& v);

/// A query that sees no key gives zeros, unless NaN is asked for. T is float or double.
template <class T>
Status attend(KernelContext& ctx, const GemmIsa& isa, const AttentionProblem<T>& problem);

/// y = x * w + bias for x [m, k], w [k, n], bias [n] or nullptr.
Status project_rows(KernelContext& ctx, const GemmIsa& isa, const float* x, const float* w,
                    const float* bias, int64_t m, int64_t n, int64_t k, float* y);

/// Room for an output of any float type that is computed in T, which may be wider than its own.
template <class T>
struct ComputedOutput {
  MutableView view;
  T* data = nullptr;

  static Result<ComputedOutput> make(KernelContext& ctx, const MutableView& view) {
    if (view.dtype == dtype_of<T>) return ComputedOutput{view, static_cast<T*>(view.data)};
    ONNXTOOL_ASSIGN(void* scratch, ctx.scratch(static_cast<size_t>(view.count) * sizeof(T)));
    return ComputedOutput{view, static_cast<T*>(scratch)};
  }
  void store(KernelContext& ctx) const {
    if (data != view.data) convert_into(ctx, dtype_of<T>, data, view);
  }
};

/// The attribute `scale`; absent or 0: 1 / sqrt(size of a head).
inline float scale_or_default(const NodeView& node, int64_t head_size) {
  const float scale = node.attr_float("scale", 0);
  return scale != 0 ? scale : 1 / std::sqrt(static_cast<float>(std::max<int64_t>(head_size, 1)));
}

}  // namespace onnxtool
