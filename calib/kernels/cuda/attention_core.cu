// Attention on a device (cpu/attention_core.h). In float32, where heads are not too wide and scores
// are not wanted, it is one launch (attention_tiles.h). Else: one product of all heads for the
// scores, one pass over their rows for caps, biases and maxima, one for exponentials and sums, one
// that divides, one product with the values.
//
// Heads lie one after the other, [batch, head, row, size], copied where they do not; queries of a
// group of heads that share keys are then rows of one matrix. Scores are held for as many rows as
// kMostScoreBytes takes. Products sum in float (double for double), the sums of softmax in double.

#include "calib/kernels/cpu/attention_core.h"

#include <cmath>
#include <limits>

#include "calib/kernels/cuda/attention_tiles.h"
#include "calib/kernels/cuda/gemm_isa.h"
#include "calib/kernels/cuda/lines.h"

namespace onnxtool {

const GemmIsa& gemm_isa() { return gemm_isa_of<device::Precision::kFloat32>(); }
const GemmIsa& gemm_isa_portable() { return gemm_isa(); }

namespace {

using device::Divider;
using device::Precision;
using device::RowBias;

#if defined(__CUDACC__)
// Products of so many scores fill a device; small against its memory.
constexpr int64_t kMostScoreBytes = int64_t{512} << 20;
#else
// Tests see rows in parts.
constexpr int64_t kMostScoreBytes = 2 << 10;
#endif

// Rows of scores as they are computed, of all [batch, head, query] from `first` on.
template <class T>
struct ScoreRows {
  T *scores, *max, *sums;
  int64_t keys, first;
  Divider heads, queries;
  T softcap;
  RowBias<T> biases[2];
  T* shown;  // nullptr: no stage is
  ScoreStage stage;
  bool blind_gives_nan;

  ONNXTOOL_HD void show(ScoreStage at, int64_t line, int64_t key, T value) const {
    if (shown && stage == at) shown[(first + line) * keys + key] = value;
  }
};

// Scores before softmax, in place, and the greatest of a row.
template <class T>
struct BiasLine : ScoreRows<T> {
  using Part = T;
  ONNXTOOL_HD int64_t length() const { return this->keys; }
  ONNXTOOL_HD Part start() const { return -std::numeric_limits<T>::infinity(); }
  ONNXTOOL_HD void add(Part& part, int64_t line, int64_t key) const {
    T* at = this->scores + line * this->keys + key;
    int64_t batch = this->first + line;
    const int64_t query = this->queries.split(batch), head = this->heads.split(batch);
    T score = *at;
    this->show(ScoreStage::kProduct, line, key, score);
    if (this->softcap != 0) score = this->softcap * std::tanh(score / this->softcap);
    this->show(ScoreStage::kCapped, line, key, score);
    for (const RowBias<T>& bias : this->biases) {
      const KeyRange seen = bias.range(batch, query, this->keys);
      score = key >= seen.first && key < seen.last ? bias.add(score, batch, head, query, key)
                                                   : -std::numeric_limits<T>::infinity();
    }
    this->show(ScoreStage::kBiased, line, key, score);
    *at = score;
    merge(part, score);
  }
  ONNXTOOL_HD void merge(Part& a, const Part& b) const { a = b > a || b != b ? b : a; }
  ONNXTOOL_HD void finish(int64_t line, const Part& part) const { this->max[line] = part; }
};

// Their exponentials, in place, and the sum of a row; 1 where a row sees nothing.
template <class T>
struct ExpLine : ScoreRows<T> {
  using Part = double;
  ONNXTOOL_HD bool is_blind(int64_t line) const {
    return !this->blind_gives_nan && this->max[line] == -std::numeric_limits<T>::infinity();
  }
  ONNXTOOL_HD int64_t length() const { return this->keys; }
  ONNXTOOL_HD Part start() const { return 0; }
  ONNXTOOL_HD void add(Part& part, int64_t line, int64_t key) const {
    T* at = this->scores + line * this->keys + key;
    *at = is_blind(line) ? T{0} : std::exp(*at - this->max[line]);
    part += static_cast<double>(*at);
  }
  ONNXTOOL_HD void merge(Part& a, const Part& b) const { a += b; }
  ONNXTOOL_HD void finish(int64_t line, const Part& part) const {
    this->sums[line] = is_blind(line) ? T{1} : static_cast<T>(part);
  }
};

// Probabilities, in place or as operands of a narrower type.
template <class T>
struct Divide : ScoreRows<T> {
  DataType type;
  void* out;
  Divider by_keys;
  ONNXTOOL_HD void operator()(int64_t i) const {
    int64_t line = i;
    const int64_t key = by_keys.split(line);
    const T p = this->scores[i] / this->sums[line];
    this->show(ScoreStage::kProbabilities, line, key, p);
    device::store<T>(type, out, i, p);
  }
};

// Rows of heads from one place to another.
template <class T>
struct MoveHeads {
  const T* x;
  HeadShape from;
  DataType type;
  void* y;
  HeadShape to;
  Divider size, rows, heads;
  ONNXTOOL_HD void operator()(int64_t i) const {
    int64_t batch = i;
    const int64_t column = size.split(batch), row = rows.split(batch), head = heads.split(batch);
    device::store<T>(type, y, to.offset(batch, head) + row * to.row_stride + column,
                     x[from.offset(batch, head) + row * from.row_stride + column]);
  }
};

template <class T>
void move_heads(const T* x, const HeadShape& from, DataType type, void* y, const HeadShape& to) {
  device::for_each_index(from.count(), MoveHeads<T>{x, from, type, y, to, Divider(from.size),
                                                    Divider(from.rows), Divider(from.heads)});
}

bool is_dense(const HeadShape& s) {
  const HeadShape dense = heads_first(s.batches, s.heads, s.rows, s.size);
  return (s.rows == 1 || s.row_stride == dense.row_stride) &&
         (s.heads == 1 || s.head_stride == dense.head_stride) &&
         (s.batches == 1 || s.batch_stride == dense.batch_stride);
}

template <class T>
class Attention {
 public:
  Attention(KernelContext& ctx, const GemmIsa& isa, const AttentionProblem<T>& p)
      : ctx_(ctx), p_(p), operand_(device::operand_type(dtype_of<T>, isa.precision)) {
    tf32_ = isa.precision == Precision::kTf32 && dtype_of<T> == DataType::kFloat;
    rows_ = p.q.heads / p.k.heads * p.q.rows;
  }

