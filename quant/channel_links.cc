#include "quant/channel_links.h"

#include <algorithm>
#include <set>

#include "libopt/support/checked.h"

namespace onnxtool {
namespace {

// Positively homogeneous, element by element or window by window of a channel.
bool keeps_channels(const Node& n) {
  return n.is("Relu") || n.is("LeakyRelu") || n.is("PRelu") || n.is("Identity") ||
         n.is("MaxPool") || n.is("AveragePool") || n.is("GlobalAveragePool");
}

bool is_layer(const Node& n) { return n.is("Conv") || n.is("Gemm") || n.is("MatMul"); }

// Where a value's channels are.
struct Channels {
  int64_t axis = 1;
  int64_t repeat = 1;             // elements of that axis per channel
  int64_t first = 0, count = -1;  // which, as of Link::Reader
};

// [N, C, spatial...] to [N, C * spatial]; the spatial extents must be known.
std::optional<Channels> flattened(const Node& n, const Channels& channels) {
  const auto& from = n.input(0).type().shape;
  const auto& to = n.output(0).type().shape;
  if (!from || !to || from->size() < 3 || to->size() != 2 || channels.axis != 1)
    return std::nullopt;
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
  return Channels{1, *spatial, channels.first, channels.count};
}

std::optional<Channels> transposed(const Node& n, const Channels& channels) {
  const Attribute* perm = n.attribute("perm");
  const auto* axes = perm ? perm->get<std::vector<int64_t>>() : nullptr;
  if (!axes) return std::nullopt;
  const auto at = std::ranges::find(*axes, channels.axis);
  if (at == axes->end()) return std::nullopt;
  return Channels{at - axes->begin(), channels.repeat, channels.first, channels.count};
}

// Where the channels are in the node's result; nullopt: it would notice a change of scale.
std::optional<Channels> behind(const Node& n, const Channels& channels) {
  if (!n.has_output(0) || (n.num_outputs() > 1 && n.has_output(1))) return std::nullopt;
  if (n.is("Transpose")) return transposed(n, channels);
  if (n.is("Flatten") || n.is("Reshape")) return flattened(n, channels);
  const bool windows = n.is("MaxPool") || n.is("AveragePool") || n.is("GlobalAveragePool");
  if (!keeps_channels(n) || (windows && channels.axis != 1)) return std::nullopt;
  return channels;
}

using ChannelsOf = std::pair<const Value*, Channels>;

// What each result of a Split has of them; nullopt: nobody knows where it cuts.
std::optional<std::vector<ChannelsOf>> parts_of(const Node& split, const Channels& channels) {
  const auto& from = split.input(0).type().shape;
  if (channels.repeat != 1 || !from) return std::nullopt;
  const int64_t given = split.attr<int64_t>("axis", 0);
  const int64_t axis = given < 0 ? given + std::ssize(*from) : given;
  std::vector<ChannelsOf> parts;
  Channels part = channels;
  for (int i = 0; i < split.num_outputs(); ++i) {
    if (!split.has_output(i)) return std::nullopt;
    const Value& v = split.output(i);
    if (axis != channels.axis) {
      parts.emplace_back(&v, channels);
      continue;
    }
    const auto& shape = v.type().shape;
    if (!shape || std::ssize(*shape) <= channels.axis) return std::nullopt;
    const auto extent = (*shape)[static_cast<size_t>(channels.axis)].value;
    if (!extent) return std::nullopt;
    part.count = *extent;
    parts.emplace_back(&v, part);
    part.first += *extent;
  }
  return parts;
}

// A Conv takes channels from axis 1, a product from the last one; statistics of channels are of
// axis 1.
bool reads_channels(const Node& layer, const Value& v, const Channels& channels) {
  return channels.axis == 1 && (layer.is("Conv") || v.type().rank() == 2);
}

// Everything that reads the value, down to layers. False: something among it would notice.
bool find_readers(const Value& made, std::vector<Link::Reader>& readers) {
  std::vector<ChannelsOf> open = {{&made, {}}};
  while (!open.empty()) {
    const auto [v, channels] = open.back();
    open.pop_back();
    if (v->is_graph_output() || v->uses().empty()) return false;
    for (const Use& use : v->uses()) {
      const Node& user = *use.user;
      if (&user.graph() != &v->graph() || use.index != 0) return false;
      if (is_layer(user)) {
        if (!reads_channels(user, *v, channels)) return false;
        readers.push_back({&user, channels.repeat, channels.first, channels.count});
        continue;
      }
      if (user.is("Split")) {
        const auto parts = parts_of(user, channels);
        if (!parts) return false;
        open.insert(open.end(), parts->begin(), parts->end());
        continue;
      }
      const auto next = behind(user, channels);
      if (!next) return false;
      open.emplace_back(&user.output(0), *next);
    }
  }
  return true;
}

// The last value that all readers share, and whose channels stand on axis 1 one by one.
const Value& activation_of(const Value& made) {
  const Value* v = &made;
  while (v->has_one_use() && keeps_channels(*v->uses()[0].user)) v = &v->uses()[0].user->output(0);
  return *v;
}

std::optional<Link> link_from(const Node& first) {
  const Value& made = first.output(0);
  // Statistics of channels are of axis 1.
  if (!first.is("Conv") && made.type().rank() != 2) return std::nullopt;
  Link link{&first, nullptr, {}};
  if (!find_readers(made, link.readers)) return std::nullopt;
  link.activation = &activation_of(made);
  return link;
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
  const std::set<const Node*> integer = placement.integer_nodes();
  std::vector<Link> links;
  for (const Node& n : graph.nodes()) {
    const auto w1 = weight_of(n);
    if (!w1 || !bias_follows(n, *w1)) continue;
    auto link = link_from(n);
    if (!link) continue;
    bool any = false, fit = true;
    for (Link::Reader& r : link->readers) {
      const auto w2 = weight_of(*r.layer);
      if (r.channels < 0) r.channels = w1->rows;
      fit = fit && w2 && w2->columns * w2->group == r.channels * r.repeat &&
            r.first + r.channels <= w1->rows;
      r.on_integers = integer.contains(r.layer);
      any = any || r.on_integers;
    }
    if (!any || !fit) continue;
    link->rounds_first = integer.contains(&n);
    links.push_back(*std::move(link));
  }
  return links;
}

}  // namespace onnxtool
