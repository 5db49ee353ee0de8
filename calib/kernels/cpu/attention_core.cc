// Products, masks and softmax of attention (see the header).

#include "calib/kernels/cpu/attention_core.h"

#include <cmath>
#include <cstring>

#include "calib/kernels/cpu/convert.h"
#include "calib/kernels/cpu/vector_math.h"
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

// Copies every head's rows to rows [first, first + from.rows) of `to`, which is heads first.
void copy_heads(KernelContext& ctx, DataType type, const void* in, const HeadShape& from, void* out,
                const HeadShape& to, int64_t first) {
  dispatch_movement(type, [&]<class E>() {
    ctx.parallel(from.batches * from.heads, grain_of(from.rows * from.size),
                 [&](int64_t begin, int64_t end) {
                   for (int64_t i = begin; i < end; ++i) {
                     const int64_t batch = i / from.heads, head = i % from.heads;
                     const E* source = static_cast<const E*>(in) + from.offset(batch, head);
                     E* target = static_cast<E*>(out) + to.offset(batch, head) + first * to.size;
                     for (int64_t r = 0; r < from.rows; ++r)
                       std::copy_n(source + r * from.row_stride, from.size, target + r * to.size);
                   }
                 });
  });
}

}  // namespace

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
  if (past != nullptr) copy_heads(ctx, past->dtype, past->data, before, data, all.shape, 0);
  copy_heads(ctx, now.view.dtype, now.view.data, s, data, all.shape, before.rows);
  return all;
}

Result<ConstView> as_bias(KernelContext& ctx, const ConstView& mask, DataType to) {
  if (mask.dtype != DataType::kBool) return converted(ctx, mask, to);
  ONNXTOOL_ASSIGN(void* buffer, ctx.scratch(size_bytes_of(to, static_cast<uint64_t>(mask.count))));
  const auto* from = static_cast<const uint8_t*>(mask.data);
  ONNXTOOL_TRY(dispatch(to, TypeList<float, double>{}, "the mask", [&]<class T>() -> Status {
    constexpr T kHidden = -std::numeric_limits<T>::infinity();
    for (int64_t i = 0; i < mask.count; ++i)
      static_cast<T*>(buffer)[i] = from[i] != 0 ? T{0} : kHidden;
    return {};
  }));
  ConstView bias = mask;
  bias.dtype = to;
  bias.data = buffer;
  return bias;
}

int64_t KeyWindow::offset(int64_t batch) const {
  if (offsets.empty()) return 0;
  return offsets[offsets.size() == 1 ? 0 : static_cast<size_t>(batch)];
}

std::pair<int64_t, int64_t> KeyWindow::range(int64_t batch, int64_t query, int64_t keys) const {
  const int64_t at = query + offset(batch);
  int64_t first = 0, last = keys;
  if (left >= 0) first = std::clamp<int64_t>(at - std::min(left, keys + query), 0, keys);
  if (right >= 0) last = std::clamp<int64_t>(at + std::min(right, keys) + 1, 0, keys);
  if (!valid.empty())
    last = std::min(last, std::max<int64_t>(valid[static_cast<size_t>(batch)], 0));
  return {std::min(first, last), last};
}

template <class T>
Result<MaskBias<T>> MaskBias<T>::make(KeyWindow window, const ConstView* mask,
                                      std::span<const int64_t> full) {
  MaskBias bias;
  bias.window_ = std::move(window);
  if (mask == nullptr) return bias;
  bool fits = mask->rank() >= 1 && mask->rank() <= 4 && mask->dims.back() <= full[3];
  Dims to = to_dims(full);
  if (fits) to[3] = bias.mask_keys_ = mask->dims.back();
  const size_t lead = 4 - std::min<size_t>(mask->dims.size(), 4);
  for (size_t i = 0; fits && i + 1 < mask->dims.size(); ++i)
    fits = mask->dims[i] == 1 || mask->dims[i] == to[lead + i];
  if (!fits)
    return mismatch("the mask has shape " + format_dims(mask->dims) +
                    ", which does not broadcast to " + format_dims(full));
  bias.mask_ = static_cast<const T*>(mask->data);
  bias.strides_ = broadcast_strides(mask->dims, to);
  return bias;
}

template <class T>
void MaskBias<T>::add(int64_t batch, int64_t head, int64_t query, T* scores, int64_t keys) const {
  constexpr T kHidden = -std::numeric_limits<T>::infinity();
  if (mask_ != nullptr) {
    const T* row = mask_ + batch * strides_[0] + head * strides_[1] + query * strides_[2];
    const int64_t given = std::min(keys, mask_keys_);
    if constexpr (std::is_same_v<T, float>)
      vector_math().add(scores, 1, row, 1, scores, given);
    else
      for (int64_t j = 0; j < given; ++j) scores[j] += row[j];
    std::fill(scores + given, scores + keys, kHidden);
  }
  const auto [first, last] = window_.range(batch, query, keys);
  std::fill(scores, scores + first, kHidden);
  std::fill(scores + last, scores + keys, kHidden);
}

