#include "quant/channel_scales.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "libopt/analysis/qdq_movers.h"
#include "libopt/rewrite/rewriter.h"

namespace onnxtool {
namespace {

// The constant that a product's weight is, behind a Transpose at most.
struct Found {
  Value* value = nullptr;
  const Node* reader = nullptr;  // the product or the Transpose
  bool along = false;
};

std::optional<Found> weight_of(const Node& product) {
  Value* b = const_cast<Value*>(&product.input(1));
  Found f{b, &product, product.attr<int64_t>("transB", 0) != 0};
  if (Node* t = b->producer(); t && t->is("Transpose") && t->has_input(0)) {
    if (!swaps_axes(*t, /*by_default=*/true) || !b->has_one_use()) return {};
    f = {const_cast<Value*>(&t->input(0)), t, !f.along};
  }
  const Tensor* w = f.value->constant();
  if (!w || w->dtype() != DataType::kFloat || w->rank() != 2 || w->count() == 0 ||
      f.value->is_graph_output())
    return {};
  return f;
}

// None of before opset 7, where `axis` and `broadcast` say what a row stands for, and a Mul that is
// inserted would want them as well.
bool is_product(const Node& n) {
  return n.opset() >= 7 && (n.is("MatMul") || (n.is("Gemm") && !n.attr<int64_t>("transA", 0))) &&
         n.has_input(0) && n.has_input(1) && n.has_output(0) && !n.input(0).constant();
}

// One constant that the division changes.
struct Step {
  const Node* node;
  int input;
  bool divided;  // by the factors; else multiplied by them
};

// Whether the constant has one element for each channel, on the last axis.
bool is_row(const Node& node, int input, int64_t channels) {
  if (!node.has_input(input)) return false;
  const Tensor* t = node.input(input).constant();
  return t && t->dtype() == DataType::kFloat && t->rank() >= 1 && t->count() == channels &&
         t->dims().back() == channels;
}

bool normalizes_last_axis(const Node& n) {
  if (!n.is("LayerNormalization") && !n.is("RMSNormalization") &&
      !n.is("SimplifiedLayerNormalization"))
    return false;
  const auto rank = n.input(0).type().rank();
  const auto axis = n.attr<int64_t>("axis", -1);
  return axis == -1 || (rank && axis == static_cast<int64_t>(*rank) - 1);
}

// What becomes of the parameters of `node`, so that its result is divided. nullopt: nothing that
// would do. `data`: where to look on, where the parameters are not all.
struct Here {
  std::vector<Step> steps;
  const Value* data = nullptr;
};

std::optional<Here> divide_at(const Node& n, int64_t channels) {
  if (normalizes_last_axis(n)) {
    if (!is_row(n, 1, channels) || (n.has_input(2) && !is_row(n, 2, channels))) return {};
    Here here{{{&n, 1, true}}, nullptr};
    if (n.has_input(2)) here.steps.push_back({&n, 2, true});
    return here;
  }
  if (n.is("Mul"))
    for (const int i : {1, 0})
      if (is_row(n, i, channels)) return Here{{{&n, i, true}}, nullptr};
  if (n.is("Div") && is_row(n, 1, channels)) return Here{{{&n, 1, false}}, nullptr};
  if (n.is("Add") || n.is("Sub"))
    for (const int i : {1, 0})
      if (is_row(n, i, channels)) return Here{{{&n, i, true}}, &n.input(1 - i)};
  if (n.is("Relu") || n.is("Reshape") || n.is("Identity")) return Here{{}, &n.input(0)};
  if (!is_product(n)) return {};
  const auto w = weight_of(n);
  if (!w || w->reader != &n || !w->value->has_one_use()) return {};
  if (n.has_input(2) && !is_row(n, 2, channels)) return {};
  Here here{{{&n, 1, true}}, nullptr};
  if (n.has_input(2)) here.steps.push_back({&n, 2, true});
  return here;
}

// All of them, from what makes `value` on; nobody else may read what is between.
std::optional<std::vector<Step>> division_of(const Value& value, int64_t channels) {
  std::vector<Step> steps;
  for (const Value* v = &value; v;) {
    const Node* p = v->producer();
    if (!p || v->is_graph_output() || &p->graph() != &value.graph() || &p->output(0) != v ||
        (v != &value && !v->has_one_use()))
      return {};
    auto here = divide_at(*p, channels);
    if (!here) return {};
    steps.insert(steps.end(), here->steps.begin(), here->steps.end());
    v = here->data;
    // A row may widen what it is added to.
    const auto& shape = v ? v->type().shape : std::nullopt;
    if (v && (!shape || shape->empty() || shape->back().value != channels)) return {};
  }
  return steps;
}

std::optional<std::vector<Step>> division_of(const ProductGroup& g) {
  if (g.data->uses().size() != g.products.size()) return {};
  return division_of(*g.data, g.depth);
}

// Columns of a weight [.., channels], or its rows where a Gemm transposes it.
Tensor divided(const Step& s, const std::vector<float>& factors) {
  const Tensor& t = *s.node->input(s.input).constant();
  std::vector<float> values = t.values<float>();
  const bool rows = s.input == 1 && s.node->attr<int64_t>("transB", 0) != 0;
  const size_t inner = rows ? values.size() / factors.size() : 1;
  for (size_t i = 0; i < values.size(); ++i) {
    const float f = factors[i / inner % factors.size()];
    values[i] = s.divided ? values[i] / f : values[i] * f;
  }
  return Tensor::from(t.dims(), values);
}

// An initializer, or what a Constant node makes.
void change(Rewriter& rw, const Value& constant, Tensor tensor) {
  if (constant.producer())
    rw.make_constant(constant, std::move(tensor));
  else
    rw.set_constant(constant, std::move(tensor));
}

void insert_division(const ProductGroup& g, const std::vector<float>& factors) {
  std::vector<float> inverse;
  for (const float f : factors) inverse.push_back(1 / f);
  Rewriter rw(g.data->graph(), g.products.front());
  Value& constant = rw.add_constant(Tensor::vector(inverse), g.data->name() + "_factors");
  Node& mul = rw.add_node("Mul", {g.data, &constant}, {}, 1, g.data->name() + "_scaled");
  mul.output(0).set_type(g.data->type());
  for (Node* p : g.products) rw.set_input(*p, 0, &mul.output(0));
}

}  // namespace

std::vector<ProductGroup> product_groups(Model& model,
                                         const std::function<bool(const Node&)>& accepts) {
  std::vector<ProductGroup> groups;
  std::map<const Value*, size_t> index;
  for (Node& n : model.graph().nodes()) {
    if (!is_product(n) || !accepts(n)) continue;
    const auto w = weight_of(n);
    if (!w) continue;
    const auto& dims = w->value->constant()->dims();
    const int64_t depth = dims[w->along ? 1 : 0], rows = dims[w->along ? 0 : 1];
    const bool alone = std::ranges::all_of(w->value->uses(), [&](const Use& use) {
      const Node* reader = use.user;
      if (reader->is("Transpose") && reader->output(0).has_one_use())
        reader = reader->output(0).uses()[0].user;
      const auto other =
          is_product(*reader) && accepts(*reader) ? weight_of(*reader) : std::nullopt;
      return other && other->value == w->value && other->along == w->along &&
             &reader->input(0) == &n.input(0);
    });
    if (!alone) continue;
    const auto [it, fresh] = index.emplace(&n.input(0), groups.size());
    if (fresh) groups.push_back({&n.input(0), depth, {}, {}});
    ProductGroup& g = groups[it->second];
    if (g.depth != depth) continue;
    g.products.push_back(&n);
    if (std::ranges::find(g.weights, w->value, &ProductGroup::Weight::value) == g.weights.end())
      g.weights.push_back({w->value, rows, w->along});
  }
  return groups;
}

bool takes_division(const ProductGroup& group) { return division_of(group).has_value(); }

std::vector<float> scaled_weight(const ProductGroup::Weight& weight,
                                 const std::vector<float>& factors) {
  std::vector<float> values = weight.value->constant()->values<float>();
  const size_t inner = weight.along ? 1 : static_cast<size_t>(weight.rows);
  for (size_t i = 0; i < values.size(); ++i) values[i] *= factors[i / inner % factors.size()];
  return values;
}

void scale_channels(Model& model, const ProductGroup& group, const std::vector<float>& factors) {
  Rewriter rw(model.graph());
  for (const ProductGroup::Weight& w : group.weights)
    change(rw, *w.value, Tensor::from(w.value->constant()->dims(), scaled_weight(w, factors)));
  const auto steps = division_of(group);
  if (!steps) return insert_division(group, factors);
  for (const Step& s : *steps) {
    const Value& old = s.node->input(s.input);
    Tensor changed = divided(s, factors);
    if (old.has_one_use() && !old.is_graph_output())
      change(rw, old, std::move(changed));
    else
      rw.set_input(*s.node, s.input, &rw.add_constant(std::move(changed), old.name()));
  }
}

}  // namespace onnxtool
