// Moves Transposes through what works in any order of axes, where fewer bytes are moved then.
//
//   Transpose<p'>(Relu(Add(Transpose<p>(x), Transpose<p>(z))))     p' undoes p
//     =>
//   Relu(Add(x, z))
//
// From each Transpose the nodes around it that take another order of axes as well (layout.cc) are a
// region; its inner values lose the order p. Transposes into it that have the order go, others
// become one with what undoes p; those that read from it go or become one with p; what else enters
// or leaves is transposed. The region behind the Transpose, that before it, and both together are
// weighed; the one that saves most bytes is rewritten. Does not fire: none of the three saves any
// bytes, where extents that are not known count as kUnknownExtent; there would be more Transposes
// for more than half of the bytes, or for values whose open extents have other names. Since each
// rewrite makes the bytes that all Transposes move less, it ends. Numerics: sums over several axes
// are taken in another order. Source: ONNX Transpose-13 and the operators' texts.

#include <algorithm>
#include <map>
#include <set>

#include "libopt/ir/copy.h"
#include "passes/forward.h"
#include "passes/layout.h"
#include "passes/pass.h"

namespace onnxtool {
namespace {

constexpr int64_t kUnknownExtent = 16;
/// Beyond this a region is not followed: the search must not make large graphs quadratic.
constexpr size_t kMaxRegion = 400;

bool all_known(const Value& v) {
  return v.type().shape &&
         std::ranges::all_of(*v.type().shape, [](const Dim& d) { return d.value.has_value(); });
}

// What Transposes move: bytes, and how many they are. More Transposes than before must halve the
// bytes, since each is a node, and what they are moved behind may be slower in the base's order.
// Bytes of values whose open extents are others cannot be compared.
class Cost {
 public:
  void add(const Value& v) { count(v, 1); }
  void save(const Value& v) { count(v, -1); }
  /// A Transpose that is there. What it reads and what it makes have the same extents, yet a graph
  /// output can be declared with names where its maker's input has numbers: weighed by itself it
  /// would seem to save what moving it back saves again.
  void save_transpose(const Node& n) { save(moved_by(n)); }
  void add_transpose(const Node& n) { add(moved_by(n)); }

  double bytes() const { return added_ - saved_; }
  bool worth() const {
    if (transposes_ <= 0) return bytes() < 0;
    return units_.size() < 2 && 2 * added_ <= saved_;
  }

 private:
  static const Value& moved_by(const Node& transpose) {
    return all_known(transpose.input(0)) ? transpose.input(0) : transpose.output(0);
  }

  void count(const Value& v, int sign) {
    double bytes = std::max(1, bits_of(v.type().dtype) / 8);
    std::multiset<std::string> open;
    if (v.type().shape) {
      for (const Dim& d : *v.type().shape) {
        bytes *= static_cast<double>(d.value.value_or(kUnknownExtent));
        if (!d.value) open.insert(d.symbol);
      }
    } else {
      bytes *= kUnknownExtent * kUnknownExtent * kUnknownExtent;
      open.insert("");
    }
    (sign > 0 ? added_ : saved_) += bytes;
    transposes_ += sign;
    units_.insert(std::move(open));
  }

  double added_ = 0, saved_ = 0;
  int transposes_ = 0;
  std::set<std::multiset<std::string>> units_;  // the names of open extents of all that was counted
};

bool is_transpose(const Node* n) {
  return n && n->is("Transpose") && n->has_input(0) && n->has_output(0);
}

// Nodes of one graph that change their order of axes together, by id, so that results do not depend
// on addresses. They may read values of graphs around, whose nodes' ids start anew.
struct Region {
  const Graph& graph;
  Perm perm;
  std::map<int, Moved> nodes = {};

