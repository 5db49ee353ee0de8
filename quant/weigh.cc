// The cut is found by Dinic's algorithm (E. Dinic, 1970) in integers, so that it is the same
// everywhere.

#include "quant/weigh.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace onnxtool {
namespace {

using Flow = int64_t;  // picoseconds

constexpr Flow kUnlimited = std::numeric_limits<Flow>::max() / 4;

Flow flow_of(double ns) {
  // A day is beyond any graph; the sum of many such stays below the limit.
  constexpr double kMost = 1e17;
  return static_cast<Flow>(std::llround(std::clamp(ns * 1e3, 0.0, kMost)));
}

class Network {
 public:
  explicit Network(int vertices) : first_(static_cast<size_t>(vertices), -1) {}

  void connect(int from, int to, Flow capacity) {
    add(from, to, capacity);
    add(to, from, 0);
  }

  /// Vertices that cannot reach `sink` once the flow is greatest are on the source's side, as many
  /// as there can be.
  std::vector<bool> source_side(int source, int sink) {
    while (levels_from(source, sink)) {
      at_ = first_;
      push_all(source, sink);
    }
    return reaching(sink);
  }

 private:
  struct Edge {
    int to, next;
    Flow rest;
  };

  void add(int from, int to, Flow capacity) {
    edges_.push_back({to, first_[static_cast<size_t>(from)], capacity});
    first_[static_cast<size_t>(from)] = static_cast<int>(edges_.size()) - 1;
  }
  Edge& edge(int e) { return edges_[static_cast<size_t>(e)]; }

  bool levels_from(int source, int sink) {
    level_.assign(first_.size(), -1);
    level_[static_cast<size_t>(source)] = 0;
    std::vector<int> queue = {source};
    for (size_t i = 0; i < queue.size(); ++i)
      for (int e = first_[static_cast<size_t>(queue[i])]; e >= 0; e = edge(e).next) {
        const auto to = static_cast<size_t>(edge(e).to);
        if (edge(e).rest == 0 || level_[to] >= 0) continue;
        level_[to] = level_[static_cast<size_t>(queue[i])] + 1;
        queue.push_back(edge(e).to);
      }
    return level_[static_cast<size_t>(sink)] >= 0;
  }

  // Paths along the levels until none is left; a stack of its own, since chains are long.
  void push_all(int source, int sink) {
    std::vector<int> path;  // edges
    int v = source;
    while (true) {
      if (v == sink) {
        Flow least = kUnlimited;
        for (int e : path) least = std::min(least, edge(e).rest);
        size_t keep = path.size();
        for (size_t i = path.size(); i-- > 0;) {
          edge(path[i]).rest -= least;
          edge(path[i] ^ 1).rest += least;
          if (edge(path[i]).rest == 0) keep = i;
        }
        path.resize(keep);
        v = path.empty() ? source : edge(path.back()).to;
        continue;
      }
      int& e = at_[static_cast<size_t>(v)];
      while (e >= 0 && (edge(e).rest == 0 || level_[static_cast<size_t>(edge(e).to)] !=
                                                 level_[static_cast<size_t>(v)] + 1))
        e = edge(e).next;
      if (e >= 0) {
        path.push_back(e);
        v = edge(e).to;
      } else if (path.empty()) {
        return;
      } else {
        level_[static_cast<size_t>(v)] = -1;  // a dead end
        v = edge(path.back() ^ 1).to;
        path.pop_back();
      }
    }
  }

  std::vector<bool> reaching(int sink) {
    std::vector<bool> cannot(first_.size(), true);
    cannot[static_cast<size_t>(sink)] = false;
    std::vector<int> queue = {sink};
    for (size_t i = 0; i < queue.size(); ++i)
      for (int e = first_[static_cast<size_t>(queue[i])]; e >= 0; e = edge(e).next) {
        // The twin leads here.
        const auto from = static_cast<size_t>(edge(e).to);
        if (edge(e ^ 1).rest == 0 || !cannot[from]) continue;
        cannot[from] = false;
        queue.push_back(edge(e).to);
      }
    return cannot;
  }

  std::vector<int> first_, at_, level_;  // by vertex
  std::vector<Edge> edges_;              // each beside its reverse
};

}  // namespace

std::vector<bool> cheapest_placement(const std::vector<WeighedNode>& nodes,
                                     const std::vector<WeighedTensor>& tensors) {
  const int count = static_cast<int>(nodes.size());
  const int integers = count + static_cast<int>(tensors.size()), floats = integers + 1;
  Network network(floats + 1);
  for (int i = 0; i < count; ++i) {
    const WeighedNode& n = nodes[static_cast<size_t>(i)];
    network.connect(integers, i, flow_of(n.float_ns));
    network.connect(i, floats, flow_of(n.integer_ns));
  }
  for (size_t t = 0; t < tensors.size(); ++t) {
    const WeighedTensor& v = tensors[t];
    // A vertex of its own: the integer form is there as soon as one reader wants it.
    const int form = count + static_cast<int>(t), maker = v.producer >= 0 ? v.producer : floats;
    for (int r : v.readers) network.connect(r, form, kUnlimited);
    network.connect(form, maker, flow_of(v.quantize_ns));
    if (v.producer < 0) continue;
    for (int r : v.readers) network.connect(v.producer, r, flow_of(v.dequantize_ns));
    if (v.float_readers)
      network.connect(v.producer, floats, flow_of(v.dequantize_ns * v.float_readers));
  }
  std::vector<bool> side = network.source_side(integers, floats);
  side.resize(nodes.size());
  return side;
}

}  // namespace onnxtool