template <class T>
int64_t MaskBias<T>::visible_keys(int64_t batch, int64_t last_query, int64_t keys) const {
  return std::min(window_.range(batch, last_query, keys).second, mask_keys_);
}

template class MaskBias<float>;
template class MaskBias<double>;

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

namespace {

// Queries of one task: their scores stay in the second-level cache for a few thousand keys.
constexpr int64_t kQueries = 72;
// Keys of a head that take no more elements are packed by the task that multiplies them, all at
// once: half of a second-level cache.
constexpr int64_t kOwnKeys = 64 * 1024;
// Up to so many queries, packing operands for a blocked product costs more than it saves.
constexpr int64_t kFewQueries = 4;

// Sixteen sums side by side, in vectors of 16 bytes, which every machine of the baseline has.
constexpr int64_t kLanes = 16;
template <class T>
struct Lanes {
  typedef T Vector __attribute__((vector_size(16)));
  static constexpr int kPer = 16 / sizeof(T), kCount = static_cast<int>(kLanes) / kPer;
  Vector sums[kCount] = {};

  static Vector load(const T* from) {
    Vector v;
    std::memcpy(&v, from, sizeof v);
    return v;
  }
  void add_products(const T* a, const T* b) {
    for (int i = 0; i < kCount; ++i) sums[i] += load(a + i * kPer) * load(b + i * kPer);
  }
  void add_scaled(const T* x, T factor) {
    for (int i = 0; i < kCount; ++i) sums[i] += load(x + i * kPer) * factor;
  }
  T total() {
    for (int width = kCount / 2; width > 0; width /= 2)
      for (int i = 0; i < width; ++i) sums[i] += sums[i + width];
    T sum = 0;
    for (int i = 0; i < kPer; ++i) sum += sums[0][i];
    return sum;
  }
};

template <class T>
T dot(const T* a, const T* b, int64_t n) {
  Lanes<T> lanes;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) lanes.add_products(a + i, b + i);
  T rest = 0;
  for (; i < n; ++i) rest += a[i] * b[i];
  return lanes.total() + rest;
}

// y = sum over rows of weights[r] * x[r], rows of `size` elements.
template <class T>
void weigh_rows(const T* weights, int64_t rows, const T* x, int64_t row_stride, int64_t size,
                T* y) {
  int64_t d = 0;
  for (; d + kLanes <= size; d += kLanes) {
    Lanes<T> lanes;
    for (int64_t r = 0; r < rows; ++r) lanes.add_scaled(x + r * row_stride + d, weights[r]);
    std::memcpy(y + d, lanes.sums, sizeof lanes.sums);
  }
  for (; d < size; ++d) {
    T sum = 0;
    for (int64_t r = 0; r < rows; ++r) sum += weights[r] * x[r * row_stride + d];
    y[d] = sum;
  }
}

// scores[0, keys) to probabilities; all zero where every score is minus infinity, or NaN.
template <class T>
void softmax_row(T* scores, int64_t keys, bool blind_gives_nan) {
  if (keys == 0) return;
  constexpr T kHidden = -std::numeric_limits<T>::infinity();
  if (!blind_gives_nan && std::all_of(scores, scores + keys, [](T s) { return s == kHidden; })) {
    std::fill_n(scores, keys, T{0});
    return;
  }
  if constexpr (std::is_same_v<T, float>) {
    // One division instead of one a key, which would take as long as the product with them.
    const float share = 1 / vector_math().softmax_terms(scores, scores, keys);
    vector_math().mul(scores, 1, &share, 0, scores, keys);
  } else {
    const T max = *std::max_element(scores, scores + keys);
    T sum = 0;
    for (int64_t j = 0; j < keys; ++j) sum += scores[j] = std::exp(scores[j] - max);
    for (int64_t j = 0; j < keys; ++j) scores[j] /= sum;
  }
}

template <class T>
void cap_row(T* scores, int64_t keys, T cap) {
  if constexpr (std::is_same_v<T, float>) {
    vector_math().div(scores, 1, &cap, 0, scores, keys);
    vector_math().tanh(scores, scores, keys);
    vector_math().mul(scores, 1, &cap, 0, scores, keys);
  } else {
    for (int64_t j = 0; j < keys; ++j) scores[j] = cap * std::tanh(scores[j] / cap);
  }
}