  bool holds(const Node* n) const { return n && &n->graph() == &graph && nodes.contains(n->id()); }
  /// Whether its node takes the base there.
  bool takes(const Use& use) const {
    const auto at = &use.user->graph() == &graph ? nodes.find(use.user->id()) : nodes.end();
    return at != nodes.end() && static_cast<size_t>(use.index) < at->second.inputs.size() &&
           at->second.inputs[static_cast<size_t>(use.index)] == Moved::Input::kBase;
  }
  /// The order of a Transpose beside it; empty: it is none, or its order is not known.
  Perm order_of(const Node* n) const {
    Perm order = is_transpose(n) && &n->graph() == &graph ? perm_of(*n) : Perm{};
    return order.size() == perm.size() ? order : Perm{};
  }
};

std::optional<Moved> joins(const Region& region, const Node& n) {
  const auto has_rank = [&](const Value* v) {
    return v && v->type().rank() == static_cast<int64_t>(region.perm.size());
  };
  const bool same_rank = std::ranges::all_of(n.outputs(), has_rank);
  if (!same_rank && !(n.has_input(0) && has_rank(&n.input(0)))) return std::nullopt;
  auto m = moved(n, region.perm);
  return m && m->ends != same_rank ? std::move(m) : std::nullopt;
}

// What stands behind the value or before it, or both, as far as it can be moved. The value may be
// one of a graph around.
Region grow(const Graph& graph, const Value& start, Perm perm, bool forward, bool backward) {
  Region region{graph, std::move(perm)};
  std::set<int> refused;
  std::vector<const Value*> open = {&start};
  const auto visit = [&](const Node& n, int input) {
    if (&n.graph() != &graph || region.holds(&n) || refused.contains(n.id()) ||
        region.nodes.size() >= kMaxRegion)
      return;
    auto m = joins(region, n);
    if (!m || (input >= 0 && m->inputs[static_cast<size_t>(input)] != Moved::Input::kBase)) {
      refused.insert(n.id());
      return;
    }
    for (size_t i = 0; i < m->inputs.size(); ++i)
      if (m->inputs[i] == Moved::Input::kBase && backward)
        open.push_back(&n.input(static_cast<int>(i)));
    if (!m->ends)
      for (const Value* v : n.outputs()) open.push_back(v);
    region.nodes.emplace(n.id(), std::move(*m));
  };
  while (!open.empty()) {
    const Value* v = open.back();
    open.pop_back();
    if (forward)
      for (const Use& use : v->uses()) visit(*use.user, use.index);
    if (backward && v->producer()) visit(*v->producer(), -1);
  }
  return region;
}

// What a value that enters the region costs, or saves.
void count_input(const Region& region, const Value& v, Cost& cost) {
  const Node* maker = v.producer();
  if (region.holds(maker)) return;
  const Perm perm = region.order_of(maker);
  if (perm.empty()) return cost.add(v);
  const bool goes = !v.is_graph_output() &&
                    std::ranges::all_of(v.uses(), [&](const Use& u) { return region.takes(u); });
  // Between two nodes of the region it keeps its place, with another order.
  const bool cancels = !region.holds(maker->input(0).producer()) &&
                       is_identity(composed(perm, inverse(region.perm)));
  if (cancels && goes) cost.save_transpose(*maker);
  if (!cancels && !goes) cost.add_transpose(*maker);
}

void count_output(const Region& region, const Value& v, Cost& cost) {
  bool stays = v.is_graph_output();
  for (const Use& use : v.uses()) {
    if (region.takes(use)) continue;
    const Perm perm = region.order_of(use.user);
    if (perm.empty()) {
      stays = true;
      continue;
    }
    const bool between = std::ranges::any_of(use.user->output(0).uses(),
                                             [&](const Use& u) { return region.takes(u); });
    if (!between && is_identity(composed(region.perm, perm))) cost.save_transpose(*use.user);
  }
  if (stays) cost.add(v);
}

Cost cost_of(const Region& region) {
  Cost cost;
  std::set<const Value*> seen;  // by address: values of graphs around have ids of their own
  for (const auto& [id, m] : region.nodes) {
    const Node& n = *region.graph.node(id);
    for (size_t i = 0; i < m.inputs.size(); ++i)
      if (m.inputs[i] == Moved::Input::kBase && seen.insert(&n.input(static_cast<int>(i))).second)
        count_input(region, n.input(static_cast<int>(i)), cost);
    if (!m.ends)
      for (const Value* v : n.outputs()) count_output(region, *v, cost);
  }
  return cost;
}

MatchOr<Region> match(const Node& transpose) {
  if (!is_transpose(&transpose)) return no_match();
  const Perm perm = perm_of(transpose);
  if (perm.size() < 2 || is_identity(perm)) return no_match();
  std::optional<Region> best;
  double least = 0;
  const auto weigh = [&](const Value& start, const Perm& order, bool forward, bool backward) {
    Region region = grow(transpose.graph(), start, order, forward, backward);
    if (region.nodes.empty()) return;
    const Cost cost = cost_of(region);
    if (!cost.worth() || cost.bytes() >= least) return;
    least = cost.bytes();
    best.emplace(std::move(region));
  };
  weigh(transpose.output(0), perm, true, false);
  weigh(transpose.input(0), inverse(perm), false, true);
  weigh(transpose.output(0), perm, true, true);
  weigh(transpose.input(0), inverse(perm), true, true);
  if (!best) return no_match("no bytes are saved");
  return *std::move(best);
}

// The region's nodes anew, in base order.
class Rewrite {
 public:
  Rewrite(const Region& region, Rewriter& rw) : region_(region), rw_(rw) {}