  Status run() {
    const int64_t keys = p_.k.rows, groups = p_.k.batches * p_.k.heads;
    ONNXTOOL_ASSIGN(q_, dense(p_.q_data, p_.q));
    ONNXTOOL_ASSIGN(k_, dense(p_.k_data, p_.k));
    ONNXTOOL_ASSIGN(v_, dense(p_.v_data, p_.v));
    y_ = p_.y_data;
    if (!is_dense(p_.y)) {
      ONNXTOOL_ASSIGN(y_, buffer<T>(p_.y.count()));
    }
    const int64_t most =
        std::max<int64_t>(kMostScoreBytes / std::max<int64_t>(keys * int64_t{sizeof(T)}, 1), 1);
    const int64_t rows = std::min(rows_, most), together = std::min(groups, most / rows);
    ONNXTOOL_TRY(make_rows(together * rows));
    for (int64_t g = 0; g < groups; g += together)
      for (int64_t first = 0; first < rows_; first += rows)
        ONNXTOOL_TRY(
            attend(g, std::min(together, groups - g), first, std::min(rows, rows_ - first)));
    if (!is_dense(p_.y))
      move_heads(y_, heads_first(p_.y.batches, p_.y.heads, p_.y.rows, p_.y.size), dtype_of<T>,
                 p_.y_data, p_.y);
    return {};
  }

 private:
  template <class E>
  Result<E*> buffer(int64_t count) {
    ONNXTOOL_ASSIGN(void* data, ctx_.scratch(static_cast<size_t>(count) * sizeof(E)));
    return static_cast<E*>(data);
  }

  // Heads one after the other, as an operand.
  Result<const void*> dense(const T* data, const HeadShape& s) {
    if (is_dense(s) && operand_ == dtype_of<T>) return static_cast<const void*>(data);
    ONNXTOOL_ASSIGN(void* to,
                    ctx_.scratch(size_bytes_of(operand_, static_cast<uint64_t>(s.count()))));
    move_heads(data, s, operand_, to, heads_first(s.batches, s.heads, s.rows, s.size));
    return static_cast<const void*>(to);
  }

  Status make_rows(int64_t rows) {
    ONNXTOOL_ASSIGN(line_.scores, buffer<T>(rows * p_.k.rows));
    ONNXTOOL_ASSIGN(line_.max, buffer<T>(2 * rows));
    line_.sums = line_.max + rows;
    weights_ = line_.scores;
    if (operand_ != dtype_of<T>) {
      ONNXTOOL_ASSIGN(
          weights_, ctx_.scratch(size_bytes_of(operand_, static_cast<uint64_t>(rows * p_.k.rows))));
    }
    line_.keys = p_.k.rows;
    line_.heads = Divider(p_.q.heads), line_.queries = Divider(p_.q.rows);
    line_.softcap = p_.softcap;
    for (size_t i = 0; i < 2; ++i) {
      ONNXTOOL_ASSIGN(line_.biases[i], device::row_bias<T>(ctx_, p_.biases[i]));
    }
    line_.shown = p_.scores, line_.stage = p_.stage;
    line_.blind_gives_nan = p_.blind_gives_nan;
    return {};
  }

