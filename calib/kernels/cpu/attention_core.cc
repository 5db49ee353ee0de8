// Products, masks and softmax of attention (see the header).

#include "calib/kernels/cpu/attention_core.h"

#include <cmath>
#include <cstring>

#include "calib/kernels/cpu/gemm.h"
#include "calib/kernels/cpu/plain_sink.h"
#include "calib/kernels/cpu/vector_math.h"

namespace onnxtool {

template <class T>
void MaskBias<T>::add(int64_t batch, int64_t head, int64_t query, T* scores, int64_t keys) const {
  constexpr T kHidden = -std::numeric_limits<T>::infinity();
  if (mask != nullptr) {
    const T* row = mask + batch * strides[0] + head * strides[1] + query * strides[2];
    const int64_t given = std::min(keys, mask_keys);
    if constexpr (std::is_same_v<T, float>)
      vector_math().add(scores, 1, row, 1, scores, given);
    else
      for (int64_t j = 0; j < given; ++j) scores[j] += row[j];
    std::fill(scores + given, scores + keys, kHidden);
  }
  const auto [first, last] = window.range(batch, query, keys);
  std::fill(scores, scores + first, kHidden);
  std::fill(scores + last, scores + keys, kHidden);
}

template <class T>
int64_t MaskBias<T>::visible_keys(int64_t batch, int64_t last_query, int64_t keys) const {
  return std::min(window.range(batch, last_query, keys).last, mask_keys);
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
    for (const MaskBias<T>* bias : p_.biases)
      if (bias != nullptr && p_.scores == nullptr)
        keys = std::min(keys, bias->visible_keys(batch, first + rows - 1, keys));
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
    for (const MaskBias<T>* bias : p_.biases)
      if (bias != nullptr) bias->add(batch, head, query, scores, keys);
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

Status project_rows(KernelContext& ctx, const GemmIsa& isa, const float* x, const float* w,
                    const float* bias, int64_t m, int64_t n, int64_t k, float* y) {
  return for_each_product<float>(
      ctx, isa, 1, m, n, k, [&](int64_t) { return MatrixPanels<float>(x, 1, k); },
      [&](int64_t) { return MatrixPanels<float>(w, n, 1); }, ColumnBiasSink<float>(y, n, bias));
}

}  // namespace onnxtool
