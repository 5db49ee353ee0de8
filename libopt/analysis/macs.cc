// Multiply-accumulates by operator.
#include "libopt/analysis/cost.h"

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "libopt/analysis/functions.h"
#include "libopt/support/checked.h"

namespace onnxtool {
namespace {

using Dims = std::vector<int64_t>;

std::optional<Dims> dims_of(const Value& v) {
  return v.type().is_tensor() ? v.type().static_dims() : std::nullopt;
}

std::optional<Dims> input_dims(const Node& n, int i) {
  return n.has_input(i) ? dims_of(n.input(i)) : std::nullopt;
}

std::optional<Dims> output_dims(const Node& n) {
  return n.has_output(0) ? dims_of(n.output(0)) : std::nullopt;
}

std::optional<int64_t> product(std::optional<Dims> dims, size_t from = 0) {
  if (!dims || dims->size() < from) return std::nullopt;
  return checked_product(std::span(*dims).subspan(from));
}

std::optional<int64_t> times(std::optional<int64_t> a, std::optional<int64_t> b) {
  return a && b ? checked_mul(*a, *b) : std::nullopt;
}

// W: [C_out, C_in/group, k...]: each output element takes one filter.
std::optional<int64_t> conv(const Node& n, int weight) {
  return times(product(output_dims(n)), product(input_dims(n, weight), 1));
}

// W: [C_in, C_out/group, k...]: each input element is spread by one filter.
std::optional<int64_t> conv_transpose(const Node& n) {
  return times(product(input_dims(n, 0)), product(input_dims(n, 1), 1));
}

std::optional<int64_t> matmul(const Node& n) {
  const auto a = input_dims(n, 0);
  if (!a || a->empty()) return std::nullopt;
  return times(product(output_dims(n)), a->back());
}

std::optional<int64_t> gemm(const Node& n) {
  const auto a = input_dims(n, 0);
  if (!a || a->size() != 2) return std::nullopt;
  return times(product(output_dims(n)), (*a)[n.attr<int64_t>("transA", 0) ? 0 : 1]);
}

// X: [steps, batch, in] (steps and batch swap with layout 1); W and R: [directions, gates * hidden,
// ...].
std::optional<int64_t> recurrent(const Node& n) {
  const auto x = input_dims(n, 0);
  const auto w = product(input_dims(n, 1)), r = product(input_dims(n, 2));
  if (!x || x->size() != 3 || !w || !r) return std::nullopt;
  return times(times((*x)[0], (*x)[1]), checked_add(*w, *r));
}

// Of queries [batch, length, heads in a row of `inner`] with `keys` keys each: both products.
struct Products {
  std::optional<int64_t> batch, length, keys, inner, outer;
  std::optional<int64_t> macs() const {
    const auto width = inner && outer ? checked_add(*inner, *outer) : std::nullopt;
    return times(times(times(batch, length), keys), width);
  }
};

// With those of earlier steps, [..., steps, head size], where the node has such an input.
std::optional<int64_t> with_past(const Node& n, int input, std::optional<int64_t> keys) {
  if (!n.has_input(input)) return keys;
  const auto past = input_dims(n, input);
  return keys && past && past->size() >= 2 ? checked_add(*keys, (*past)[past->size() - 2])
                                           : std::nullopt;
}

// Q: [batch, heads, n, d], K: [batch, key heads, m, d], V: [batch, key heads, m, e], or of three
// axes, [batch, n, heads * d] and so on. Heads of Q may share those of K and V.
std::optional<int64_t> attention(const Node& n) {
  const auto q = input_dims(n, 0), k = input_dims(n, 1), v = input_dims(n, 2);
  if (!q || !k || !v || q->size() != k->size() || q->size() != v->size()) return std::nullopt;
  if (q->size() == 4)
    return Products{(*q)[0], (*q)[2], with_past(n, 4, (*k)[2]), times((*q)[1], (*q)[3]),
                    times((*q)[1], (*v)[3])}
        .macs();
  const auto heads = n.attr<int64_t>("q_num_heads", 0), shared = n.attr<int64_t>("kv_num_heads", 0);
  if (q->size() != 3 || heads < 1 || shared < 1) return std::nullopt;
  return Products{(*q)[0], (*q)[1], with_past(n, 4, (*k)[1]), (*q)[2],
                  times(heads, (*v)[2] / shared)}
      .macs();
}

// X: [batch, n, in], W: [in, widths of Q, K and V]: com.microsoft's Attention projects first.
std::optional<int64_t> projecting_attention(const Node& n, int past) {
  const auto x = input_dims(n, 0), w = input_dims(n, 1);
  if (!x || !w || x->size() != 3 || w->size() != 2) return std::nullopt;
  const auto widths = n.attr<std::vector<int64_t>>("qkv_hidden_sizes", {});
  if (!widths.empty() && widths.size() != 3) return std::nullopt;
  const int64_t third = (*w)[1] / 3;
  const auto products =
      Products{(*x)[0], (*x)[1], with_past(n, past, (*x)[1]), widths.empty() ? third : widths[0],
               widths.empty() ? third : widths[2]}
          .macs();
  const auto projection = times(times((*x)[0], (*x)[1]), product(w));
  return products && projection ? checked_add(*products, *projection) : std::nullopt;
}

// Q: [batch, n, heads * d]; K and V likewise, or [batch, heads, m, d]. Other forms are not counted.
std::optional<int64_t> multi_head_attention(const Node& n) {
  const auto q = input_dims(n, 0), k = input_dims(n, 1), v = input_dims(n, 2);
  if (!q || !k || !v || q->size() != 3 || k->size() != v->size()) return std::nullopt;
  if (k->size() != 3 && k->size() != 4) return std::nullopt;
  const bool parted = k->size() == 4;
  return Products{(*q)[0], (*q)[1], with_past(n, 6, (*k)[parted ? 2 : 1]), (*q)[2],
                  parted ? times((*v)[1], (*v)[3]) : (*v)[2]}
      .macs();
}

// Q: [batch, n, heads * d], K: [batch, m, key heads * d]; or all of Q, K and V in Q.
std::optional<int64_t> group_query_attention(const Node& n) {
  const auto q = input_dims(n, 0), k = input_dims(n, 1);
  const auto heads = n.attr<int64_t>("num_heads", 0), shared = n.attr<int64_t>("kv_num_heads", 0);
  constexpr int64_t kMostHeads = 1 << 20;
  if (!q || q->size() != 3 || heads < 1 || shared < 1 || heads > kMostHeads || shared > kMostHeads)
    return std::nullopt;
  if (n.has_input(1) && (!k || k->size() != 3)) return std::nullopt;
  const auto width = n.has_input(1) ? (*q)[2] : times(heads, (*q)[2] / (heads + 2 * shared));
  return Products{(*q)[0], (*q)[1], with_past(n, 3, k ? (*k)[1] : (*q)[1]), width, width}.macs();
}

// The letters of an operand's axes, one an axis; those that "..." stands for are named by their
// distance from its end. nullopt: the operand has another rank.
std::optional<std::string> einsum_axes(const std::string& term, size_t rank) {
  const size_t dots = term.find("...");
  if (dots == std::string::npos) return term.size() == rank ? std::optional(term) : std::nullopt;
  const size_t letters = term.size() - 3;
  if (rank < letters || rank - letters > 26) return std::nullopt;
  std::string between;
  for (size_t left = rank - letters; left > 0; --left) between += static_cast<char>(left);
  return term.substr(0, dots) + between + term.substr(dots + 3);
}

// A: [..., m, k], or [..., k, m] with transA; with transBatchA the batch axes stand between the
// two.
std::optional<int64_t> fused_matmul(const Node& n) {
  const auto a = input_dims(n, 0);
  if (!a || a->empty()) return std::nullopt;
  const bool turned = n.attr<int64_t>("transA", 0) != 0 && a->size() > 1;
  const bool apart = n.attr<int64_t>("transBatchA", 0) != 0 && a->size() > 2;
  const size_t at = !turned ? a->size() - 1 : apart ? 0 : a->size() - 2;
  return times(product(output_dims(n)), (*a)[at]);
}

// Every letter of the equation is a loop; with one operand nothing is multiplied.
std::optional<int64_t> einsum(const Node& n) {
  if (n.num_inputs() < 2) return 0;
  std::string equation = n.attr<std::string>("equation", "");
  std::erase(equation, ' ');
  equation = equation.substr(0, equation.find("->"));
  std::map<char, int64_t> extents;
  size_t at = 0;
  for (int i = 0; i < n.num_inputs(); ++i) {
    const auto dims = input_dims(n, i);
    if (!dims || at > equation.size()) return std::nullopt;
    const size_t end = std::min(equation.find(',', at), equation.size());
    const auto axes = einsum_axes(equation.substr(at, end - at), dims->size());
    if (!axes) return std::nullopt;
    for (size_t d = 0; d < dims->size(); ++d)
      extents[(*axes)[d]] = std::max(extents[(*axes)[d]], (*dims)[d]);
    at = end + 1;
  }
  std::optional<int64_t> loops = 1;
  for (const auto& [letter, extent] : extents) loops = times(loops, extent);
  return times(loops, n.num_inputs() - 1);
}

struct Formula {
  const char* op;
  const char* domain;
  std::optional<int64_t> (*macs)(const Node&);
};

constexpr const char* kMicrosoft = "com.microsoft";
constexpr Formula kFormulas[] = {
    {"Conv", "", [](const Node& n) { return conv(n, 1); }},
    {"ConvInteger", "", [](const Node& n) { return conv(n, 1); }},
    {"QLinearConv", "", [](const Node& n) { return conv(n, 3); }},
    {"FusedConv", kMicrosoft, [](const Node& n) { return conv(n, 1); }},
    {"NhwcFusedConv", kMicrosoft, [](const Node& n) { return conv(n, 1); }},
    {"QLinearConv", kMicrosoft, [](const Node& n) { return conv(n, 3); }},
    {"DeformConv", "", [](const Node& n) { return conv(n, 1); }},
    {"ConvTranspose", "", conv_transpose},
    {"MatMul", "", matmul},
    {"MatMulInteger", "", matmul},
    {"QLinearMatMul", "", matmul},
    {"FusedMatMul", kMicrosoft, fused_matmul},
    {"MatMulNBits", kMicrosoft, matmul},
    {"MatMulIntegerToFloat", kMicrosoft, matmul},
    {"DynamicQuantizeMatMul", kMicrosoft, matmul},
    {"Gemm", "", gemm},
    {"QGemm", kMicrosoft, gemm},
    {"FusedGemm", kMicrosoft, gemm},
    {"LSTM", "", recurrent},
    {"GRU", "", recurrent},
    {"RNN", "", recurrent},
    {"DynamicQuantizeLSTM", kMicrosoft, recurrent},
    {"Attention", "", attention},
    {"Attention", kMicrosoft, [](const Node& n) { return projecting_attention(n, 4); }},
    {"QAttention", kMicrosoft, [](const Node& n) { return projecting_attention(n, 8); }},
    {"MultiHeadAttention", kMicrosoft, multi_head_attention},
    {"GroupQueryAttention", kMicrosoft, group_query_attention},
    {"Einsum", "", einsum},
};

const Formula* formula_of(const Node& node) {
  for (const Formula& f : kFormulas)
    if (node.is(f.op, f.domain)) return &f;
  return nullptr;
}

}  // namespace

bool is_counted(const Node& node) { return formula_of(node) != nullptr; }

std::optional<int64_t> macs_of(const Node& node) {
  if (called_function(node)) return std::nullopt;
  const Formula* f = formula_of(node);
  return f ? f->macs(node) : 0;
}

}  // namespace onnxtool