  // Rows [first, first + rows) of `count` groups of heads from `group` on.
  Status attend(int64_t group, int64_t count, int64_t first, int64_t rows) {
    const int64_t keys = p_.k.rows, size = p_.q.size, lines = count * rows;
    device::Product p;
    p.type = operand_;
    p.result = dtype_of<T>;
    p.tf32 = tf32_;
    p.count = count;
    p.transpose_b = true;
    p.m = rows, p.n = keys, p.k = size;
    p.a = device::element(q_, operand_, (group * rows_ + first) * size);
    p.b = device::element(k_, operand_, group * keys * size);
    p.c = line_.scores;
    p.a_step = rows_ * size, p.b_step = keys * size, p.c_step = rows * keys;
    p.alpha = static_cast<double>(p_.scale);
    ONNXTOOL_TRY(device::multiply(ctx_, p));

    line_.first = group * rows_ + first;
    device::reduce_lines(lines, BiasLine<T>{line_}, false);
    device::reduce_lines(lines, ExpLine<T>{line_}, false);
    device::for_each_index(lines * keys, Divide<T>{line_, operand_, weights_, Divider(keys)});

    const int64_t value_size = p_.v.size;
    p.transpose_b = false;
    p.n = value_size, p.k = keys;
    p.a = weights_;
    p.b = device::element(v_, operand_, group * keys * value_size);
    p.c = y_ + (group * rows_ + first) * value_size;
    p.a_step = rows * keys, p.b_step = keys * value_size, p.c_step = rows_ * value_size;
    p.alpha = 1;
    return device::multiply(ctx_, p);
  }

  KernelContext& ctx_;
  const AttentionProblem<T>& p_;
  DataType operand_;
  bool tf32_;
  int64_t rows_;  // queries of all heads that share one head of keys
  const void *q_ = nullptr, *k_ = nullptr, *v_ = nullptr;
  T* y_ = nullptr;
  ScoreRows<T> line_{};
  void* weights_ = nullptr;
};

struct AddToColumns {
  const float* bias;
  float* y;
  Divider columns;
  ONNXTOOL_HD void operator()(int64_t i) const { y[i] += bias[columns.remainder(i)]; }
};

}  // namespace

template <class T>
Status attend(KernelContext& ctx, const GemmIsa& isa, const AttentionProblem<T>& problem) {
  // Tensors without elements may name more rows than memory could hold scores for.
  const HeadShape& y = problem.y;
  const Dims scores{y.batches, y.heads, y.rows, problem.k.rows, int64_t{sizeof(T)}};
  if (!checked_product(scores))
    return kernel_error(ErrorCode::kLimit, "too many keys: " + std::to_string(problem.k.rows));
  const Dims results{y.batches, y.heads, y.rows,
                     problem.scores != nullptr ? std::max(y.size, problem.k.rows) : y.size};
  if (checked_product(results) == 0) return {};
  if constexpr (std::is_same_v<T, float>)
    if (isa.precision == Precision::kFloat32 && !problem.scores &&
        device::fits_tiles(problem.q, problem.k, problem.v))
      return device::attend_in_tiles(ctx, problem);
  return Attention<T>(ctx, isa, problem).run();
}

template Status attend(KernelContext&, const GemmIsa&, const AttentionProblem<float>&);
template Status attend(KernelContext&, const GemmIsa&, const AttentionProblem<double>&);

Status project_rows(KernelContext& ctx, const GemmIsa& isa, const float* x, const float* w,
                    const float* bias, int64_t m, int64_t n, int64_t k, float* y) {
  device::Product p;
  p.type = device::operand_type(DataType::kFloat, isa.precision);
  p.tf32 = isa.precision == Precision::kTf32;
  p.m = m, p.n = n, p.k = k;
  const Dims left{m, k}, right{k, n};
  ONNXTOOL_ASSIGN(const ConstView a, converted(ctx, {DataType::kFloat, left, x, m * k}, p.type));
  ONNXTOOL_ASSIGN(const ConstView b, converted(ctx, {DataType::kFloat, right, w, k * n}, p.type));
  p.a = a.data, p.b = b.data, p.c = y;
  ONNXTOOL_TRY(device::multiply(ctx, p));
  if (bias) device::for_each_index(m * n, AddToColumns{bias, y, Divider(n)});
  return {};
}

}  // namespace onnxtool
