#include "passes/score_bound.h"

#include <cmath>
#include <numeric>

namespace onnxtool {
namespace {

using Vector = std::vector<double>;

// x = unit * scale + shift, element by element, where a row of `unit` is no longer than the root of
// its number of elements.
struct Rows {
  Vector scale, shift;
};

// The parameter of a normalization of rows of n elements; empty: it is no such constant.
Vector parameter(const Node& n, int input, size_t count, double absent) {
  if (!n.has_input(input)) return Vector(count, absent);
  const Tensor* t = n.input(input).constant();
  return t && t->rank() == 1 && t->count() == static_cast<int64_t>(count) ? t->to_doubles()
                                                                          : Vector{};
}

// Of x with three axes, the last of n elements; nullopt: its elements may be anything.
std::optional<Rows> rows_of(const Value& x, size_t n) {
  const Node* maker = x.producer();
  if (!maker || x.type().rank() != 3 || x.producer_index() != 0) return std::nullopt;
  if (maker->domain().empty() && (maker->is("Tanh") || maker->is("Sigmoid")))
    return Rows{Vector(n, 1), Vector(n, 0)};
  int first = 0;
  if (maker->domain().empty() && maker->is("LayerNormalization")) {
    const int64_t axis = maker->attr<int64_t>("axis", -1);
    if (axis != -1 && axis != 2) return std::nullopt;
    first = 1;
  } else if (maker->domain() == "com.microsoft" && maker->op_type() == "SkipLayerNormalization") {
    first = 2;
  } else {
    return std::nullopt;
  }
  Rows rows{parameter(*maker, first, n, 1), parameter(*maker, first + 1, n, 0)};
  const bool known = rows.scale.size() == n && rows.shift.size() == n;
  return known && maker->attr<float>("epsilon", 0) >= 0 ? std::optional(std::move(rows))
                                                        : std::nullopt;
}

double dot(const Vector& a, const Vector& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

// One head's queries or keys: element i is columns[i] * unit + offset[i].
struct Head {
  std::vector<Vector> columns;
  Vector offset;

  double squared() const {
    double sum = 0;
    for (const Vector& c : columns) sum += dot(c, c);
    return sum;
  }
  /// The length of the sum of the columns, each times its weight.
  double combined(const Vector& weights) const {
    Vector sum(columns[0].size());
    for (size_t i = 0; i < columns.size(); ++i)
      for (size_t k = 0; k < sum.size(); ++k) sum[k] += columns[i][k] * weights[i];
    return std::sqrt(dot(sum, sum));
  }
};

struct Product {
  Vector weight, bias;  // bias: empty: none
  size_t width;         // of the weight
};

Head head_of(const Product& p, const Rows& rows, size_t first, size_t size) {
  Head head{std::vector<Vector>(size, rows.scale), Vector(size)};
  for (size_t i = 0; i < size; ++i) {
    Vector& column = head.columns[i];
    if (!p.bias.empty()) head.offset[i] = p.bias[first + i];
    for (size_t k = 0; k < column.size(); ++k) {
      const double w = p.weight[k * p.width + first + i];
      column[k] *= w;
      head.offset[i] += rows.shift[k] * w;
    }
  }
  return head;
}

// The Frobenius norm of q^T * k, by the products of columns with each other: far less than the
// product of both norms where the columns differ.
double norm_of_product(const Head& q, const Head& k) {
  double sum = 0;
  for (size_t i = 0; i < q.columns.size(); ++i)
    for (size_t j = 0; j < q.columns.size(); ++j)
      sum += dot(q.columns[i], q.columns[j]) * dot(k.columns[i], k.columns[j]);
  return std::sqrt(std::max(sum, 0.0));
}

}  // namespace

bool scores_stay_within(double limit, const Projection& thirds, int64_t heads, int64_t size,
                        double scale) {
  const Tensor& w = *thirds.weight->constant();
  const auto rows = rows_of(*thirds.x, static_cast<size_t>(w.dims()[0]));
  if (!rows || heads <= 0 || size <= 0 || w.dims()[1] != 3 * heads * size) return false;
  const Product p{w.to_doubles(), thirds.bias ? thirds.bias->constant()->to_doubles() : Vector{},
                  static_cast<size_t>(w.dims()[1])};
  const double n = static_cast<double>(w.dims()[0]);
  const auto count = static_cast<size_t>(heads), wide = static_cast<size_t>(size);
  for (size_t h = 0; h < count; ++h) {
    const Head q = head_of(p, *rows, h * wide, wide),
               k = head_of(p, *rows, (count + h) * wide, wide);
    // q * k = u q^T k u' + u q^T k0 + q0 k u' + q0 k0, and |u| is at most the root of n.
    const double rest = std::sqrt(n) * (q.combined(k.offset) + k.combined(q.offset)) +
                        std::abs(dot(q.offset, k.offset));
    const double quick = n * std::sqrt(q.squared() * k.squared());
    // Written so that NaN is too much.
    if (std::abs(scale) * (quick + rest) <= limit) continue;
    if (!(std::abs(scale) * (n * norm_of_product(q, k) + rest) <= limit)) return false;
  }
  return true;
}

}  // namespace onnxtool