  void run() {
    std::vector<const Node*> nodes;
    for (const Node& n : rw_.graph().nodes())
      if (region_.holds(&n)) nodes.push_back(&n);
    for (const Node* n : nodes) rebuild(*n);
    for (const Node* n : nodes)
      for (const Value* v : n->outputs()) reconnect(*n, *v);
    for (auto n = nodes.rbegin(); n != nodes.rend(); ++n) rw_.remove(**n);
  }

 private:
  Value& transpose(Value& v, const Perm& perm) {
    std::vector<Attribute> order;
    order.push_back(Attribute::of("perm", perm));
    Node& n = rw_.add_node("Transpose", {&v}, std::move(order), 1, v.name());
    rw_.infer_types(n);
    return n.output(0);
  }

  Value& base_of(Value& v) {
    if (const auto known = base_.find(&v); known != base_.end()) return *known->second;
    const Perm order = region_.order_of(v.producer());
    Value* source = order.empty() ? &v : &v.producer()->input(0);
    Perm perm = inverse(region_.perm);
    if (!order.empty()) {
      perm = composed(order, perm);
      if (const auto known = base_.find(source); known != base_.end()) {
        source = known->second;
        perm = composed(region_.perm, perm);
      }
    }
    return *(base_[&v] = is_identity(perm) ? source : &transpose(*source, perm));
  }

  void rebuild(const Node& n) {
    rw_.place_before(n);
    const Moved& m = region_.nodes.at(n.id());
    std::vector<Value*> inputs;
    size_t constants = 0;
    for (size_t i = 0; i < m.inputs.size(); ++i) {
      if (m.inputs[i] == Moved::Input::kSame)
        inputs.push_back(i < static_cast<size_t>(n.num_inputs()) ? n.inputs()[i] : nullptr);
      else if (m.inputs[i] == Moved::Input::kBase)
        inputs.push_back(&base_of(n.input(static_cast<int>(i))));
      else
        inputs.push_back(&rw_.add_constant(
            m.constants[constants++],
            n.has_input(static_cast<int>(i)) ? n.input(static_cast<int>(i)).name() : "axes"));
    }
    std::vector<Attribute> attributes;
    ValueMap none;
    for (const Attribute& a : n.attributes())
      attributes.push_back(copy_attribute(a, rw_.graph(), none));
    Node& anew = rw_.add_node(n.op_type(), inputs, std::move(attributes), n.num_outputs(),
                              n.output(0).name());
    for (const auto& [name, list] : m.lists) rw_.set_attribute(anew, Attribute::of(name, list));
    for (const auto& [name, number] : m.numbers)
      rw_.set_attribute(anew, Attribute::of(name, number));
    rw_.infer_types(anew);
    for (int i = 0; i < n.num_outputs(); ++i) base_[&n.output(i)] = &anew.output(i);
  }

  // Readers of v outside the region.
  void reconnect(const Node& n, const Value& v) {
    Value& base = *base_.at(&v);
    if (region_.nodes.at(n.id()).ends) return rw_.replace_uses(v, base);
    const std::vector<Use> uses = v.uses();
    for (const Use& use : uses) {
      const Perm order = region_.order_of(use.user);
      if (region_.takes(use) || order.empty()) continue;
      const Perm perm = composed(region_.perm, order);
      if (is_identity(perm) && !cannot_forward(use.user->output(0), base)) {
        rw_.replace_uses(use.user->output(0), base);
        rw_.remove(*use.user);
      } else {
        rw_.set_input(*use.user, 0, &base);
        rw_.set_attribute(*use.user, Attribute::of("perm", perm));
      }
    }
    const bool stays = v.is_graph_output() || std::ranges::any_of(v.uses(), [&](const Use& u) {
                         return !region_.takes(u);
                       });
    if (!stays) return;
    rw_.place_before(n);
    rw_.replace_uses(v, transpose(base, region_.perm));
  }

  const Region& region_;
  Rewriter& rw_;
  std::map<const Value*, Value*>
      base_;  // by address, since ids of graphs around are others' here; never walked
};

void rewrite(const Region& region, Rewriter& rw) { Rewrite(region, rw).run(); }

}  // namespace

constinit const PassInfo kPushTransposes{
    .name = "push-transposes",
    .summary =
        "move Transposes through what works in any order of axes, where fewer bytes are moved then",
    .roots = {"Transpose"},
    .level = Level::kBasic,
    .exactness = Exactness::kRounding,
    .run = run_rule<match, rewrite>};
}  // namespace onnxtool
