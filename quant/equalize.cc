#include "quant/equalize.h"

#include <tbb/parallel_for.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <span>
#include <utility>

#include "libopt/rewrite/rewriter.h"
#include "libopt/support/checked.h"
#include "quant/channel_noise.h"

namespace onnxtool {
namespace {

// Channels of a small network are measured on many samples, those of a large one, whose feature
// maps hold many positions each, on a few: about this many multiplications are spent.
constexpr double kBudgetMacs = 2e10;
constexpr int64_t kMinSamples = 4, kMaxSamples = 512;
// A channel that seldom fires shows no large value on few samples; its raw result's spread tells
// what it can reach.
constexpr double kReach = 8;
// Beyond this the scaled weights could leave the normal range.
constexpr int kMaxExponent = 64;
// Links that share weights settle in two or three.
constexpr int kTurns = 6;

// How a constant weight is indexed: [rows, columns, inner] with rows the output channels.
struct WeightView {
  const Tensor* tensor = nullptr;
  int64_t rows = 0, columns = 0, inner = 1;
  bool transposed = false;  // stored as [columns, rows]
  int64_t group = 1;        // columns count one group's
  // The first of `inner` weights, which lie side by side.
  size_t at(int64_t row, int64_t column) const {
    return static_cast<size_t>(transposed ? column * rows + row : (row * columns + column) * inner);
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
  const Value* activation;   // [N, C, ...], what the second layer reads, before any Flatten
  int64_t repeat = 1;        // columns of the second layer per channel (a Flatten of C x H x W)
  bool rounds_first = true;  // the first layer's weights become integers, too
};

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

void scale_weight(Model& model, const Node& node, int input, const std::vector<float>& values) {
  Rewriter rw(model.graph(), &node);
  const Value& old = node.input(input);
  // Other nodes may share the initializer, so the scaled one is new; it takes over the name if it
  // can.
  Value& fresh = rw.add_constant(Tensor::from(old.constant()->dims(), values), old.name());
  rw.set_input(node, input, &fresh);
}

// Multiplies weights by factor(row, column).
template <class Factor>
void scale(const WeightView& w, std::vector<float>& values, const Factor& factor_of) {
  for (int64_t row = 0; row < w.rows; ++row)
    for (int64_t column = 0; column < w.columns; ++column) {
      const float factor = factor_of(row, column);
      float* first = &values[w.at(row, column)];
      for (int64_t k = 0; k < w.inner; ++k) first[k] *= factor;
    }
}

// What the second layer's weights in a column belong to.
int64_t channel_of(const Link& link, const WeightView& second, int64_t row, int64_t column) {
  return (row / (second.rows / second.group) * second.columns + column) / link.repeat;
}

// Both layers' weights under exponents: 2^-e for the first one's rows, 2^e for the second's
// columns. Powers of two are exact, and so are products with them.
void scale_pair(const Link& link, const std::vector<int>& e, std::vector<float>& first,
                std::vector<float>& second) {
  scale(*weight_of(*link.first), first,
        [&](int64_t row, int64_t) { return std::ldexp(1.0f, -e[static_cast<size_t>(row)]); });
  const WeightView w = *weight_of(*link.second);
  scale(w, second, [&](int64_t row, int64_t column) {
    return std::ldexp(1.0f, e[static_cast<size_t>(channel_of(link, w, row, column))]);
  });
}

using Statistics = std::map<const Value*, std::vector<ChannelStatistics>>;

// The model as it stands: weights that differ from the graph's, and what the values are like.
struct State {
  std::map<const Node*, std::vector<float>> weights;
  Statistics statistics;

