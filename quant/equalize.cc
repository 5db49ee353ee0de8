#include "quant/equalize.h"

#include <tbb/parallel_for.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <span>

#include "libopt/rewrite/rewriter.h"

namespace onnxtool {
namespace {

// Channels of a small network are measured on many samples, those of a large one, whose feature
// maps hold many positions each, on a few: about this many multiplications are spent.
constexpr double kBudgetMacs = 2e10;
constexpr int64_t kMinSamples = 4, kMaxSamples = 512;
// Rescaling must at least quarter the predicted noise of a pair of layers. Below that the
// prediction says little, and a network whose channels are even as they came is best left alone.
constexpr double kMinGain = 4;
// A channel that seldom fires shows no large value on few samples; its raw result's spread tells
// what it can reach.
constexpr double kReach = 8;
// The range that calibrators settle on, as a share of what the channels reach: a large value that
// is seldom met is cut or costs little. A real network (CIFAR-10, channels scaled at random) gets
// the noise back that it had as trained from a fifth to over a half; at the whole reach it loses 1
// dB.
constexpr double kRangeShare = 0.5;
// Beyond this the scaled weights could leave the normal range.
constexpr int kMaxExponent = 24;

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
  const Value* activation;  // [N, C, ...], what the second layer reads, before any Flatten
  int64_t repeat = 1;       // columns of the second layer per channel (a Flatten of C x H x W)
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
      int64_t spatial = 1;
      for (size_t i = 2; i < from->size(); ++i) {
        if (!(*from)[i].value) return std::nullopt;
        spatial *= *(*from)[i].value;
      }
      const Dim &c = (*from)[1], &flat = (*to)[1];
      if (!c.value || !flat.value || *flat.value != *c.value * spatial || spatial < 1)
        return std::nullopt;
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
  // Other nodes may share the initializer, so the scaled one is new; it takes over the name if it
  // can.
  Value& fresh = rw.add_constant(Tensor::from(old.constant()->dims(), values), old.name());
  rw.set_input(node, input, &fresh);
}

// The weights times factor(row, column).
template <class Factor>
std::vector<float> scaled(const WeightView& w, const Factor& factor_of) {
  std::vector<float> values = w.tensor->values<float>();
  for (int64_t row = 0; row < w.rows; ++row)
    for (int64_t column = 0; column < w.columns; ++column) {
      const float factor = factor_of(row, column);
      float* first = &values[w.at(row, column)];
      for (int64_t k = 0; k < w.inner; ++k) first[k] *= factor;
    }
  return values;
}

// The noise that 8-bit codes add to the second layer's outputs, each row relative to its output's
// size, as a function of the channels' exponents e (channel i is divided by 2^e_i):
//
//   J(e) = sum over rows o of 1/b_o^2 ( A^2 / 255^2 * sum_i p_i |W_oi|^2 4^e_i    codes of the
//   activation
//                                     + M_o^2 / 127^2 * sum_i q_i 4^-e_i )        codes of the
//                                     weights
//
//   A = kRangeShare max_i r_i 2^-e_i, the activation's range;  M_o = max_i |W_oi| 2^e_i, the row's;
//   p_i the share of channel i that is not zero (zero has a code of its own), q_i its mean square
//   times the weights of a row that it meets. The common factor 1/12 of rounding noise is left out.
class Noise {
 public:
  /// row_size: b above. A row whose outputs are all zero counts for nothing.
  Noise(int64_t channels, const std::vector<double>& row_size)
      : rows_(static_cast<int64_t>(row_size.size())),
        channels_(channels),
        largest_(static_cast<size_t>(rows_ * channels), 0),
        column_(static_cast<size_t>(channels), 0) {
    for (const double b : row_size) weight_.push_back(b > 0 ? 1 / (b * b) : 0);
  }

  /// The weights with which a row meets a channel, or some of them.
  void add_weights(int64_t row, int64_t channel, std::span<const float> weights) {
    float& largest = largest_[at(row, static_cast<size_t>(channel))];
    double squares = 0;
    for (const float w : weights) {
      largest = std::max(largest, std::abs(w));
      squares += static_cast<double>(w) * w;
    }
    column_[static_cast<size_t>(channel)] += weight_[static_cast<size_t>(row)] * squares;
  }

