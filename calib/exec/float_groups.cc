#include "calib/exec/float_groups.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "calib/exec/attention_groups.h"
#include "calib/exec/readers.h"

namespace onnxtool {
namespace {

bool has_inputs(const Node& n, int count) {
  if (n.num_inputs() != count) return false;
  for (int i = 0; i < count; ++i)
    if (!n.has_input(i)) return false;
  return true;
}

std::optional<float> scalar(const Value& v) {
  return v.constant() && v.constant()->rank() <= 1 ? float_scalar(v) : std::nullopt;
}

bool near(std::optional<float> a, double b) { return a && std::abs(*a - b) <= 1e-6 * std::abs(b); }

// The static extent of the last axis; nullopt: unknown.
std::optional<int64_t> last_extent(const Value& v) {
  const auto& shape = v.type().shape;
  return shape && !shape->empty() ? shape->back().value : std::nullopt;
}

class Finder {
 public:
  Finder(const Graph& graph, const std::function<bool(const Value&)>& is_watched)
      : graph_(graph), is_watched_(is_watched) {}

  FloatGroups run() {
    for (const Node& n : graph_.nodes()) {
      if (!n.domain().empty() || n.opset() < 7) continue;
      if (n.is("ReduceMean"))
        keep(layer_norm(n));
      else if (n.is("MatMul"))
        keep(transposed_product(n));
      else if (n.is("Erf") || n.is("Tanh"))
        keep(gelu(n));
      else if (n.is("Softmax"))
        keep(find_attention(n, is_watched_));
    }
    return std::move(found_);
  }

 private:
  void keep(std::optional<FloatGroup> group) {
    if (!group) return;
    for (const Node* n : group->nodes)
      if (found_.replaced.contains(n)) return;
    found_.replaced.insert(group->nodes.begin(), group->nodes.end());
    const Node* last = group->last;
    found_.by_last.emplace(last, *std::move(group));
  }

  // Whether nobody but nodes of this graph reads the value.
  bool is_inner(const Value& v) const {
    return !v.is_graph_output() && !is_watched_(v) &&
           std::all_of(v.uses().begin(), v.uses().end(), [&](const auto& u) {
             return &u.user->graph() == &graph_ && has_one_result(*u.user);
           });
  }

  // The only reader of a value, if it is this operator of ai.onnx with two inputs (one for Sqrt).
  const Node* reader(const Value& v, std::string_view op) const {
    const Node* n = only_reader(v, is_watched_);
    return n && n->is(op) && has_inputs(*n, op == "Sqrt" ? 1 : 2) ? n : nullptr;
  }

  // Mean along the last axis, which stays.
  static bool is_row_mean(const Node& n) {
    if (!n.is("ReduceMean") || !has_one_result(n) || n.num_inputs() < 1 || !n.has_input(0) ||
        n.attr<int64_t>("keepdims", 1) != 1)
      return false;
    const auto& shape = n.input(0).type().shape;
    if (!shape || shape->empty() || n.input(0).type().dtype != DataType::kFloat) return false;
    std::vector<int64_t> axes;
    if (n.opset() >= 18) {
      if (n.num_inputs() != 2 || !n.has_input(1) || !n.input(1).constant()) return false;
      axes = n.input(1).constant()->to_ints();
    } else {
      axes = n.attr<std::vector<int64_t>>("axes", {});
    }
    return axes.size() == 1 &&
           (axes[0] == -1 || axes[0] == static_cast<int64_t>(shape->size()) - 1);
  }

  // The operand beside `v` where it holds one value for each index of v's last axis.
  static const Value* row_constant(const Node& n, const Value& v) {
    const Value& other = &n.input(0) == &v ? n.input(1) : n.input(0);
    const Tensor* t = other.constant();
    const auto extent = last_extent(v);
    return t && extent && t->dtype() == DataType::kFloat && t->rank() == 1 && t->count() == *extent
               ? &other
               : nullptr;
  }

