// Makes one MultiHeadAttention of attention whose queries, keys and values are there already.
//
//   q, k, v = Transpose<0, 2, 1, 3>(Reshape(X [+ b], {batch, rows, heads, size}))   for each X, b
//   y = Reshape(Transpose<0, 2, 1, 3>(MatMul(Softmax(scale * MatMul(q, k^T) + mask), v)), target)
//     =>
//   y = com.microsoft.MultiHeadAttention<num_heads, scale>(Xq, Xk, Xv, [bq, bk, bv], , mask)
//
// with a Reshape to `target` behind it where that is not {batch, rows, heads * size}. For what
// fuse_attention.cc leaves: attention to another sequence, positions rotated into queries and
// keys, products that something scales or that are shared. Biases are taken in where all three are
// constant. Does not fire: heads, their size or the batch not known to be the same; a mask of
// another shape; intermediate results used elsewhere; types other than float.
// Source: onnxruntime 1.31, docs/ContribOperators.md, contrib_ops/cpu/bert/multihead_attention.cc.

#include <array>
#include <cmath>
#include <cstring>

#include "libopt/analysis/seam.h"
#include "passes/attention.h"
#include "passes/pass.h"
#include "passes/shapes.h"

namespace onnxtool {
namespace {

// Queries, keys or values: [batch, rows, heads * size], before the bias where there is one.
struct Rows {
  const Value* heads = nullptr;  // [batch, rows, heads, size]
  const Value* x = nullptr;
  const Value* bias = nullptr;
};

struct Match {
  const Node& last;
  std::array<Rows, 3> parts;  // query, key, value
  const Value* mask;          // nullptr: none
  bool expand_mask, reshape;
  int64_t heads, size;
  double scale;
};

// Whether a Reshape of three axes to four leaves the first two as they are.
bool keeps_rows(const Node& reshape) {
  const auto &in = reshape.input(0).type().shape, &out = reshape.output(0).type().shape;
  if (!in || !out || in->size() != 3 || out->size() != 4) return false;
  const auto &heads = (*out)[2].value, &size = (*out)[3].value;
  if (!heads || !size || *heads < 1 || *size < 1 || (*in)[2].value != *heads * *size) return false;
  const auto target = reshape.has_input(1) ? constant_ints(reshape, 1) : std::nullopt;
  const auto copies = [&](size_t axis) {
    return same_dim((*in)[axis], (*out)[axis]) ||
           (target && target->size() == 4 && (*target)[axis] == 0 &&
            !reshape.attr<int64_t>("allowzero", 0));
  };
  // What is left of as many elements is the other one.
  return copies(0) || copies(1);
}

MatchOr<Rows> find_rows(Pattern& p, const Value* heads) {
  const Node* reshape = heads ? p.take(*heads, {"Reshape"}) : nullptr;
  if (!reshape || !reshape->has_input(0)) return no_match("rows are not split into heads");
  if (!keeps_rows(*reshape)) return no_match("heads and their size are not known");
  return Rows{heads, &reshape->input(0)};
}

// What the Add of a constant row to x reads, and the row in `bias`.
const Value* without_bias(const Value& x, const Value*& bias) {
  const Node* add = x.producer();
  if (!add || !add->is("Add") || &add->graph() != &x.graph() || !only_reader(x) ||
      !add->has_input(0) || !add->has_input(1))
    return nullptr;
  for (int i = 0; i < 2; ++i)
    if (add->input(i).constant() && is_row_of(add->input(i), x) &&
        same_shape(add->input(1 - i), x)) {
      bias = &add->input(i);
      return &add->input(1 - i);
    }
  return nullptr;
}

// All three or none: an operator with a bias copies what it has none for too.
void take_biases(Pattern& p, std::array<Rows, 3>& parts) {
  std::array<const Value*, 3> bare{}, bias{};
  for (size_t i = 0; i < 3; ++i)
    if (!(bare[i] = without_bias(*parts[i].x, bias[i]))) return;
  for (size_t i = 0; i < 3; ++i) {
    p.take(*parts[i].x, {"Add"});
    parts[i] = {parts[i].heads, bare[i], bias[i]};
  }
}

// Whether the last Reshape makes {batch, rows, heads * size}; nullopt: its target may mean
// something else behind three axes than behind four.
std::optional<bool> restores_rows(const Node& last, const Value& x) {
  if (same_shape(last.output(0), x)) return true;
  const auto target = last.has_input(1) ? symbolic_elements(last.input(1)) : std::nullopt;
  if (!target) return std::nullopt;
  if (last.attr<int64_t>("allowzero", 0)) return false;
  // 0 copies an extent, and of the first two only both inputs have the same.
  for (size_t i = 2; i < target->size(); ++i)
    if ((*target)[i].value.value_or(0) == 0) return std::nullopt;
  return target->size() == 3 && (*target)[0].value == 0 && (*target)[1].value == 0;
}

MatchOr<Match> check(Match m, Pattern& p) {
  const auto& q = *m.parts[0].heads->type().shape;
  m.heads = *q[2].value;
  m.size = *q[3].value;
  const auto& k = *m.parts[1].heads->type().shape;
  for (const Rows& part : m.parts) {
    const auto& shape = *part.heads->type().shape;
    if (shape[2].value != m.heads || shape[3].value != m.size)
      return no_match("queries, keys and values have not the same heads");
    if (!same_dim(shape[0], q[0])) return no_match("batch is not known to be the same");
    if (part.x->type().dtype != DataType::kFloat) return no_match("type is not float");
  }
  const auto restored = restores_rows(m.last, *m.parts[0].x);
  if (!restored) return no_match("target of the last Reshape is not known");
  m.reshape = !*restored;
  if (m.mask) {
    const MaskFit fit = fit_of(*m.mask, q[0], q[2], q[1], k[1]);
    constexpr int kFirstSliceByInputs = 10;
    m.expand_mask = fit == MaskFit::kExpands;
    if (fit == MaskFit::kNone || (m.expand_mask && m.last.opset() < kFirstSliceByInputs))
      return no_match("mask has another shape");
  }
  take_biases(p, m.parts);
  if (!p.closed()) return no_match(Pattern::kOtherUse);
  return m;
}

MatchOr<Match> match(const Node& last) {
  if (last.opset() < 5 || !last.has_input(0) || !last.has_output(0)) return no_match();
  Pattern p(last);
  const auto attended = find_attended(p, last.input(0));
  if (!attended) return no_match(attended.reason());
  Match m{last, {}, attended->mask, false, false, 0, 0, attended->scale};
  for (size_t i = 0; i < 3; ++i) {
    const auto rows = find_rows(p, attended->heads[i]);
    if (!rows) return no_match(rows.reason());
    m.parts[i] = *rows;
  }
  return check(m, p);
}

Tensor joined_biases(const std::array<Rows, 3>& parts) {
  std::vector<std::byte> bytes;
  int64_t count = 0;
  for (const Rows& part : parts) {
    const Tensor& bias = *part.bias->constant();
    bytes.insert(bytes.end(), bias.bytes().begin(), bias.bytes().end());
    count += bias.count();
  }
  return Tensor::from_bytes(DataType::kFloat, {count}, std::move(bytes));
}

void rewrite(const Match& m, Rewriter& rw) {
  std::vector<Value*> inputs;
  for (const Rows& part : m.parts) inputs.push_back(const_cast<Value*>(part.x));
  inputs.push_back(m.parts[0].bias ? &rw.add_constant(joined_biases(m.parts), "qkv_bias")
                                   : nullptr);
  inputs.push_back(nullptr);  // no key padding
  inputs.push_back(m.expand_mask ? expanded_mask(*m.mask, rw) : const_cast<Value*>(m.mask));
  while (!inputs.back()) inputs.pop_back();
  std::vector<Attribute> attributes;
  attributes.push_back(Attribute::of("num_heads", m.heads));
  const double usual = 1 / std::sqrt(static_cast<double>(m.size));
  if (std::abs(m.scale - usual) > 1e-6 * usual)
    attributes.push_back(Attribute::of("scale", static_cast<float>(m.scale)));
  const Node& attention = rw.add_node("MultiHeadAttention", inputs, std::move(attributes), 1,
                                      m.last.output(0).name(), "com.microsoft");
  if (m.reshape) {
    rw.set_input(m.last, 0, &attention.output(0));
    return;
  }
  rw.replace_uses(m.last.output(0), attention.output(0));
  rw.remove(m.last);
}

}  // namespace

constinit const PassInfo kFuseMultiHeadAttention{
    .name = "fuse-multi-head-attention",
    .summary = "make one MultiHeadAttention of attention to queries, keys and values of any origin",
    .roots = {"Reshape"},
    .level = Level::kExtended,
    .exactness = Exactness::kRounding,
    .run = run_rule<match, rewrite>};
}  // namespace onnxtool