  /// reach, nonzero, energy: r, p and q above. Finds exponents by steps of one that lower J, from
  /// the start given. Returns by what factor J fell against e = 0, where nothing is rescaled.
  double settle(std::vector<double> reach, const std::vector<double>& nonzero,
                std::vector<double> energy, std::vector<int>& e) {
    reach_ = std::move(reach);
    energy_ = std::move(energy);
    for (size_t i = 0; i < column_.size(); ++i) column_[i] *= nonzero[i];
    const double unscaled = start(std::vector<int>(e.size(), 0));
    double best = start(e);
    // Where evening out all the way does not help at all, the search would not find much either.
    if (!(best < unscaled)) return 1;
    sort_by_channel();
    // Each sweep that changes something lowers J; the bound only guards against endless tiny gains.
    for (int sweep = 0; sweep < 16; ++sweep) {
      bool moved = false;
      for (size_t i = 0; i < e.size(); ++i)
        for (const int step : {1, -1}) {
          const double j = try_step(i, step, best);
          if (!(j < best)) continue;
          take_step(i, step);
          e[i] += step;
          best = j;
          moved = true;
          break;
        }
      if (!moved) break;
    }
    return unscaled / best;
  }

 private:
  size_t at(int64_t row, size_t channel) const {
    return static_cast<size_t>(row * channels_) + channel;
  }

  // Steps look at one channel in all rows.
  void sort_by_channel() {
    by_channel_.resize(largest_.size());
    // In strips, so that the lines written to stay in the cache.
    constexpr int64_t kStrip = 16;
    for (int64_t first = 0; first < channels_; first += kStrip)
      for (int64_t o = 0; o < rows_; ++o)
        for (int64_t i = first; i < std::min(first + kStrip, channels_); ++i)
          by_channel_[static_cast<size_t>(i * rows_ + o)] = largest_[at(o, static_cast<size_t>(i))];
  }

  double row_range(int64_t row) const {
    const float* mine = largest_.data() + at(row, 0);
    double largest[4] = {};  // one alone would wait for itself
    size_t i = 0;
    for (; i + 4 <= factor_.size(); i += 4)
      for (size_t k = 0; k < 4; ++k)
        largest[k] = std::max(largest[k], mine[i + k] * factor_[i + k]);
    for (; i < factor_.size(); ++i) largest[0] = std::max(largest[0], mine[i] * factor_[i]);
    return std::max(std::max(largest[0], largest[1]), std::max(largest[2], largest[3]));
  }

  static double sum(double range, double by_activation, double by_weight, double mean_square) {
    const double step = kRangeShare * range / 255.0;
    return step * step * by_activation + by_weight * mean_square / (127.0 * 127.0);
  }

  // J at e from scratch; the running terms that steps change.
  double start(const std::vector<int>& e) {
    factor_.clear();
    for (int x : e) factor_.push_back(std::ldexp(1.0, x));
    by_activation_ = mean_square_ = 0;
    for (size_t i = 0; i < e.size(); ++i) {
      by_activation_ += column_[i] * factor_[i] * factor_[i];
      mean_square_ += energy_[i] / (factor_[i] * factor_[i]);
    }
    find_farthest();
    row_range_.clear();
    double by_weight = 0;
    for (int64_t o = 0; o < rows_; ++o) {
      row_range_.push_back(row_range(o));
      by_weight += weight_[static_cast<size_t>(o)] * row_range_.back() * row_range_.back();
    }
    return sum(farthest_, by_activation_, by_weight, mean_square_);
  }

  // The channel that reaches farthest, and how far the others do.
  void find_farthest() {
    farthest_ = next_ = 0;
    for (size_t i = 0; i < factor_.size(); ++i) {
      const double r = reach_[i] / factor_[i];
      if (r > farthest_) {
        next_ = farthest_;
        farthest_ = r;
        farthest_channel_ = i;
      } else {
        next_ = std::max(next_, r);
      }
    }
  }

