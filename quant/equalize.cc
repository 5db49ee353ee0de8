#include "quant/equalize.h"

#include <tbb/parallel_for.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <span>
#include <utility>

#include "libopt/rewrite/rewriter.h"
#include "quant/channel_links.h"
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
// Values between the layers stay normal where they were above 2^-62; weights are looked at one by
// one (exact_exponents).
constexpr int kMaxExponent = 64;
// Links that share weights settle in two or three.
constexpr int kTurns = 6;

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

// Weights under exponents: 2^-e for the first layer's rows, 2^e for the readers' columns. Powers of
// two are exact, and so are products with them.
void scale_first(const Link& link, const std::vector<int>& e, std::vector<float>& values) {
  scale(*weight_of(*link.first), values,
        [&](int64_t row, int64_t) { return std::ldexp(1.0f, -e[static_cast<size_t>(row)]); });
}

void scale_reader(const Link::Reader& reader, const std::vector<int>& e,
                  std::vector<float>& values) {
  const WeightView w = *weight_of(*reader.layer);
  scale(w, values, [&](int64_t row, int64_t column) {
    return std::ldexp(1.0f, e[static_cast<size_t>(channel_of(reader, w, row, column))]);
  });
}

// Exponents of the smallest and the largest of some values, zeros aside.
struct Magnitudes {
  int low = std::numeric_limits<int>::max(), high = std::numeric_limits<int>::min();
  void add(float v) {
    if (v == 0) return;
    low = std::min(low, std::ilogb(v));
    high = std::max(high, std::ilogb(v));
  }
};