  // d = x - mean(x), y = d / sqrt(mean(d^2) + epsilon) * scale + bias; the difference may be
  // written twice.
  std::optional<FloatGroup> layer_norm(const Node& mean) const {
    if (!is_row_mean(mean) || !is_inner(mean.output(0)) || !last_extent(mean.input(0)))
      return std::nullopt;
    const Value &x = mean.input(0), &m = mean.output(0);
    FloatGroup g{"LayerNormalization", "", 17, {&x}, {}, nullptr, {&mean}};
    const Node *square = nullptr, *quotient = nullptr;
    for (const auto& use : m.uses()) {
      const Node& difference = *use.user;
      if (!difference.is("Sub") || !has_inputs(difference, 2) || &difference.input(0) != &x ||
          &difference.input(1) != &m)
        return std::nullopt;
      const Value& d = difference.output(0);
      if (!is_inner(d)) return std::nullopt;
      g.nodes.push_back(&difference);
      for (const auto& u : d.uses()) {
        const Node* n = u.user;
        if (!has_inputs(*n, 2)) return std::nullopt;
        const bool squares = (n->is("Pow") && &n->input(0) == &d && scalar(n->input(1)) == 2.0f) ||
                             (n->is("Mul") && &n->input(0) == &d && &n->input(1) == &d);
        const Node*& role = squares ? square : quotient;
        if (!squares && (!n->is("Div") || &n->input(0) != &d || &n->input(1) == &d))
          return std::nullopt;
        if (role && role != n) return std::nullopt;
        role = n;
      }
    }
    if (!square || !quotient || !square->output(0).has_one_use() || !is_inner(square->output(0)))
      return std::nullopt;
    const Node* variance = square->output(0).uses()[0].user;
    if (!is_row_mean(*variance)) return std::nullopt;
    const Node* sum = reader(variance->output(0), "Add");
    if (!sum) return std::nullopt;
    const auto epsilon = scalar(sum->input(&sum->input(0) == &variance->output(0) ? 1 : 0));
    const Node* root = epsilon ? reader(sum->output(0), "Sqrt") : nullptr;
    if (!root || reader(root->output(0), "Div") != quotient) return std::nullopt;
    const Node* product = reader(quotient->output(0), "Mul");
    const Value* scale = product ? row_constant(*product, quotient->output(0)) : nullptr;
    if (!scale) return std::nullopt;
    g.nodes.insert(g.nodes.end(), {square, variance, sum, root, quotient, product});
    g.inputs.push_back(scale);
    g.last = product;
    const Node* shifted = reader(product->output(0), "Add");
    if (const Value* bias = shifted ? row_constant(*shifted, product->output(0)) : nullptr) {
      g.inputs.push_back(bias);
      g.nodes.push_back(shifted);
      g.last = shifted;
    }
    g.attributes = {{"axis", int64_t{-1}}, {"epsilon", *epsilon}};
    return g;
  }

  // A weight that is used elsewhere too is often kept once, and transposed when the model runs.
  std::optional<FloatGroup> transposed_product(const Node& product) const {
    if (!has_inputs(product, 2) || !has_one_result(product) ||
        product.input(0).type().dtype != DataType::kFloat)
      return std::nullopt;
    const Value& turned = product.input(1);
    const Node* transpose = turned.producer();
    if (!transpose || &transpose->graph() != &graph_ || !transpose->is("Transpose") ||
        !has_inputs(*transpose, 1) || reader(turned, "MatMul") != &product)
      return std::nullopt;
    const Tensor* weight = transpose->input(0).constant();
    const auto perm = transpose->attr<std::vector<int64_t>>("perm", {1, 0});
    if (!weight || weight->rank() != 2 || weight->dtype() != DataType::kFloat ||
        perm != std::vector<int64_t>{1, 0})
      return std::nullopt;
    return FloatGroup{"FusedMatMul",
                      "com.microsoft",
                      1,
                      {&product.input(0), &transpose->input(0)},
                      {{"transB", int64_t{1}}},
                      &product,
                      {transpose, &product}};
  }

  // The maker of `v` if it is this operator with a constant scalar beside it, which `other` gets.
  const Node* scaled(const Value& v, std::string_view op, const Value*& x,
                     std::optional<float>& factor) const {
    const Node* n = v.producer();
    if (!n || &n->graph() != &graph_ || !n->is(op) || !has_one_result(*n) || !has_inputs(*n, 2))
      return nullptr;
    factor = scalar(n->input(1));
    x = &n->input(0);
    if (!factor && op != "Div" && op != "Pow") {
      factor = scalar(n->input(0));
      x = &n->input(1);
    }
    return factor ? n : nullptr;
  }