template <class T>
class Attention {
 public:
  Attention(const GemmIsa& isa, const AttentionProblem<T>& problem) : isa_(isa), p_(problem) {
    const HeadShape& k = p_.k;
    blocks_ = ceil_div(p_.q.rows, kQueries);
    rows_ = std::min(kQueries, p_.q.rows);
    const int width = tile_cols_of<T>(isa_);
    packed_size_ = packed_count<T>(k.rows, k.size, width);
    packs_own_ = !few() && tasks() < 2 * k.batches * k.heads && packed_size_ <= kOwnKeys;
    score_count_ = round_up(rows_ * round_up(k.rows, width), 64);
    query_count_ = round_up(rows_ * p_.q.size, 64);
    const MatrixPanels<T> any(nullptr, 1, 1);
    workspace_ = std::max(gemm_workspace<T>(isa, any, rows_, p_.q.size),
                          gemm_workspace<T>(isa, any, rows_, k.rows));
  }
  int64_t tasks() const { return p_.q.batches * p_.q.heads * blocks_; }
  int64_t buffer_bytes() const {
    return (score_count_ + query_count_ + workspace_ + (packs_own_ ? packed_size_ : 0)) *
           int64_t{sizeof(T)};
  }

  // Keys that several tasks multiply are packed once, head by head.
  Status pack_keys(KernelContext& ctx) {
    const HeadShape& k = p_.k;
    if (few() || tasks() < 2 * k.batches * k.heads) return {};
    const int width = tile_cols_of<T>(isa_);
    const auto bytes = checked_product(Dims{k.batches, k.heads, packed_size_, int64_t{sizeof(T)}});
    if (!bytes) return kernel_error(ErrorCode::kLimit, "the keys are too large");
    ONNXTOOL_ASSIGN(void* buffer, ctx.scratch(static_cast<size_t>(*bytes)));
    T* out = static_cast<T*>(buffer);
    const int64_t panels = ceil_div(k.rows, width);
    ctx.parallel(k.batches * k.heads * panels, grain_of(k.size * width),
                 [&](int64_t begin, int64_t end) {
                   for (int64_t i = begin; i < end; ++i) {
                     const int64_t head = i / panels;
                     const T* from = p_.k_data + k.offset(head / k.heads, head % k.heads);
                     pack_panels<T>(MatrixPanels<T>(from, 1, k.row_stride), k.rows, k.size, width,
                                    i % panels, i % panels + 1, out + head * packed_size_);
                   }
                 });
    packed_ = out;
    return {};
  }

  void run(int64_t task, T* buffer) const {
    const int64_t first = task % blocks_ * kQueries, head = task / blocks_ % p_.q.heads;
    const int64_t batch = task / blocks_ / p_.q.heads;
    const int64_t rows = std::min(kQueries, p_.q.rows - first);
    // Where scores are shown, hidden ones are part of them.
    int64_t keys = p_.k.rows;
    if (p_.bias != nullptr && p_.scores == nullptr)
      keys = p_.bias->visible_keys(batch, first + rows - 1, keys);
    // Whole tiles of scores where the keys are packed, which fills what they lack with zeros.
    const bool whole = packed_ != nullptr || packs_own_;
    const int64_t stride = whole ? round_up(keys, tile_cols_of<T>(isa_)) : keys;
    T* scores = buffer;
    multiply_keys(batch, head, first, rows, keys, scores, stride, buffer + score_count_);
    for (int64_t i = 0; i < rows; ++i)
      finish_row(batch, head, first + i, scores + i * stride, keys);
    multiply_values(batch, head, first, rows, keys, scores, stride, buffer + score_count_);
  }

 private:
  // Query heads that share a head of keys follow each other.
  int64_t kv_head(int64_t head) const { return head / (p_.q.heads / p_.k.heads); }
  int64_t reuse(int64_t rows) const { return ceil_div(rows, tile_rows_of<T>(isa_)); }
  bool few() const { return p_.q.rows <= kFewQueries; }