// The exponents, less what would take a weight or a bias out of the normal range, where products
// with powers of two are exact.
std::vector<int> exact_exponents(const Link& link, std::vector<int> e) {
  constexpr int kLowest = std::numeric_limits<float>::min_exponent - 1,
                kHighest = std::numeric_limits<float>::max_exponent - 1;
  std::vector<Magnitudes> first(e.size()), second(e.size());
  const auto add = [](const WeightView& w, std::vector<Magnitudes>& to, const auto& index) {
    const std::vector<float> values = w.tensor->values<float>();
    for (int64_t row = 0; row < w.rows; ++row)
      for (int64_t column = 0; column < w.columns; ++column)
        for (int64_t k = 0; k < w.inner; ++k)
          to[static_cast<size_t>(index(row, column))].add(
              values[w.at(row, column) + static_cast<size_t>(k)]);
  };
  add(*weight_of(*link.first), first, [](int64_t row, int64_t) { return row; });
  for (const Link::Reader& r : link.readers) {
    const WeightView w = *weight_of(*r.layer);
    add(w, second, [&](int64_t row, int64_t column) { return channel_of(r, w, row, column); });
  }
  if (link.first->has_input(2)) {
    const std::vector<float> bias = link.first->input(2).constant()->values<float>();
    for (size_t i = 0; i < bias.size(); ++i) first[i].add(bias[i]);
  }
  for (size_t c = 0; c < e.size(); ++c) {
    int most = kMaxExponent, least = -kMaxExponent;
    if (first[c].low <= first[c].high) {
      most = std::min(most, first[c].low - kLowest);
      least = std::max(least, first[c].high - kHighest);
    }
    if (second[c].low <= second[c].high) {
      most = std::min(most, kHighest - second[c].high);
      least = std::max(least, kLowest - second[c].low);
    }
    // What is subnormal as it came cannot shrink, but need not grow.
    e[c] = std::clamp(e[c], std::min(least, 0), std::max(most, 0));
  }
  return e;
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

// Sizes of the outputs of the readers on integers, row after row. nullopt: shapes are not what they
// seem.
std::optional<std::vector<double>> row_sizes(const Link& link, const State& state) {
  std::vector<double> sizes;
  for (const Link::Reader& r : link.readers) {
    if (!r.on_integers) continue;
    const auto& out = state.statistics.at(&r.layer->output(0));
    if (static_cast<int64_t>(out.size()) != weight_of(*r.layer)->rows) return std::nullopt;
    for (const ChannelStatistics& c : out) sizes.push_back(c.rms);
  }
  return sizes;
}

// How many weights of a row each channel meets, on average over the rows of readers on integers.
double taps(const Link& link) {
  double weights = 0, rows = 0;
  for (const Link::Reader& r : link.readers) {
    if (!r.on_integers) continue;
    const WeightView w = *weight_of(*r.layer);
    weights += static_cast<double>(w.rows) * static_cast<double>(w.inner * r.repeat);
    rows += static_cast<double>(w.rows);
  }
  return weights / rows;
}

// nullopt: shapes are not what they seem.
std::optional<Question> question_of(const Link& link, const State& state, bool per_channel) {
  const auto& raw = state.statistics.at(&link.first->output(0));
  const auto& activation = state.statistics.at(link.activation);
  const auto sizes = row_sizes(link, state);
  if (static_cast<int64_t>(raw.size()) != weight_of(*link.first)->rows ||
      activation.size() != raw.size() || !sizes)
    return std::nullopt;
  ChannelNoise::Channels channels;
  std::vector<int> by_reach(raw.size(), 0);
  std::vector<bool> idle(raw.size(), false);
  const double met_by_row = taps(link);
  for (size_t c = 0; c < raw.size(); ++c) {
    double reach = std::max(static_cast<double>(std::max(activation[c].max, -activation[c].min)),
                            kReach * raw[c].rms);
    idle[c] = !(reach > 0 && std::isfinite(reach));
    if (idle[c]) reach = 0;
    if (!idle[c]) by_reach[c] = nearest_exponent(reach);
    channels.reach.push_back(reach);
    channels.energy.push_back(idle[c] ? 0 : activation[c].rms * activation[c].rms * met_by_row);
    channels.nonzero.push_back(activation[c].nonzero);
  }
  Question q{ChannelNoise(std::move(channels), *sizes), {by_reach}, std::move(idle)};
  std::vector<double> second(raw.size(), 0);
  int64_t row = 0;
  for (const Link::Reader& r : link.readers) {
    if (!r.on_integers) continue;
    const WeightView w = *weight_of(*r.layer);
    const std::vector<float> values = state.weights_of(*r.layer);
    for (int64_t o = 0; o < w.rows; ++o, ++row)
      for (int64_t local = 0; local < w.columns; ++local) {
        const auto channel = static_cast<size_t>(channel_of(r, w, o, local));
        const std::span<const float> met(&values[w.at(o, local)], static_cast<size_t>(w.inner));
        q.noise.add_weights(row, static_cast<int64_t>(channel), met);
        if (per_channel) continue;
        for (const float v : met) second[channel] = std::max<double>(second[channel], std::abs(v));
      }
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

// Of the channels from `first` on.
void scale_statistics(std::vector<ChannelStatistics>& values, const std::vector<int>& e,
                      int64_t first, int64_t repeat) {
  for (size_t i = 0; i < values.size(); ++i) {
    const int by = -e[static_cast<size_t>(first) + i / static_cast<size_t>(repeat)];
    values[i].rms = std::ldexp(values[i].rms, by);
    values[i].min = std::ldexp(values[i].min, by);
    values[i].max = std::ldexp(values[i].max, by);
  }
}

void scale_link(const Link& link, const std::vector<int>& e, State& state) {
  std::vector<float> first = state.weights_of(*link.first);
  scale_first(link, e, first);
  state.weights[link.first] = std::move(first);
  const auto all = std::ssize(e);
  // Where their channels begin, and how many there are.
  std::map<const Value*, std::pair<int64_t, int64_t>> made = {{&link.first->output(0), {0, all}},
                                                              {link.activation, {0, all}}};
  for (const Link::Reader& r : link.readers) {
    std::vector<float> values = state.weights_of(*r.layer);
    scale_reader(r, e, values);
    state.weights[r.layer] = std::move(values);
    made.emplace(&r.layer->input(0), std::pair(r.first, r.channels));
  }
  for (const auto& [v, channels] : made) {
    auto& values = state.statistics.at(v);
    const auto [first, count] = channels;
    if (count > 0 && std::ssize(values) % count == 0)
      scale_statistics(values, e, first, std::ssize(values) / count);
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
    if (!options.per_channel) watch(link.first->input(0));
    for (const Link::Reader& r : link.readers) {
      watch(r.layer->output(0));
      if (!options.per_channel) watch(r.layer->input(0));
    }
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
    if (is_zero(exponents[l])) continue;
    const std::vector<int> e = exact_exponents(link, exponents[l]);
    if (is_zero(e)) continue;
    ++changed;
    std::vector<float> first = weight_of(*link.first)->tensor->values<float>();
    scale_first(link, e, first);
    scale_weight(model, *link.first, 1, first);
    for (const Link::Reader& r : link.readers) {
      std::vector<float> values = weight_of(*r.layer)->tensor->values<float>();
      scale_reader(r, e, values);
      scale_weight(model, *r.layer, 1, values);
    }
    if (!link.first->has_input(2)) continue;
    std::vector<float> bias = link.first->input(2).constant()->values<float>();
    for (size_t i = 0; i < bias.size(); ++i) bias[i] *= std::ldexp(1.0f, -e[i]);
    scale_weight(model, *link.first, 2, bias);
  }
  return changed;
}

}  // namespace onnxtool
