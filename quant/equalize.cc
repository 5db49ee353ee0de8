#include "quant/equalize.h"

#include <tbb/parallel_for.h>

#include <algorithm>
#include <cmath>
#include <set>

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
// Beyond this the scaled weights could leave the normal range.
constexpr int kMaxExponent = 24;

// How a constant weight is indexed: [rows, columns, inner] with rows the output channels.
struct WeightView {
  const Tensor* tensor = nullptr;
  int64_t rows = 0, columns = 0, inner = 1;
  bool transposed = false;  // stored as [columns, rows]
  int64_t group = 1;        // columns count one group's
  size_t at(int64_t row, int64_t column, int64_t k) const {
    return static_cast<size_t>(transposed ? column * rows + row
                                          : (row * columns + column) * inner + k);
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

// The noise that 8-bit codes add to the second layer's outputs, each row relative to its output's
// size, as a function of the channels' exponents e (channel i is divided by 2^e_i):
//
//   J(e) = sum over rows o of 1/b_o^2 ( A^2 / 255^2 * sum_i p_i |W_oi|^2 4^e_i    codes of the
//   activation
//                                     + M_o^2 / 127^2 * sum_i q_i 4^-e_i )        codes of the
//                                     weights
//
//   A = max_i r_i 2^-e_i, the activation's range;  M_o = max_i |W_oi| 2^e_i, the row's range;
//   p_i the share of channel i that is not zero (zero has a code of its own), q_i its mean square
//   times the weights of a row that it meets. The common factor 1/12 of rounding noise is left out.
class Noise {
 public:
  Noise(int64_t rows, int64_t channels)
      : rows_(rows),
        channels_(channels),
        largest_(static_cast<size_t>(rows * channels), 0),
        by_channel_(largest_),
        squares_(largest_) {}

  void add_weight(int64_t row, int64_t channel, double w) {
    const size_t i = at(row, static_cast<size_t>(channel));
    largest_[i] = std::max(largest_[i], std::abs(w));
    by_channel_[static_cast<size_t>(channel * rows_ + row)] = largest_[i];
    squares_[i] += w * w;
  }
  // Weighs each row, then finds exponents by steps of one that lower J, from the start given.
  /// Returns by what factor J fell against e = 0, where nothing is rescaled.
  double settle(const std::vector<double>& row_size, const std::vector<double>& reach,
                const std::vector<double>& nonzero, const std::vector<double>& energy,
                std::vector<int>& e) {
    const auto n = static_cast<size_t>(channels_);
    weight_.assign(static_cast<size_t>(rows_), 0);
    for (int64_t o = 0; o < rows_; ++o)
      if (const double b = row_size[static_cast<size_t>(o)]; b > 0)
        weight_[static_cast<size_t>(o)] = 1 / (b * b);
    std::vector<double> column(n, 0);
    for (int64_t o = 0; o < rows_; ++o)
      for (int64_t i = 0; i < channels_; ++i)
        column[static_cast<size_t>(i)] +=
            weight_[static_cast<size_t>(o)] * squares_[at(o, static_cast<size_t>(i))];
    for (size_t i = 0; i < n; ++i) column[i] *= nonzero[i];
    const double unscaled = start(reach, energy, column, std::vector<int>(n, 0));
    double best = start(reach, energy, column, e);
    // Where evening out all the way does not help at all, the search would not find much either.
    if (!(best < unscaled)) return 1;
    // Each sweep that changes something lowers J; the bound only guards against endless tiny gains.
    for (int sweep = 0; sweep < 16; ++sweep) {
      bool moved = false;
      for (size_t i = 0; i < n; ++i)
        for (const int step : {1, -1}) {
          const double j = try_step(reach, energy, column, i, step);
          if (!(j < best)) continue;
          take_step(energy, column, i, step);
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

  double row_range(int64_t row) const {
    double largest = 0;
    for (size_t i = 0; i < factor_.size(); ++i)
      largest = std::max(largest, largest_[at(row, i)] * factor_[i]);
    return largest;
  }

  static double sum(double range, double by_activation, double by_weight, double mean_square) {
    return range * range / (255.0 * 255.0) * by_activation +
           by_weight * mean_square / (127.0 * 127.0);
  }

  // J at e from scratch; the running terms that steps change.
  double start(const std::vector<double>& reach, const std::vector<double>& energy,
               const std::vector<double>& column, const std::vector<int>& e) {
    factor_.clear();
    for (int x : e) factor_.push_back(std::ldexp(1.0, x));
    by_activation_ = mean_square_ = 0;
    double range = 0, by_weight = 0;
    for (size_t i = 0; i < e.size(); ++i) {
      range = std::max(range, reach[i] / factor_[i]);
      by_activation_ += column[i] * factor_[i] * factor_[i];
      mean_square_ += energy[i] / (factor_[i] * factor_[i]);
    }
    row_range_.clear();
    for (int64_t o = 0; o < rows_; ++o) {
      row_range_.push_back(row_range(o));
      by_weight += weight_[static_cast<size_t>(o)] * row_range_.back() * row_range_.back();
    }
    return sum(range, by_activation_, by_weight, mean_square_);
  }

  double try_step(const std::vector<double>& reach, const std::vector<double>& energy,
                  const std::vector<double>& column, size_t i, int step) {
    const double f = factor_[i], g = std::ldexp(f, step);
    double range = reach[i] / g;
    for (size_t c = 0; c < reach.size(); ++c)
      if (c != i) range = std::max(range, reach[c] / factor_[c]);
    const double* mine = by_channel_.data() + i * static_cast<size_t>(rows_);
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
    }
    return sum(range, by_activation_ + column[i] * (g * g - f * f), by_weight,
               mean_square_ + energy[i] * (1 / (g * g) - 1 / (f * f)));
  }

  void take_step(const std::vector<double>& energy, const std::vector<double>& column, size_t i,
                 int step) {
    const double f = factor_[i], g = std::ldexp(f, step);
    by_activation_ += column[i] * (g * g - f * f);
    mean_square_ += energy[i] * (1 / (g * g) - 1 / (f * f));
    factor_[i] = g;
    const double* mine = by_channel_.data() + i * static_cast<size_t>(rows_);
    for (size_t o = 0; o < row_range_.size(); ++o) {
      const bool set_it = g < f && mine[o] * f >= row_range_[o];
      row_range_[o] =
          set_it ? row_range(static_cast<int64_t>(o)) : std::max(row_range_[o], mine[o] * g);
    }
  }

  int64_t rows_, channels_;
  std::vector<double> largest_, by_channel_;  // [rows, channels] and [channels, rows]
  std::vector<double> squares_, weight_;      // [rows, channels], [rows]
  std::vector<double> factor_, row_range_;    // [channels], [rows]
  double by_activation_ = 0, mean_square_ = 0;
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
  Noise noise(w.rows, channels);
  const std::vector<float> values = w.tensor->values<float>();
  const int64_t rows_per_group = w.rows / w.group;
  for (int64_t o = 0; o < w.rows; ++o)
    for (int64_t local = 0; local < w.columns; ++local) {
      const int64_t channel = (o / rows_per_group * w.columns + local) / link.repeat;
      for (int64_t k = 0; k < w.inner; ++k) noise.add_weight(o, channel, values[w.at(o, local, k)]);
    }
  if (!(noise.settle(size, reach, nonzero, energy, e) >= kMinGain))
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
    const WeightView w1 = *weight_of(*link.first);
    std::vector<float> first = w1.tensor->values<float>();
    for (int64_t row = 0; row < w1.rows; ++row)
      for (int64_t column = 0; column < w1.columns; ++column)
        for (int64_t k = 0; k < w1.inner; ++k)
          first[w1.at(row, column, k)] =
              std::ldexp(first[w1.at(row, column, k)], -e[static_cast<size_t>(row)]);
    scale_weight(model, *link.first, 1, first);
    if (link.first->has_input(2)) {
      std::vector<float> bias = link.first->input(2).constant()->values<float>();
      for (size_t i = 0; i < bias.size(); ++i)
        bias[i] = std::ldexp(bias[i], -e[bias.size() == e.size() ? i : 0]);
      scale_weight(model, *link.first, 2, bias);
    }
    const WeightView w2 = *weight_of(*link.second);
    std::vector<float> second = w2.tensor->values<float>();
    const int64_t rows_per_group = w2.rows / w2.group;
    for (int64_t o = 0; o < w2.rows; ++o)
      for (int64_t local = 0; local < w2.columns; ++local) {
        const int64_t channel = (o / rows_per_group * w2.columns + local) / link.repeat;
        for (int64_t k = 0; k < w2.inner; ++k)
          second[w2.at(o, local, k)] =
              std::ldexp(second[w2.at(o, local, k)], e[static_cast<size_t>(channel)]);
      }
    scale_weight(model, *link.second, 1, second);
  }
  return changed;
}

}  // namespace onnxtool