  std::vector<float> weights_of(const Node& node) const {
    const auto it = weights.find(&node);
    return it != weights.end() ? it->second : weight_of(node)->tensor->values<float>();
  }
};

// The power of two nearest to x on a logarithmic scale, by its exponent; exact under scaling of x
// by 2.
int nearest_exponent(double x) {
  int e;
  const double m = std::frexp(x, &e);  // [0.5, 1)
  return m < 0.70710678118654752 ? e - 1 : e;
}

struct Question {
  ChannelNoise noise;
  std::vector<std::vector<int>> starts;
  std::vector<bool> idle;  // channels that are always zero
};

// What a row of the layer's weights meets in all, mean squares summed up.
double energy_met(const Node& node, const std::vector<ChannelStatistics>& input) {
  const WeightView w = *weight_of(node);
  double sum = 0;
  for (const ChannelStatistics& c : input) sum += c.rms * c.rms;
  return sum * static_cast<double>(w.inner) / static_cast<double>(w.group);
}

// The largest weight of each of the first layer's rows.
std::vector<double> row_ranges(const Link& link, const State& state) {
  const WeightView w = *weight_of(*link.first);
  const std::vector<float> values = state.weights_of(*link.first);
  std::vector<double> largest(static_cast<size_t>(w.rows), 0);
  for (int64_t row = 0; row < w.rows; ++row)
    for (int64_t column = 0; column < w.columns; ++column)
      for (int64_t k = 0; k < w.inner; ++k) {
        double& most = largest[static_cast<size_t>(row)];
        most = std::max<double>(most, std::abs(values[w.at(row, column) + static_cast<size_t>(k)]));
      }
  return largest;
}

// nullopt: shapes are not what they seem.
std::optional<Question> question_of(const Link& link, const State& state, bool per_channel) {
  const WeightView w = *weight_of(*link.second);
  const auto& raw = state.statistics.at(&link.first->output(0));
  const auto& activation = state.statistics.at(link.activation);
  const auto& out = state.statistics.at(&link.second->output(0));
  if (static_cast<int64_t>(raw.size()) != weight_of(*link.first)->rows ||
      activation.size() != raw.size() || static_cast<int64_t>(out.size()) != w.rows)
    return std::nullopt;
  ChannelNoise::Channels channels;
  std::vector<int> by_reach(raw.size(), 0);
  std::vector<bool> idle(raw.size(), false);
  // Each channel meets as many weights of a row as there are taps.
  const auto taps = static_cast<double>(w.inner * link.repeat);
  for (size_t c = 0; c < raw.size(); ++c) {
    double reach = std::max(static_cast<double>(std::max(activation[c].max, -activation[c].min)),
                            kReach * raw[c].rms);
    idle[c] = !(reach > 0 && std::isfinite(reach));
    if (idle[c]) reach = 0;
    if (!idle[c]) by_reach[c] = nearest_exponent(reach);
    channels.reach.push_back(reach);
    channels.energy.push_back(idle[c] ? 0 : activation[c].rms * activation[c].rms * taps);
    channels.nonzero.push_back(activation[c].nonzero);
  }
  std::vector<double> size;
  for (const ChannelStatistics& s : out) size.push_back(s.rms);
  Question q{ChannelNoise(std::move(channels), size), {by_reach}, std::move(idle)};
  const std::vector<float> values = state.weights_of(*link.second);
  std::vector<double> second(raw.size(), 0);
  for (int64_t o = 0; o < w.rows; ++o)
    for (int64_t local = 0; local < w.columns; ++local) {
      const int64_t channel = channel_of(link, w, o, local);
      const std::span<const float> met(&values[w.at(o, local)], static_cast<size_t>(w.inner));
      q.noise.add_weights(o, channel, met);
      if (per_channel) continue;
      for (const float v : met)
        second[static_cast<size_t>(channel)] =
            std::max<double>(second[static_cast<size_t>(channel)], std::abs(v));
    }
  if (per_channel) return q;
  const std::vector<double> first = row_ranges(link, state);
  // Where both layers' weights of a channel reach equally far.
  std::vector<int> by_weights(raw.size(), 0);
  for (size_t c = 0; c < raw.size(); ++c) {
    if (first[c] > 0 && second[c] > 0)
      by_weights[c] = nearest_exponent(std::sqrt(first[c] / second[c]));
    if (q.idle[c]) q.starts[0][c] = by_weights[c];
  }
  q.starts.push_back(std::move(by_weights));
  q.starts.emplace_back(raw.size(), 0);
  if (link.rounds_first)
    q.noise.share_scales(first,
                         energy_met(*link.first, state.statistics.at(&link.first->input(0))));
  return q;
}

struct Answer {
  std::vector<int> e;
  double gain = 1;  // by what the noise falls
};

// A common factor changes nothing but the size of the numbers: the middle channel that is known is
// left alone. nullopt: none is.
std::optional<std::vector<int>> centred(std::vector<int> e, const std::vector<bool>& idle) {
  std::vector<int> known;
  for (size_t c = 0; c < e.size(); ++c)
    if (!idle[c]) known.push_back(e[c]);
  if (known.empty()) return std::nullopt;
  const auto middle = known.begin() + static_cast<std::ptrdiff_t>(known.size() / 2);
  std::nth_element(known.begin(), middle, known.end());
  for (int& x : e) x = std::clamp(x - *middle, -kMaxExponent, kMaxExponent);
  return e;
}

Answer answer(Question& q, bool per_channel) {
  Answer best{std::vector<int>(q.idle.size(), 0)};
  for (std::vector<int>& e : q.starts)
    if (const double gain = q.noise.settle(e); gain > best.gain) best = {e, gain};
  auto e = centred(std::move(best.e), q.idle);
  if (!e) return {std::vector<int>(q.idle.size(), 0)};
  best.e = *std::move(e);
  for (size_t c = 0; per_channel && c < best.e.size(); ++c)
    if (q.idle[c]) best.e[c] = 0;
  return best;
}

bool is_zero(const std::vector<int>& e) {
  return std::ranges::all_of(e, [](int x) { return x == 0; });
}

// Rows with scales of their own: no link's answer depends on another's.
std::vector<std::vector<int>> each_alone(const std::vector<Link>& links, const State& state,
                                         double least_gain) {
  std::vector<std::vector<int>> exponents(links.size());
  tbb::parallel_for(size_t{0}, links.size(), [&](size_t l) {
    auto q = question_of(links[l], state, true);
    if (!q) return;
    Answer a = answer(*q, true);
    if (a.gain >= least_gain) exponents[l] = std::move(a.e);
  });
  return exponents;
}

void scale_statistics(std::vector<ChannelStatistics>& values, const std::vector<int>& e,
                      int64_t repeat) {
  for (size_t i = 0; i < values.size(); ++i) {
    const int by = -e[i / static_cast<size_t>(repeat)];
    values[i].rms = std::ldexp(values[i].rms, by);
    values[i].min = std::ldexp(values[i].min, by);
    values[i].max = std::ldexp(values[i].max, by);
  }
}

void scale_link(const Link& link, const std::vector<int>& e, State& state) {
  std::vector<float> first = state.weights_of(*link.first), second = state.weights_of(*link.second);
  scale_pair(link, e, first, second);
  state.weights[link.first] = std::move(first);
  state.weights[link.second] = std::move(second);
  std::set<const Value*> done;
  const Value* const made[] = {&link.first->output(0), link.activation, &link.second->input(0)};
  for (const Value* v : made) {
    auto& values = state.statistics.at(v);
    if (done.insert(v).second && values.size() % e.size() == 0)
      scale_statistics(values, e, static_cast<int64_t>(values.size() / e.size()));
  }
}

// One scale for all rows: each layer's weights belong to the links on both of its sides, which take
// turns until nothing changes.
std::vector<std::vector<int>> by_turns(const std::vector<Link>& links, State state,
                                       double least_gain) {
  std::vector<std::vector<int>> exponents(links.size());
  std::vector<double> before(links.size(), 0);
  for (size_t l = 0; l < links.size(); ++l)
    if (auto q = question_of(links[l], state, false)) before[l] = q->noise.unscaled();
  // What the search finds depends on where it starts: where all channels of a link reach equally
  // far, which does not depend on how the model came scaled.
  for (size_t l = 0; l < links.size(); ++l)
    if (auto q = question_of(links[l], state, false)) {
      auto start = centred(q->starts[0], q->idle);
      if (!start) continue;
      exponents[l] = *std::move(start);
      scale_link(links[l], exponents[l], state);
    }
  bool moved = true;
  for (int turn = 0; moved && turn < kTurns; ++turn) {
    moved = false;
    for (size_t l = 0; l < links.size(); ++l) {
      auto q = question_of(links[l], state, false);
      if (!q) continue;
      std::vector<int> e = answer(*q, false).e;
      exponents[l].resize(e.size(), 0);
      for (size_t c = 0; c < e.size(); ++c) {
        const int all = std::clamp(exponents[l][c] + e[c], -kMaxExponent, kMaxExponent);
        e[c] = all - std::exchange(exponents[l][c], all);
      }
      if (is_zero(e)) continue;
      moved = true;
      scale_link(links[l], e, state);
    }
  }
  for (size_t l = 0; l < links.size(); ++l)
    if (auto q = question_of(links[l], state, false))
      if (before[l] >= least_gain * q->noise.unscaled()) return exponents;
  return std::vector<std::vector<int>>(links.size());
}

// One value for each row of the weights, which follows them when they are scaled.
bool bias_follows(const Node& layer, const WeightView& w) {
  if (!layer.has_input(2)) return true;
  const Tensor* bias = layer.input(2).constant();
  return bias && bias->dtype() == DataType::kFloat && bias->count() == w.rows &&
         (bias->rank() == 0 || bias->dims().back() == w.rows);
}

// What the second layer reads is rounded, so that one is on integers. The first may be in float:
// its channels share the scale of that value all the same.
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

}  // namespace

int64_t affordable_samples(const Placement& placement) {
  double macs = 0;
  for (const IntegerNode& n : placement.nodes) {
    const auto w = weight_of(*n.node);
    const auto& shape = n.node->output(0).type().shape;
    if (!w || !shape) continue;
    double outputs = 1;
    for (const Dim& d : *shape) outputs *= static_cast<double>(d.value.value_or(1));
    macs += outputs * static_cast<double>(w->columns * w->inner);
  }
  return static_cast<int64_t>(std::clamp(kBudgetMacs / std::max(macs, 1.0),
                                         static_cast<double>(kMinSamples),
                                         static_cast<double>(kMaxSamples)));
}

Result<int> equalize(Model& model, const Placement& placement, const SampleSource& source,
                     const RunOptions& run, const EqualizeOptions& options) {
  const std::vector<Link> links = links_of(model.graph(), placement);
  std::vector<const Value*> watched;
  const auto watch = [&](const Value& v) {
    if (std::ranges::find(watched, &v) == watched.end()) watched.push_back(&v);
  };
  for (const Link& link : links) {
    watch(*link.activation);
    watch(link.first->output(0));
    watch(link.second->output(0));
    if (options.per_channel) continue;
    watch(link.first->input(0));
    watch(link.second->input(0));
  }
  if (links.empty()) return 0;
  ONNXTOOL_ASSIGN(auto collected, collect_channels(model.graph(), watched, source, run,
                                                   affordable_samples(placement)));
  State state;
  for (size_t i = 0; i < watched.size(); ++i)
    state.statistics[watched[i]] = std::move(collected[i]);
  // What was measured refers to the model as it came: exponents of all links first, then the edits.
  const std::vector<std::vector<int>> exponents =
      options.per_channel ? each_alone(links, state, options.least_gain)
                          : by_turns(links, std::move(state), options.least_gain);

  int changed = 0;
  for (size_t l = 0; l < links.size(); ++l) {
    const Link& link = links[l];
    const std::vector<int>& e = exponents[l];
    if (is_zero(e)) continue;
    ++changed;
    std::vector<float> first = weight_of(*link.first)->tensor->values<float>(),
                       second = weight_of(*link.second)->tensor->values<float>();
    scale_pair(link, e, first, second);
    scale_weight(model, *link.first, 1, first);
    scale_weight(model, *link.second, 1, second);
    if (!link.first->has_input(2)) continue;
    std::vector<float> bias = link.first->input(2).constant()->values<float>();
    for (size_t i = 0; i < bias.size(); ++i) bias[i] *= std::ldexp(1.0f, -e[i]);
    scale_weight(model, *link.first, 2, bias);
  }
  return changed;
}

}  // namespace onnxtool
