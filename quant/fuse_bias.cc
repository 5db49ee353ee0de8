#include "quant/fuse_bias.h"

#include <algorithm>

#include "libopt/rewrite/rewriter.h"

namespace onnxtool {
namespace {

struct Pair {
  Node* product;
  Node* sum;
  Node* activation;           // Relu or Clip that alone reads the sum; nullptr: none
  Tensor bias;                // [N]
  std::vector<int64_t> back;  // shape of the result for Reshape; empty: rank 2, or computed
  bool computed = false;      // several leading extents are unknown until the model runs
};

// [N] from a constant that every row of an [..., N] product gets added; nullopt: it is none.
std::optional<Tensor> row_of(const Tensor& t, int64_t rank, int64_t n) {
  if (t.dtype() != DataType::kFloat || t.rank() > rank) return std::nullopt;
  if (t.count() == 1)
    return Tensor::vector(std::vector<float>(static_cast<size_t>(n), t.values<float>()[0]));
  if (t.count() != n || t.dims().back() != n) return std::nullopt;
  return t.reshaped({n});
}

std::optional<Pair> match(Node& product) {
  if (!product.is("MatMul") || product.num_inputs() != 2 || !product.has_input(0) ||
      !product.has_input(1) || !product.has_output(0))
    return std::nullopt;
  const Tensor* w = product.input(1).constant();
  const auto& shape = product.input(0).type().shape;
  if (!w || w->rank() != 2 || w->dtype() != DataType::kFloat || !shape || shape->size() < 2 ||
      product.input(0).constant())
    return std::nullopt;
  Value& out = product.output(0);
  if (!out.has_one_use() || out.is_graph_output()) return std::nullopt;
  Node& sum = *out.uses()[0].user;
  if (!sum.is("Add") || sum.opset() < 7 || &sum.graph() != &product.graph() ||
      sum.num_inputs() != 2 || !sum.has_input(0) || !sum.has_input(1) || !sum.has_output(0))
    return std::nullopt;
  const Value& other = sum.input(1 - out.uses()[0].index);
  if (!other.constant()) return std::nullopt;
  const auto rank = static_cast<int64_t>(shape->size());
  const int64_t n = w->dims()[1];
  auto bias = row_of(*other.constant(), rank, n);
  if (!bias) return std::nullopt;
  Pair p{&product, &sum, nullptr, *std::move(bias), {}, false};
  if (rank > 2) {
    int unknown = 0;
    for (int64_t i = 0; i + 1 < rank; ++i) {
      const Dim& d = (*shape)[static_cast<size_t>(i)];
      if (d.value && *d.value < 1) return std::nullopt;  // 0 has a meaning of its own in Reshape
      unknown += !d.value;
      p.back.push_back(d.value.value_or(-1));
    }
    p.back.push_back(n);
    p.computed = unknown > 1;
  }
  const Value& y = sum.output(0);
  if (y.has_one_use() && !y.is_graph_output()) {
    const Use use = y.uses()[0];
    if ((use.user->is("Relu") || use.user->is("Clip")) && use.index == 0 &&
        use.user->has_output(0) && &use.user->graph() == &product.graph())
      p.activation = use.user;
  }
  return p;
}

// [d_0, ..., d_rank-2, N] from the shape of [d_0, ..., d_rank-2, K].
Value& computed_shape(Rewriter& rw, Value& x, int64_t rank, int64_t n) {
  const auto named = [&](std::string_view op, std::vector<Value*> inputs, int64_t extent,
                         std::vector<Attribute> attributes = {}) -> Value& {
    Value& v = rw.add_node(op, inputs, std::move(attributes), 1, x.name() + "_shape").output(0);
    v.set_type(ValueType::tensor(DataType::kInt64, std::vector<int64_t>{extent}));
    return v;
  };
  const auto constant = [&](int64_t v) {
    return &rw.add_constant(Tensor::vector<int64_t>({v}), "extent");
  };
  Value& shape = named("Shape", {&x}, rank);
  Value& leading = named("Slice", {&shape, constant(0), constant(rank - 1)}, rank - 1);
  std::vector<Attribute> axis;
  axis.push_back(Attribute::of<int64_t>("axis", 0));
  return named("Concat", {&leading, constant(n)}, rank, std::move(axis));
}

// Whether each extent is a number or has a name that says which others it equals.
bool all_extents_named(const ValueType& t) {
  return t.shape &&
         std::ranges::all_of(*t.shape, [](const Dim& d) { return d.value || !d.symbol.empty(); });
}

ValueType matrix_of(const ValueType& like, const Dim& rows, int64_t columns) {
  ValueType t = like;
  t.shape = {rows, Dim::of(columns)};
  return t;
}

// Results of the Reshapes that it takes.
std::vector<std::string> rewrite(const Pair& p, Graph& graph) {
  Rewriter rw(graph, p.product);
  const Tensor& w = *p.product->input(1).constant();
  Value& product = p.product->output(0);
  const std::string sum_name = p.sum->output(0).name();
  Value& bias = rw.add_constant(
      p.bias, p.sum->input(0).constant() ? p.sum->input(0).name() : p.sum->input(1).name());
  rw.set_op(*p.product, "Gemm");
  rw.set_input(*p.product, 2, &bias);
  if (p.back.empty()) {
    rw.replace_uses(p.sum->output(0), product);
  } else {
    Dim rows = Dim::of(1);
    for (size_t i = 0; i + 1 < p.back.size(); ++i) {
      if (p.back[i] < 0)
        rows = Dim{};
      else if (rows.value)
        rows.value = *rows.value * p.back[i];
    }
    Value& x = p.product->input(0);
    Node& flatten = rw.add_node(
        "Reshape",
        {&x, &rw.add_constant(Tensor::vector<int64_t>({-1, w.dims()[0]}), "matrix_shape")}, {}, 1,
        x.name() + "_matrix");
    flatten.output(0).set_type(matrix_of(x.type(), rows, w.dims()[0]));
    rw.set_input(*p.product, 0, &flatten.output(0));
    product.set_type(matrix_of(product.type(), rows, w.dims()[1]));
    Node& last = p.activation ? *p.activation : *p.sum;
    Value& result = last.output(0);
    const std::string result_name = result.name();
    Value& shape = p.computed
                       ? computed_shape(rw, x, static_cast<int64_t>(p.back.size()), w.dims()[1])
                       : rw.add_constant(Tensor::vector(p.back), "result_shape");
    Rewriter behind(graph, last.next());
    Node& restore = behind.add_node("Reshape", {&product, &shape}, {}, 1, result_name);
    restore.output(0).set_type(result.type());
    // Of a computed shape runtimes infer nothing; onnxruntime then fuses no bias, residual or
    // normalization behind it.
    restore.output(0).has_value_info = all_extents_named(result.type());
    behind.replace_uses(result, restore.output(0));
    if (p.activation) {
      behind.set_input(restore, 0, &result);
      behind.set_input(*p.activation, 0, &product);
      result.set_type(matrix_of(result.type(), rows, w.dims()[1]));
      if (result.name() == result_name)
        graph.rename(result, graph.fresh_name(result_name + "_matrix"));
    }
    rw.remove(*p.sum);
    // What the model's author called the result keeps that name.
    if (!graph.find(result_name)) graph.rename(restore.output(0), result_name);
    return {flatten.output(0).name(), restore.output(0).name()};
  }
  rw.remove(*p.sum);
  if (!graph.find(sum_name)) graph.rename(product, sum_name);
  return {};
}

}  // namespace

std::vector<FusedProduct> fuse_matmul_bias(Model& model, const QuantizeOptions& options,
                                           const std::set<std::string>& left_alone) {
  Graph& graph = model.graph();
  std::vector<Node*> products;
  for (Node& n : graph.nodes())
    if (n.is("MatMul")) products.push_back(&n);
  std::vector<FusedProduct> fused;
  for (Node* n : products) {
    const auto pair = match(*n);
    if (!pair || left_alone.contains(n->output(0).name())) continue;
    // A selection means the nodes as the user knows them.
    if (options.exclude.matches(*n) || options.exclude.matches(*pair->sum)) continue;
    if (!options.include.empty() && !options.include.matches(*n)) continue;
    FusedProduct product{n->id(), n->output(0).name(), {}, {}};
    product.reshaped = rewrite(*pair, graph);
    product.fused_result = n->output(0).name();
    fused.push_back(std::move(product));
  }
  return fused;
}

}  // namespace onnxtool
