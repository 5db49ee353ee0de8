// The graph as a diagram: operators, inputs and outputs are boxes; values connect them, and carry
// what is known of tensors.
#include <fmt/format.h>
#include <tbb/parallel_for.h>

#include <unordered_map>

#include "apps/inspect_activations.h"
#include "libopt/analysis/cost.h"
#include "libopt/analysis/statistics.h"
#include "libopt/ir/operator_name.h"
#include "libopt/ir/unread.h"
#include "libopt/rewrite/work.h"

namespace onnxtool {
namespace {

constexpr size_t kSteps = 48;  // of histograms
// Fewer elements are no distribution.
constexpr int64_t kLeastElements = 16;
// Without names that say what belongs together, so many neighbours do.
constexpr size_t kNeighbours = 64;
// Graphs up to this size need no such groups.
constexpr size_t kDrawnWhole = 512;

class Builder {
 public:
  Diagram build(const Model& model, const std::vector<Activation>& activations) {
    drawing_.title = model.graph().name.empty() ? "graph" : model.graph().name;
    const Graph& g = model.graph();
    for (const Value* v : g.inputs())
      if (!v->initializer())
        drawing_.nodes.push_back({"input", v->name(), "", {}, {index(*v)}, {}});
    add_nodes(g, "");
    for (const Value* v : g.outputs())
      drawing_.nodes.push_back({"output", v->name(), "", {index(*v)}, {}, {}});
    if (grouped_ * 2 < drawing_.nodes.size()) group_neighbours();
    count_constants();
    for (const Activation& a : activations)
      if (const auto at = index_.find(a.value); at != index_.end())
        drawing_.values[static_cast<size_t>(at->second)].histogram =
            histogram_of(a.summary, kSteps);
    return std::move(drawing_);
  }

 private:
  // Constant nodes are no boxes: their results are constants like any other.
  void add_nodes(const Graph& graph, const std::string& around) {
    for (const Node& n : graph.nodes()) {
      if (n.is("Constant")) continue;
      Diagram::Node box{operator_name(n), shown_name(n), group_of(n, around), {}, {}, facts_of(n)};
      grouped_ += !box.group.empty();
      for (const Value* v : n.inputs()) box.inputs.push_back(v ? index(*v) : -1);
      for (const Value* v : n.outputs())
        if (v) box.outputs.push_back(index(*v));
      // The results of its subgraphs lead to the node that runs them.
      for (const Attribute& a : n.attributes())
        if (const auto* inner = a.get<std::unique_ptr<Graph>>()) {
          add_nodes(**inner, (around.empty() ? "" : around + "/") + shown_name(n) + "/" + a.name);
          for (const Value* v : (*inner)->outputs()) box.inputs.push_back(index(*v));
        }
      drawing_.nodes.push_back(std::move(box));
    }
  }

  static std::string group_of(const Node& n, const std::string& around) {
    const size_t slash = n.name().rfind('/');
    const std::string own = slash == std::string::npos ? "" : n.name().substr(0, slash);
    return around.empty() || own.empty() ? around + own : around + "/" + own;
  }

  Diagram::Facts facts_of(const Node& n) {
    Diagram::Facts facts = {{"opset", std::to_string(n.opset())}};
    const auto macs = work_.macs(n);
    if (!macs || *macs > 0)
      facts.emplace_back("MACs", macs ? format_scalar(*macs, "") : "not known");
    for (const Attribute& a : n.attributes()) facts.emplace_back(a.name, short_attribute(a));
    return facts;
  }

  int32_t index(const Value& v) {
    const auto [it, is_new] = index_.emplace(&v, static_cast<int32_t>(drawing_.values.size()));
    if (!is_new) return it->second;
    const Tensor* t = stored_constant(v);
    constants_.push_back(t);
    Diagram::Value value{v.name(), {{"type", format_type(v.type())}}, {}};
    const auto bytes = t ? static_cast<int64_t>(t->size_bytes()) : bytes_of(v.type()).value_or(0);
    if (bytes > 0) value.facts.emplace_back("bytes", format_scalar(bytes, ""));
    const char* role = t                     ? "constant"
                       : v.is_graph_input()  ? "input of a graph"
                       : v.is_graph_output() ? "output of a graph"
                                             : nullptr;
    if (role) value.facts.emplace_back("is", role);
    drawing_.values.push_back(std::move(value));
    return it->second;
  }

  void group_neighbours() {
    auto& nodes = drawing_.nodes;
    if (nodes.size() <= kDrawnWhole) return;
    const auto stretch = [&](size_t i, size_t length) {
      const size_t from = i / length * length;
      return fmt::format("nodes {} to {}", from + 1, std::min(from + length, nodes.size()));
    };
    constexpr size_t kStretch = kNeighbours * kNeighbours;
    for (size_t i = 0; i < nodes.size(); ++i)
      if (nodes[i].group.empty())
        nodes[i].group = (nodes.size() > kStretch ? stretch(i, kStretch) + "/" : std::string()) +
                         stretch(i, kNeighbours);
  }

  // Reading all weights is most of the work.
  void count_constants() {
    tbb::parallel_for(size_t{0}, constants_.size(), [&](size_t i) {
      const Tensor* t = constants_[i];
      if (!t || unread_data(*t) || t->count() < kLeastElements || !has_statistics(t->dtype()))
        return;
      ValueCounts counts = count_values(*t, kSteps);
      if (!counts.counts.empty())
        drawing_.values[i].histogram = {counts.low, counts.high, std::move(counts.counts)};
    });
  }

  Diagram drawing_;
  WorkCounter work_;
  std::unordered_map<const Value*, int32_t> index_;
  std::vector<const Tensor*> constants_;  // of each value; nullptr: it is none
  size_t grouped_ = 0;                    // nodes whose names make groups
};

}  // namespace

Section graph_drawing(const Model& model) { return graph_drawing(model, {}); }

Section graph_drawing(const Model& model, const std::vector<Activation>& activations) {
  Section s{"graph", "Graph", {}, {}, {}, false};
  s.figures.push_back(Builder().build(model, activations));
  return s;
}

}  // namespace onnxtool
