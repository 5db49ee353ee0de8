// Scaled dot-product attention over many heads, shared by the standard's operator and the ones of
// com.microsoft: scores = softmax(softcap(scale * q k^T) + bias), y = scores v.
//
// A task owns a block of queries of one head and keeps its scores in cache; products go through the
// blocked ones of gemm.h, so that the bits depend on neither threads nor blocks of other queries.
#pragma once

#include <algorithm>
#include <cmath>

#include "calib/kernels/cpu/common.h"
#include "calib/kernels/cpu/gemm.h"

namespace onnxtool {

/// Where [batch, head, row, column] lies in a tensor; columns follow each other.
struct HeadShape {
  int64_t batches = 0, heads = 0, rows = 0, size = 0;
  int64_t batch_stride = 0, head_stride = 0, row_stride = 0;

  int64_t offset(int64_t batch, int64_t head) const {
    return batch * batch_stride + head * head_stride;
  }
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
/// `past` followed by `now` along the rows, as [batch, heads, rows, size]: in output `output` (-1:
/// none) where it is wanted, else in scratch. past: nullptr where there is none.
Result<HeadTensor> append_rows(KernelContext& ctx, const ConstView* past, const HeadTensor& now,
                               int output, std::string_view what);
/// The tensor in element type `to`; bool becomes the bias 0 (true) or minus infinity.
Result<ConstView> as_bias(KernelContext& ctx, const ConstView& mask, DataType to);

/// What is added to scores before softmax: minus infinity where a query may not see a key.
template <class T>
class ScoreBias {
 public:
  virtual ~ScoreBias() = default;
  /// Adds to scores[0, keys) of one query.
  virtual void add(int64_t batch, int64_t head, int64_t query, T* scores, int64_t keys) const = 0;
  /// No query up to `last_query` sees a key from here on. At most `keys`.
  virtual int64_t visible_keys(int64_t batch, int64_t last_query, int64_t keys) const = 0;
};

/// Which keys a query sees by position: key j from query i where
///   j <= i + offset + right (unless right < 0), j >= i + offset - left (unless left < 0),
///   j < valid[batch] (unless empty), offset = offsets[batch] (or offsets[0]; none: 0).
struct KeyWindow {
  int64_t left = -1, right = -1;
  std::vector<int64_t> offsets, valid;

  int64_t offset(int64_t batch) const;
  /// The keys [first, last) that the query sees.
  std::pair<int64_t, int64_t> range(int64_t batch, int64_t query, int64_t keys) const;
};

/// A window over keys and a mask that broadcasts to [batch, head, query, mask_keys]; keys past
/// mask_keys are not seen.
template <class T>
class MaskBias final : public ScoreBias<T> {
 public:
  MaskBias() = default;
  /// mask: of element type T. `full`: [batch, head, query, keys], which it must broadcast to; the
  /// last extent may be smaller instead.
  static Result<MaskBias> make(KeyWindow window, const ConstView* mask,
                               std::span<const int64_t> full);
  void add(int64_t batch, int64_t head, int64_t query, T* scores, int64_t keys) const override;
  int64_t visible_keys(int64_t batch, int64_t last_query, int64_t keys) const override;

 private:
  KeyWindow window_;
  const T* mask_ = nullptr;
  std::vector<int64_t> strides_;
  int64_t mask_keys_ = INT64_MAX;
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
  T softcap = 0;  // 0: none; else softcap * tanh(x / softcap)
  const ScoreBias<T>* bias = nullptr;
  T* scores = nullptr;  // [batch, head, query, key] of `stage`; nullptr: not wanted
  ScoreStage stage = ScoreStage::kProduct;
  bool blind_gives_nan = false;  // as Softmax does of a row that is minus infinity throughout
};

/// Checks that the operands fit each other: batches, heads, rows of k and v, sizes of q and k.
Status check_attention(const HeadShape& q, const HeadShape& k, const HeadShape& v);

/// A query that sees no key gives zeros, unless NaN is asked for. T is float or double.
template <class T>
Status attend(KernelContext& ctx, const GemmIsa& isa, const AttentionProblem<T>& problem);

/// The attribute `scale`; absent or 0: 1 / sqrt(size of a head).
inline float scale_or_default(const NodeView& node, int64_t head_size) {
  const float scale = node.attr_float("scale", 0);
  return scale != 0 ? scale : 1 / std::sqrt(static_cast<float>(std::max<int64_t>(head_size, 1)));
}

}  // namespace onnxtool