  void multiply_keys(int64_t batch, int64_t head, int64_t first, int64_t rows, int64_t keys,
                     T* scores, int64_t stride, T* workspace) const {
    const T* q = p_.q_data + p_.q.offset(batch, head) + first * p_.q.row_stride;
    const T* k = p_.k_data + p_.k.offset(batch, kv_head(head));
    const int64_t size = p_.q.size;
    if (few()) {
      for (int64_t i = 0; i < rows; ++i) {
        for (int64_t j = 0; j < keys; ++j)
          scores[i * stride + j] = dot(q + i * p_.q.row_stride, k + j * p_.k.row_stride, size);
        scale_row(scores + i * stride, keys, scores + i * stride);
      }
      return;
    }
    T* scaled = workspace;
    for (int64_t i = 0; i < rows; ++i) scale_row(q + i * p_.q.row_stride, size, scaled + i * size);
    workspace += query_count_;
    const RowPanels<T> queries(scaled, size);
    const MatrixPanels<T> as_they_are(k, 1, p_.k.row_stride, reuse(rows));
    if (packed_ == nullptr && !packs_own_) {
      gemm_range<T>(isa_, queries, as_they_are, size, {0, rows, 0, keys}, scores, stride,
                    workspace);
      return;
    }
    const int width = tile_cols_of<T>(isa_);
    const T* head_keys;
    if (packs_own_) {
      T* own = workspace + workspace_;
      pack_panels<T>(as_they_are, p_.k.rows, size, width, 0, ceil_div(keys, width), own);
      head_keys = own;
    } else {
      head_keys = packed_ + (batch * p_.k.heads + kv_head(head)) * packed_size_;
    }
    gemm_range<T>(isa_, queries, PackedPanels<T>(head_keys, p_.k.rows, width), size,
                  {0, rows, 0, stride}, scores, stride, workspace);
  }
  void scale_row(const T* x, int64_t n, T* y) const {
    if constexpr (std::is_same_v<T, float>)
      vector_math().mul(x, 1, &p_.scale, 0, y, n);
    else
      for (int64_t i = 0; i < n; ++i) y[i] = x[i] * p_.scale;
  }
  void show(ScoreStage stage, int64_t batch, int64_t head, int64_t query, const T* scores) const {
    if (p_.scores == nullptr || p_.stage != stage) return;
    const int64_t row = (batch * p_.q.heads + head) * p_.q.rows + query;
    std::copy_n(scores, p_.k.rows, p_.scores + row * p_.k.rows);
  }
  void finish_row(int64_t batch, int64_t head, int64_t query, T* scores, int64_t keys) const {
    show(ScoreStage::kProduct, batch, head, query, scores);
    if (p_.softcap != 0) cap_row(scores, keys, p_.softcap);
    show(ScoreStage::kCapped, batch, head, query, scores);
    if (p_.bias != nullptr) p_.bias->add(batch, head, query, scores, keys);
    show(ScoreStage::kBiased, batch, head, query, scores);
    softmax_row(scores, keys, p_.blind_gives_nan);
    show(ScoreStage::kProbabilities, batch, head, query, scores);
  }
  void multiply_values(int64_t batch, int64_t head, int64_t first, int64_t rows, int64_t keys,
                       const T* scores, int64_t stride, T* workspace) const {
    const T* v = p_.v_data + p_.v.offset(batch, kv_head(head));
    T* y = p_.y_data + p_.y.offset(batch, head) + first * p_.y.row_stride;
    if (few()) {
      for (int64_t i = 0; i < rows; ++i)
        weigh_rows(scores + i * stride, keys, v, p_.v.row_stride, p_.v.size,
                   y + i * p_.y.row_stride);
      return;
    }
    gemm_range<T>(isa_, RowPanels<T>(scores, stride),
                  MatrixPanels<T>(v, p_.v.row_stride, 1, reuse(rows)), keys,
                  {0, rows, 0, p_.v.size}, y, p_.y.row_stride, workspace);
  }

  const GemmIsa& isa_;
  const AttentionProblem<T>& p_;
  int64_t blocks_, rows_, score_count_, query_count_, workspace_;
  bool packs_own_;             // the keys of its head, each task by itself
  const T* packed_ = nullptr;  // [batch, head of keys, packed_size_]; nullptr: tasks pack
  int64_t packed_size_;
};

}  // namespace

template <class T>
Status attend(KernelContext& ctx, const GemmIsa& isa, const AttentionProblem<T>& problem) {
  // Tensors without elements may name more rows than memory could hold scores for.
  const Dims scores{kQueries, problem.k.rows, int64_t{sizeof(T)} * 4};
  if (!checked_product(scores))
    return kernel_error(ErrorCode::kLimit, "too many keys: " + std::to_string(problem.k.rows));
  const HeadShape& y = problem.y;
  const Dims results{y.batches, y.heads, y.rows,
                     problem.scores != nullptr ? std::max(y.size, problem.k.rows) : y.size};
  if (checked_product(results) == 0) return {};
  Attention<T> attention(isa, problem);
  ONNXTOOL_TRY(attention.pack_keys(ctx));
  ONNXTOOL_ASSIGN(const TaskPool pool, TaskPool::make(ctx, attention.buffer_bytes()));
  pool.run(ctx, attention.tasks(), [&](int64_t task, std::byte* memory) {
    attention.run(task, reinterpret_cast<T*>(memory));
  });
  return {};
}

template Status attend(KernelContext&, const GemmIsa&, const AttentionProblem<float>&);
template Status attend(KernelContext&, const GemmIsa&, const AttentionProblem<double>&);

}  // namespace onnxtool