  // J after a step, or, once it is sure to pass it, something above `limit`.
  double try_step(size_t i, int step, double limit) {
    const double f = factor_[i], g = std::ldexp(f, step);
    const double range = std::max(i == farthest_channel_ ? next_ : farthest_, reach_[i] / g);
    const double by_activation = by_activation_ + column_[i] * (g * g - f * f);
    const double mean_square = mean_square_ + energy_[i] * (1 / (g * g) - 1 / (f * f));
    const float* mine = by_channel_.data() + i * static_cast<size_t>(rows_);
    double by_weight = 0;
    for (size_t o = 0; o < row_range_.size(); ++o) {
      double r = std::max(row_range_[o], mine[o] * g);
      // Channel i set this row's range and shrinks: who is the largest now?
      if (g < f && mine[o] * f >= row_range_[o]) {
        factor_[i] = g;
        r = row_range(static_cast<int64_t>(o));
        factor_[i] = f;
      }
      by_weight += weight_[o] * r * r;
      if (o % 64 == 0 && sum(range, by_activation, by_weight, mean_square) > limit) break;
    }
    return sum(range, by_activation, by_weight, mean_square);
  }

  void take_step(size_t i, int step) {
    const double f = factor_[i], g = std::ldexp(f, step);
    by_activation_ += column_[i] * (g * g - f * f);
    mean_square_ += energy_[i] * (1 / (g * g) - 1 / (f * f));
    factor_[i] = g;
    find_farthest();
    const float* mine = by_channel_.data() + i * static_cast<size_t>(rows_);
    for (size_t o = 0; o < row_range_.size(); ++o) {
      const bool set_it = g < f && mine[o] * f >= row_range_[o];
      row_range_[o] =
          set_it ? row_range(static_cast<int64_t>(o)) : std::max(row_range_[o], mine[o] * g);
    }
  }

