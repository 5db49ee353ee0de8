#include "quant/equalize.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "libopt/rewrite/rewriter.h"

namespace onnxtool {
namespace {

// Extremes of a few samples say enough: only their logarithm's nearest integer is used.
constexpr int64_t kSamples = 8;
// Beyond this the scaled weights could leave the normal range.
constexpr int kMaxExponent = 24;

// How a constant weight is indexed: [rows, columns, inner] with rows the output channels.
struct WeightView {
  const Tensor* tensor = nullptr;
  int64_t rows = 0, columns = 0, inner = 1;
  bool transposed = false;  // stored as [columns, rows]
  int64_t group = 1;        // columns count one group's
  size_t at(int64_t row, int64_t column, int64_t k) const {
    return static_cast<size_t>(transposed ? column * rows + row : (row * columns + column) * inner + k);
  }
};

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

// Two layers with nothing between that would notice a change of scale.
struct Link {
  const Node* first;
  const Node* second;
  const Value* activation;  // [N, C, ...], what the second layer reads, before any Flatten
  int64_t repeat = 1;       // columns of the second layer per channel (a Flatten of C x H x W)
};

bool keeps_channels(const Node& n) {
  return n.is("Relu") || n.is("LeakyRelu") || n.is("MaxPool") || n.is("AveragePool") || n.is("GlobalAveragePool") || n.is("Identity");
}

std::optional<Link> link_from(const Node& first) {
  Link link{&first, nullptr, &first.output(0), 1};
  const Value* v = link.activation;
  while (v->has_one_use() && !v->is_graph_output()) {
    const Node& user = *v->uses()[0].user;
    if (&user.graph() != &first.graph() || v->uses()[0].index != 0) return std::nullopt;
    if (user.is("Conv") || user.is("Gemm") || user.is("MatMul")) {
      link.second = &user;
      return link;
    }
    const auto& from = v->type().shape;
    const auto& to = user.output(0).type().shape;
    if (keeps_channels(user)) {
      if (user.num_outputs() > 1 && user.has_output(1)) return std::nullopt;
      v = &user.output(0);
      if (link.repeat == 1) link.activation = v;
    } else if ((user.is("Flatten") || user.is("Reshape")) && from && to && from->size() >= 3 && to->size() == 2) {
      // [N, C, spatial...] to [N, C * spatial]; the spatial extents must be known.
      int64_t spatial = 1;
      for (size_t i = 2; i < from->size(); ++i) {
        if (!(*from)[i].value) return std::nullopt;
        spatial *= *(*from)[i].value;
      }
      const Dim &c = (*from)[1], &flat = (*to)[1];
      if (!c.value || !flat.value || *flat.value != *c.value * spatial || spatial < 1) return std::nullopt;
      link.repeat = spatial;
      v = &user.output(0);
    } else {
      return std::nullopt;
    }
  }
  return std::nullopt;
}

void scale_weight(Model& model, const Node& node, int input, const std::vector<float>& values) {
  Rewriter rw(model.graph(), &node);
  const Value& old = node.input(input);
  // Other nodes may share the initializer, so the scaled one is new; it takes over the name if it can.
  Value& fresh = rw.add_constant(Tensor::from(old.constant()->dims(), values), old.name());
  rw.set_input(node, input, &fresh);
}

}  // namespace

Result<int> equalize(Model& model, const Placement& placement, const SampleSource& source, const RunOptions& options) {
  std::set<const Node*> integer;
  for (const IntegerNode& n : placement.nodes) integer.insert(n.node);
  std::vector<Link> links;
  std::vector<const Value*> watched;
  for (const IntegerNode& n : placement.nodes) {
    if (!weight_of(*n.node)) continue;
    if (n.node->has_input(2) && !n.node->input(2).constant()) continue;
    const auto link = link_from(*n.node);
    if (!link || !integer.contains(link->second)) continue;
    const auto w1 = weight_of(*link->first), w2 = weight_of(*link->second);
    // One bias value for all rows could not follow them.
    if (link->first->has_input(2) && link->first->input(2).constant()->count() != w1->rows) continue;
    if (!w2 || w2->columns * w2->group != w1->rows * link->repeat) continue;
    links.push_back(*link);
    watched.push_back(link->activation);
    watched.push_back(&link->second->output(0));
  }
  if (links.empty()) return 0;
  // One plan watches each value once.
  std::vector<const Value*> unique = watched;
  std::sort(unique.begin(), unique.end(), [](const Value* a, const Value* b) { return a->id() < b->id(); });
  unique.erase(std::unique(unique.begin(), unique.end()), unique.end());
  ONNXTOOL_ASSIGN(const auto maxima, collect_channel_maxima(model.graph(), unique, source, options, kSamples));
  const auto maxima_of = [&](const Value* v) -> const std::vector<float>& {
    return maxima[static_cast<size_t>(std::lower_bound(unique.begin(), unique.end(), v, [](const Value* a, const Value* b) { return a->id() < b->id(); }) - unique.begin())];
  };

  // What was measured refers to the model as it came: exponents of all links first, then the edits.
  std::vector<std::vector<int>> exponents;
  for (const Link& link : links) {
    const WeightView w2 = *weight_of(*link.second);
    const int64_t channels = weight_of(*link.first)->rows;
    const std::vector<float>&a = maxima_of(link.activation), &b = maxima_of(&link.second->output(0));
    std::vector<int> e(static_cast<size_t>(channels), 0);
    std::vector<int> known;
    const bool depthwise = w2.group > 1 && w2.columns == 1;
    const std::vector<float> w = w2.tensor->values<float>();
    if (static_cast<int64_t>(a.size()) == channels && static_cast<int64_t>(b.size()) == w2.rows) {
      for (int64_t c = 0; c < channels; ++c) {
        double column = 0;
        const int64_t rows_per_group = w2.rows / w2.group;
        for (int64_t r = 0; r < link.repeat; ++r) {
          const int64_t global = c * link.repeat + r, group = global / w2.columns, local = global % w2.columns;
          for (int64_t o = group * rows_per_group; o < (group + 1) * rows_per_group; ++o)
            for (int64_t k = 0; k < w2.inner; ++k)
              if (const float out = b[static_cast<size_t>(o)]; out > 0) column = std::max(column, std::abs(static_cast<double>(w[w2.at(o, local, k)])) / out);
        }
        const double activation = a[static_cast<size_t>(c)];
        if (!(activation > 0) || !(column > 0) || !std::isfinite(activation)) continue;
        const double wanted = depthwise ? std::log2(activation) : 0.5 * std::log2(activation / column);
        e[static_cast<size_t>(c)] = static_cast<int>(std::nearbyint(wanted));
        known.push_back(e[static_cast<size_t>(c)]);
      }
    }
    // A common factor changes nothing but the size of the numbers: leave the middle channel alone.
    int middle = 0;
    if (!known.empty()) {
      std::nth_element(known.begin(), known.begin() + static_cast<std::ptrdiff_t>(known.size() / 2), known.end());
      middle = known[known.size() / 2];
    }
    for (size_t c = 0; c < e.size(); ++c) {
      const bool measured = c < a.size() && a[c] > 0;
      e[c] = measured ? std::clamp(e[c] - middle, -kMaxExponent, kMaxExponent) : 0;
    }
    exponents.push_back(std::move(e));
  }

  int changed = 0;
  for (size_t l = 0; l < links.size(); ++l) {
    const Link& link = links[l];
    const std::vector<int>& e = exponents[l];
    if (std::all_of(e.begin(), e.end(), [](int x) { return x == 0; })) continue;
    ++changed;
    const WeightView w1 = *weight_of(*link.first);
    std::vector<float> first = w1.tensor->values<float>();
    for (int64_t row = 0; row < w1.rows; ++row)
      for (int64_t column = 0; column < w1.columns; ++column)
        for (int64_t k = 0; k < w1.inner; ++k) first[w1.at(row, column, k)] = std::ldexp(first[w1.at(row, column, k)], -e[static_cast<size_t>(row)]);
    scale_weight(model, *link.first, 1, first);
    if (link.first->has_input(2)) {
      std::vector<float> bias = link.first->input(2).constant()->values<float>();
      for (size_t i = 0; i < bias.size(); ++i) bias[i] = std::ldexp(bias[i], -e[bias.size() == e.size() ? i : 0]);
      scale_weight(model, *link.first, 2, bias);
    }
    const WeightView w2 = *weight_of(*link.second);
    std::vector<float> second = w2.tensor->values<float>();
    const int64_t rows_per_group = w2.rows / w2.group;
    for (int64_t o = 0; o < w2.rows; ++o)
      for (int64_t local = 0; local < w2.columns; ++local) {
        const int64_t channel = (o / rows_per_group * w2.columns + local) / link.repeat;
        for (int64_t k = 0; k < w2.inner; ++k) second[w2.at(o, local, k)] = std::ldexp(second[w2.at(o, local, k)], e[static_cast<size_t>(channel)]);
      }
    scale_weight(model, *link.second, 1, second);
  }
  return changed;
}

}  // namespace onnxtool