  // The inside of erf or tanh: from `v` back to the x of Gelu.
  const Value* inside_erf(const Value& v, std::vector<const Node*>& nodes) const {
    const Value* x = nullptr;
    std::optional<float> factor;
    const Node* n = scaled(v, "Div", x, factor);
    const bool fits = n ? near(factor, std::sqrt(2.0))
                        : (n = scaled(v, "Mul", x, factor)) && near(factor, std::sqrt(0.5));
    if (!fits) return nullptr;
    nodes.push_back(n);
    return x;
  }
  const Value* inside_tanh(const Value& v, std::vector<const Node*>& nodes) const {
    const Value *sum = nullptr, *cube = nullptr, *x = nullptr;
    std::optional<float> factor;
    const Node* outer = scaled(v, "Mul", sum, factor);
    if (!outer || !near(factor, std::sqrt(2 / std::acos(-1.0)))) return nullptr;
    const Node* add = sum->producer();
    if (!add || &add->graph() != &graph_ || !add->is("Add") || !has_inputs(*add, 2) ||
        !has_one_result(*add))
      return nullptr;
    for (const int i : {0, 1}) {
      const Node* inner = scaled(add->input(i), "Mul", cube, factor);
      if (!inner || !near(factor, 0.044715)) continue;
      const Node* power = scaled(*cube, "Pow", x, factor);
      if (!power || *factor != 3 || x != &add->input(1 - i)) continue;
      nodes.insert(nodes.end(), {outer, add, inner, power});
      return x;
    }
    return nullptr;
  }

  // 0.5 * x * (1 + f(...)), however the product is grouped.
  std::optional<FloatGroup> gelu(const Node& f) const {
    if (!has_inputs(f, 1) || !has_one_result(f) || f.input(0).type().dtype != DataType::kFloat)
      return std::nullopt;
    const bool erf = f.is("Erf");
    FloatGroup g{"Gelu",
                 "",
                 20,
                 {},
                 {{"approximate", erf ? std::string_view("none") : std::string_view("tanh")}},
                 nullptr,
                 {&f}};
    const Value* x = erf ? inside_erf(f.input(0), g.nodes) : inside_tanh(f.input(0), g.nodes);
    // Beside a scalar x a constant [1] would give the result a rank that Gelu does not.
    if (!x || !x->type().shape || x->type().shape->empty()) return std::nullopt;
    g.inputs = {x};
    const Node* plus_one = reader(f.output(0), "Add");
    if (!plus_one || scalar(plus_one->input(&plus_one->input(0) == &f.output(0) ? 1 : 0)) != 1.0f)
      return std::nullopt;
    const Node* product = reader(plus_one->output(0), "Mul");
    if (!product) return std::nullopt;
    g.nodes.insert(g.nodes.end(), {plus_one, product});
    const auto beside = [](const Node& n, const Value& v) -> const Value& {
      return n.input(&n.input(0) == &v ? 1 : 0);
    };
    const Value& other = beside(*product, plus_one->output(0));
    const Value* halved = nullptr;
    std::optional<float> half;
    if (const Node* h = scaled(other, "Mul", halved, half); h && half == 0.5f && halved == x) {
      g.nodes.push_back(h);  // (0.5 x) (1 + f)
      g.last = product;
    } else if (&other == x || scalar(other) == 0.5f) {
      const Node* rest = reader(product->output(0), "Mul");  // (x (1 + f)) 0.5, or (0.5 (1 + f)) x
      if (!rest) return std::nullopt;
      const Value& factor = beside(*rest, product->output(0));
      if (&other == x ? scalar(factor) != 0.5f : &factor != x) return std::nullopt;
      g.nodes.push_back(rest);
      g.last = rest;
    } else {
      return std::nullopt;
    }
    // Nothing but the group may read what is inside it.
    for (const Node* n : g.nodes)
      if (n != g.last && !read_only_by(g.nodes, n->output(0))) return std::nullopt;
    return g;
  }

  bool read_only_by(const std::vector<const Node*>& nodes, const Value& v) const {
    return is_inner(v) && std::all_of(v.uses().begin(), v.uses().end(), [&](const auto& u) {
             return std::find(nodes.begin(), nodes.end(), u.user) != nodes.end();
           });
  }

  const Graph& graph_;
  const std::function<bool(const Value&)>& is_watched_;
  FloatGroups found_;
};

}  // namespace

FloatGroups find_float_groups(const Graph& graph,
                              const std::function<bool(const Value&)>& is_watched) {
  return Finder(graph, is_watched).run();
}

}  // namespace onnxtool