  int64_t rows_, channels_;
  std::vector<float> largest_, by_channel_;  // |W|: [rows, channels] and [channels, rows]
  std::vector<double> weight_;               // [rows]: 1 / b^2
  std::vector<double> column_;          // [channels]: sum over rows of |W_oi|^2 / b_o^2, times p
  std::vector<double> reach_, energy_;  // [channels]
  std::vector<double> factor_, row_range_;  // [channels]: 2^e; [rows]: M
  double by_activation_ = 0, mean_square_ = 0;
  double farthest_ = 0, next_ = 0;  // A, and A without its channel
  size_t farthest_channel_ = 0;
};

// The power of two nearest to x on a logarithmic scale, by its exponent; exact under scaling of x
// by 2.
int nearest_exponent(double x) {
  int e;
  const double m = std::frexp(x, &e);  // [0.5, 1)
  return m < 0.70710678118654752 ? e - 1 : e;
}

// raw: the first layer's result; activation: what the second reads; out: the second's raw result.
std::vector<int> exponents_of(const Link& link, const std::vector<ChannelStatistics>& raw,
                              const std::vector<ChannelStatistics>& activation,
                              const std::vector<ChannelStatistics>& out) {
  const WeightView w = *weight_of(*link.second);
  const auto channels = static_cast<int64_t>(raw.size());
  std::vector<int> e(raw.size(), 0);
  if (channels != weight_of(*link.first)->rows || activation.size() != raw.size() ||
      static_cast<int64_t>(out.size()) != w.rows)
    return e;
  std::vector<double> reach, energy, nonzero, size;
  std::vector<int> known;
  // Each channel meets as many weights of a row as there are taps.
  const auto taps = static_cast<double>(w.inner * link.repeat);
  for (size_t c = 0; c < raw.size(); ++c) {
    reach.push_back(std::max(static_cast<double>(std::max(activation[c].max, -activation[c].min)),
                             kReach * raw[c].rms));
    energy.push_back(activation[c].rms * activation[c].rms * taps);
    nonzero.push_back(activation[c].nonzero);
    if (reach[c] > 0 && std::isfinite(reach[c]))
      e[c] = nearest_exponent(reach[c]);
    else
      reach[c] = energy[c] = 0;
  }
  for (const ChannelStatistics& s : out) size.push_back(s.rms);
  Noise noise(channels, size);
  const std::vector<float> values = w.tensor->values<float>();
  const int64_t rows_per_group = w.rows / w.group;
  for (int64_t o = 0; o < w.rows; ++o)
    for (int64_t local = 0; local < w.columns; ++local) {
      const int64_t channel = (o / rows_per_group * w.columns + local) / link.repeat;
      noise.add_weights(o, channel, {&values[w.at(o, local)], static_cast<size_t>(w.inner)});
    }
  if (!(noise.settle(reach, nonzero, energy, e) >= kMinGain))
    return std::vector<int>(raw.size(), 0);
  for (size_t c = 0; c < e.size(); ++c)
    if (reach[c] > 0) known.push_back(e[c]);
  if (known.empty()) return std::vector<int>(raw.size(), 0);
  // A common factor changes nothing but the size of the numbers: leave the middle channel alone.
  std::nth_element(known.begin(), known.begin() + static_cast<std::ptrdiff_t>(known.size() / 2),
                   known.end());
  const int middle = known[known.size() / 2];
  for (size_t c = 0; c < e.size(); ++c)
    e[c] = reach[c] > 0 ? std::clamp(e[c] - middle, -kMaxExponent, kMaxExponent) : 0;
  return e;
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
                     const RunOptions& options) {
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
    if (link->first->has_input(2) && link->first->input(2).constant()->count() != w1->rows)
      continue;
    if (!w2 || w2->columns * w2->group != w1->rows * link->repeat) continue;
    links.push_back(*link);
    watched.push_back(link->activation);
    watched.push_back(&link->first->output(0));
    watched.push_back(&link->second->output(0));
  }
  if (links.empty()) return 0;
  // One plan watches each value once.
  std::vector<const Value*> unique = watched;
  std::sort(unique.begin(), unique.end(),
            [](const Value* a, const Value* b) { return a->id() < b->id(); });
  unique.erase(std::unique(unique.begin(), unique.end()), unique.end());
  ONNXTOOL_ASSIGN(const auto statistics, collect_channels(model.graph(), unique, source, options,
                                                          affordable_samples(placement)));
  const auto of = [&](const Value& v) -> const std::vector<ChannelStatistics>& {
    return statistics[static_cast<size_t>(
        std::lower_bound(unique.begin(), unique.end(), &v,
                         [](const Value* a, const Value* b) { return a->id() < b->id(); }) -
        unique.begin())];
  };
  // What was measured refers to the model as it came: exponents of all links first, then the edits.
  std::vector<std::vector<int>> exponents(links.size());
  tbb::parallel_for(size_t{0}, links.size(), [&](size_t l) {
    const Link& link = links[l];
    exponents[l] = exponents_of(link, of(link.first->output(0)), of(*link.activation),
                                of(link.second->output(0)));
  });

  int changed = 0;
  for (size_t l = 0; l < links.size(); ++l) {
    const Link& link = links[l];
    const std::vector<int>& e = exponents[l];
    if (std::all_of(e.begin(), e.end(), [](int x) { return x == 0; })) continue;
    ++changed;
    std::vector<float> up, down;  // 2^e and 2^-e: exact, and so are products with them
    for (const int x : e) {
      up.push_back(std::ldexp(1.0f, x));
      down.push_back(std::ldexp(1.0f, -x));
    }
    const WeightView w1 = *weight_of(*link.first);
    scale_weight(model, *link.first, 1,
                 scaled(w1, [&](int64_t row, int64_t) { return down[static_cast<size_t>(row)]; }));
    if (link.first->has_input(2)) {
      std::vector<float> bias = link.first->input(2).constant()->values<float>();
      for (size_t i = 0; i < bias.size(); ++i) bias[i] *= down[bias.size() == e.size() ? i : 0];
      scale_weight(model, *link.first, 2, bias);
    }
    const WeightView w2 = *weight_of(*link.second);
    const int64_t rows_per_group = w2.rows / w2.group;
    scale_weight(model, *link.second, 1, scaled(w2, [&](int64_t row, int64_t column) {
                   return up[static_cast<size_t>((row / rows_per_group * w2.columns + column) /
                                                 link.repeat)];
                 }));
  }
  return changed;
}

}  // namespace onnxtool
