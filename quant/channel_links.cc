#include "quant/channel_links.h"

#include <set>

#include "libopt/support/checked.h"

namespace onnxtool {
namespace {

bool keeps_channels(const Node& n) {
  return n.is("Relu") || n.is("LeakyRelu") || n.is("MaxPool") || n.is("AveragePool") ||
         n.is("GlobalAveragePool") || n.is("Identity");
}

std::optional<Link> link_from(const Node& first) {
  Link link{&first, nullptr, &first.output(0), 1};
  const Value* v = &first.output(0);
  while (v->has_one_use() && !v->is_graph_output()) {
    const Node& user = *v->uses()[0].user;
    if (&user.graph() != &first.graph() || v->uses()[0].index != 0) return std::nullopt;
    if (user.is("Conv") || user.is("Gemm") || user.is("MatMul")) {
      link.second = &user;
      return link;
    }
    if (!user.has_output(0)) return std::nullopt;
    const auto& from = v->type().shape;
    const auto& to = user.output(0).type().shape;
    if (keeps_channels(user)) {
      if (user.num_outputs() > 1 && user.has_output(1)) return std::nullopt;
      v = &user.output(0);
      if (link.repeat == 1) link.activation = v;
    } else if ((user.is("Flatten") || user.is("Reshape")) && from && to && from->size() >= 3 &&
               to->size() == 2) {
      // [N, C, spatial...] to [N, C * spatial]; the spatial extents must be known.
      std::vector<int64_t> extents;
      for (size_t i = 2; i < from->size(); ++i) {
        if (!(*from)[i].value) return std::nullopt;
        extents.push_back(*(*from)[i].value);
      }
      const auto spatial = checked_product(extents);
      const Dim &c = (*from)[1], &flat = (*to)[1];
      if (!spatial || *spatial < 1 || !c.value || !flat.value ||
          flat.value != checked_mul(*c.value, *spatial))
        return std::nullopt;
      link.repeat = *spatial;
      v = &user.output(0);
    } else {
      return std::nullopt;
    }
  }
  return std::nullopt;
}

// One value for each row of the weights, which follows them when they are scaled.
bool bias_follows(const Node& layer, const WeightView& w) {
  if (!layer.has_input(2)) return true;
  const Tensor* bias = layer.input(2).constant();
  return bias && bias->dtype() == DataType::kFloat && bias->count() == w.rows &&
         (bias->rank() == 0 || bias->dims().back() == w.rows);
}

}  // namespace

std::optional<WeightView> weight_of(const Node& node) {
  const Tensor* w = node.has_input(1) ? node.input(1).constant() : nullptr;
  if (!w || w->dtype() != DataType::kFloat) return std::nullopt;
  WeightView v;
  v.tensor = w;
  if (node.is("Conv") && w->rank() >= 3) {
    v.rows = w->dims()[0];
    v.columns = w->dims()[1];
    v.inner = w->count() > 0 ? w->count() / (v.rows * v.columns) : 0;
    v.group = node.attr<int64_t>("group", 1);
    if (v.group < 1 || v.rows % v.group) return std::nullopt;
  } else if ((node.is("Gemm") || node.is("MatMul")) && w->rank() == 2) {
    const bool row_major = node.is("Gemm") && node.attr<int64_t>("transB", 0);
    if (node.is("Gemm") && node.attr<int64_t>("transA", 0)) return std::nullopt;
    v.rows = w->dims()[row_major ? 0 : 1];
    v.columns = w->dims()[row_major ? 1 : 0];
    v.transposed = !row_major;
  } else {
    return std::nullopt;
  }
  return w->count() > 0 ? std::optional(v) : std::nullopt;
}

std::vector<Link> links_of(const Graph& graph, const Placement& placement) {
  std::set<const Node*> integer;
  for (const IntegerNode& n : placement.nodes) integer.insert(n.node);
  std::vector<Link> links;
  for (const Node& n : graph.nodes()) {
    const auto w1 = weight_of(n);
    if (!w1 || !bias_follows(n, *w1)) continue;
    auto link = link_from(n);
    if (!link || !integer.contains(link->second)) continue;
    const auto w2 = weight_of(*link->second);
    if (!w2 || w2->columns * w2->group != w1->rows * link->repeat) continue;
    link->rounds_first = integer.contains(&n);
    links.push_back(*link);
  }
  return links;
}

}  // namespace onnxtool
