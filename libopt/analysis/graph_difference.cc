#include "libopt/analysis/graph_difference.h"

#include <algorithm>
#include <map>
#include <set>

#include "libopt/analysis/attribute_defaults.h"
#include "libopt/analysis/tensor_text.h"
#include "libopt/ir/unread.h"

namespace onnxtool {
namespace {

std::vector<const Node*> nodes_of(const Graph& graph) {
  std::vector<const Node*> out;
  for (const Node& n : graph.nodes())
    if (has_key(n)) out.push_back(&n);
  return out;
}

// The operator, and the shapes of the constants that it reads.
std::string shape_key(const Node& n) {
  std::string key = "shape " + operator_key(n);
  for (const Value* v : n.inputs())
    if (const Tensor* t = v ? stored_constant(*v) : nullptr) key += format_dims(t->dims());
  return key;
}

std::vector<const Graph*> graphs_in(const Attribute& a) {
  if (const auto* g = a.get<std::unique_ptr<Graph>>()) return {g->get()};
  std::vector<const Graph*> out;
  if (const auto* list = a.get<std::vector<std::unique_ptr<Graph>>>())
    for (const auto& g : *list) out.push_back(g.get());
  return out;
}

std::string shown(const Attribute& a) {
  constexpr size_t kMost = 80;
  if (a.kind == AttributeKind::kGraph) return "a graph";
  if (a.kind == AttributeKind::kGraphs) return std::to_string(graphs_in(a).size()) + " graphs";
  const std::string text = attribute_text(a);
  return text.size() <= kMost ? text : text.substr(0, kMost) + "...";
}

// Of a sparse initializer; empty: it is none.
std::string sparse_text_of(const Value& v) {
  if (v.producer() || v.initializer() || v.is_graph_input()) return {};
  const auto texts = sparse_initializer_texts(v.graph());
  const auto found = texts.find(v.name());
  return found == texts.end() ? std::string() : found->second;
}

// How many results are made: `3`, or `3 without 1`; absent ones at the end say nothing.
std::string results_of(const Node& n) {
  int count = n.num_outputs();
  while (count > 0 && !n.has_output(count - 1)) --count;
  std::string out = std::to_string(count), absent;
  for (int i = 0; i < count; ++i)
    if (!n.has_output(i)) absent += (absent.empty() ? " without " : ", ") + std::to_string(i);
  return out + absent;
}

// What nothing reads, by content.
std::map<std::string, const Value*> unused_constants(const Graph& graph) {
  std::map<std::string, const Value*> out;
  for (const Value* v : graph.initializers())
    if (v->unused() && !v->is_graph_input()) out[tensor_text(*v->initializer())] = v;
  for (const auto& [name, text] : sparse_initializer_texts(graph))
    if (const Value* v = graph.find(name); v && v->unused()) out[text] = v;
  return out;
}

}  // namespace

std::string face_of(const Graph& graph) {
  return std::to_string(graph.inputs().size()) + " inputs, " +
         std::to_string(graph.outputs().size()) + " outputs";
}

GraphComparison::GraphComparison(const Graph& a, const Graph& b, KeyedGraph& a_keys,
                                 KeyedGraph& b_keys, Face face, std::string prefix,
                                 SharedDifferences& shared)
    : a_(a),
      b_(b),
      keyed_a_(a_keys),
      keyed_b_(b_keys),
      face_(face),
      prefix_(std::move(prefix)),
      shared_(shared),
      nodes_a_(nodes_of(a)),
      nodes_b_(nodes_of(b)) {}

void GraphComparison::run() {
  pair_inputs();
  pair_equal();
  pair_by_inputs();
  pair_by_users();
  pair_in_order();
  compare_outputs();
  compare_nodes();
  compare_unused_constants();
}

void GraphComparison::pair(const Node& a, const Node& b) {
  to_b_[&a] = &b;
  to_a_[&b] = &a;
  for (int i = 0; i < std::min(a.num_outputs(), b.num_outputs()); ++i)
    if (a.has_output(i) && b.has_output(i)) shared_.meaning[&b.output(i)] = &a.output(i);
}

void GraphComparison::pair_inputs() {
  if (face_ == Face::kPlaces) {
    for (size_t i = 0; i < std::min(a_.inputs().size(), b_.inputs().size()); ++i) {
      const Value &x = *a_.inputs()[i], &y = *b_.inputs()[i];
      shared_.meaning[&y] = &x;
      if (const auto t = element_type_text(x.type()), u = element_type_text(y.type()); t != u)
        shared_.changed(prefix_ + "input '" + y.name() + "'", t + " -> " + u);
    }
    return;
  }
  for (const Value* v : b_.inputs())
    if (const Value* other = a_.find(v->name()); other && other->is_graph_input())
      shared_.meaning[v] = other;
}

void GraphComparison::pair_equal() {
  std::unordered_map<int, std::vector<const Node*>> open;
  for (const Node* n : nodes_a_) open[keyed_a_.of(*n)].push_back(n);
  for (auto& [key, list] : open) std::reverse(list.begin(), list.end());
  for (const Node* n : nodes_b_) {
    const auto it = open.find(keyed_b_.of(*n));
    if (it == open.end() || it->second.empty()) continue;
    pair(*it->second.back(), *n);
    it->second.pop_back();
  }
}

// Operator and variable inputs, as values of a; empty: one of them is new, or there is none.
std::string GraphComparison::reads(const Node& n, bool of_a) const {
  std::string key = operator_key(n);
  bool any = false;
  for (const Value* v : n.inputs()) {
    if (!v || stored_constant(*v)) continue;
    const Value* m = v;
    if (!of_a) {
      const auto it = shared_.meaning.find(v);
      if (it == shared_.meaning.end()) return {};
      m = it->second;
    }
    // Graphs number their values, and an inner one reads those of outer ones too.
    key += " " + std::to_string(reinterpret_cast<uintptr_t>(m));
    any = true;
  }
  return any ? key : std::string();
}

void GraphComparison::pair_by_inputs() {
  std::unordered_map<std::string, std::vector<const Node*>> open;
  for (const Node* n : nodes_a_)
    if (!to_b_.contains(n))
      if (const std::string key = reads(*n, true); !key.empty()) open[key].push_back(n);
  for (auto& [key, list] : open) std::reverse(list.begin(), list.end());
  for (const Node* n : nodes_b_) {
    if (to_a_.contains(n)) continue;
    const std::string key = reads(*n, false);
    const auto it = key.empty() ? open.end() : open.find(key);
    if (it == open.end() || it->second.empty()) continue;
    pair(*it->second.back(), *n);
    it->second.pop_back();
  }
}

// Those that correspond.
std::vector<std::pair<const Value*, const Value*>> GraphComparison::outputs() const {
  std::vector<std::pair<const Value*, const Value*>> out;
  if (face_ == Face::kPlaces) {
    for (size_t i = 0; i < std::min(a_.outputs().size(), b_.outputs().size()); ++i)
      out.emplace_back(a_.outputs()[i], b_.outputs()[i]);
    return out;
  }
  for (const Value* y : b_.outputs())
    if (const Value* x = a_.find(y->name()); x && x->is_graph_output()) out.emplace_back(x, y);
  return out;
}

// From the outputs back: what feeds the same input of a pair stands for each other.
void GraphComparison::pair_by_users() {
  const auto producers = [&](const Value* x, const Value* y) {
    if (!x || !y || !x->producer() || !y->producer()) return;
    const Node &p = *x->producer(), &q = *y->producer();
    if (operator_key(p) == operator_key(q) && x->producer_index() == y->producer_index() &&
        !to_b_.contains(&p) && !to_a_.contains(&q) && &p.graph() == &a_ && &q.graph() == &b_ &&
        !stored_constant(*x) && !stored_constant(*y))
      pair(p, q);
  };
  for (const auto& [x, y] : outputs()) producers(x, y);
  for (auto it = nodes_b_.rbegin(); it != nodes_b_.rend(); ++it) {
    const auto found = to_a_.find(*it);
    if (found == to_a_.end()) continue;
    for (int i = 0; i < std::min((*it)->num_inputs(), found->second->num_inputs()); ++i)
      if ((*it)->has_input(i) && found->second->has_input(i))
        producers(&found->second->input(i), &(*it)->input(i));
  }
}

// What is left: the longest common sequence of operators on constants of equal shapes, so that
// one node put in or taken out does not cost the pairs of all that follow.
void GraphComparison::pair_in_order() {
  std::vector<const Node*> a, b;
  for (const Node* n : nodes_a_)
    if (!to_b_.contains(n)) a.push_back(n);
  for (const Node* n : nodes_b_)
    if (!to_a_.contains(n)) b.push_back(n);
  // A table of more than this many cells is not worth its time: such models have little in
  // common.
  constexpr size_t kMostCells = 16'000'000;
  if (a.empty() || b.empty() || a.size() * b.size() > kMostCells) return;
  std::vector<int> x, y;
  for (const Node* n : a) x.push_back(shared_.keys.of(shape_key(*n)));
  for (const Node* n : b) y.push_back(shared_.keys.of(shape_key(*n)));
  const size_t width = b.size() + 1;
  std::vector<uint16_t> longest((a.size() + 1) * width, 0);
  for (size_t i = a.size(); i-- > 0;)
    for (size_t j = b.size(); j-- > 0;)
      longest[i * width + j] =
          x[i] == y[j] ? static_cast<uint16_t>(longest[(i + 1) * width + j + 1] + 1)
                       : std::max(longest[(i + 1) * width + j], longest[i * width + j + 1]);
  for (size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    if (x[i] == y[j])
      pair(*a[i++], *b[j++]);
    else if (longest[(i + 1) * width + j] >= longest[i * width + j + 1])
      ++i;
    else
      ++j;
  }
}

// What an output is made of may change although every node has its pair.
void GraphComparison::compare_outputs() {
  for (const auto& [x, y] : outputs()) {
    if (stands_for(y, x)) continue;
    const Tensor *t = stored_constant(*x), *u = stored_constant(*y);
    shared_.changed(prefix_ + "output '" + y->name() + "'",
                    t && u ? tensor_change(*t, *u) : "is made by another node");
  }
}

bool GraphComparison::stands_for(const Value* y, const Value* x) const {
  if (!x || !y) return x == y;
  const Tensor *t = stored_constant(*x), *u = stored_constant(*y);
  if (t || u) return t && u && seem_equal(*t, *u);
  const auto it = shared_.meaning.find(y);
  if (it != shared_.meaning.end()) return it->second == x;
  return !x->producer() && !y->producer() && keyed_a_.of(*x) == keyed_b_.of(*y);
}

void GraphComparison::compare_nodes() {
  for (const Node* n : nodes_a_)
    if (!to_b_.contains(n))
      shared_.out.push_back({Difference::Kind::kRemoved, prefix_ + n->describe(), ""});
  for (const Node* n : nodes_b_) {
    const auto it = to_a_.find(n);
    if (it == to_a_.end())
      shared_.out.push_back({Difference::Kind::kAdded, prefix_ + n->describe(), ""});
    else if (keyed_a_.of(*it->second) != keyed_b_.of(*n))
      compare(*it->second, *n);
  }
}

void GraphComparison::compare(const Node& a, const Node& b) {
  const std::string place = prefix_ + b.describe();
  std::set<std::string> attributes;
  for (const Node* n : {&a, &b})
    for (const Attribute& x : n->attributes())
      if (!is_default_attribute(*n, x)) attributes.insert(x.name);
  for (const std::string& name : attributes)
    attribute(place, name, "attribute '" + name + "'", {a.attribute(name), b.attribute(name)},
              "absent");
  if (const std::string before = results_of(a), after = results_of(b); before != after)
    shared_.changed(place, "results: " + before + " -> " + after);
  for (int i = 0; i < std::max(a.num_inputs(), b.num_inputs()); ++i) {
    const Value* x = a.has_input(i) ? &a.input(i) : nullptr;
    const Value* y = b.has_input(i) ? &b.input(i) : nullptr;
    if ((!x && !y) || stands_for(y, x)) continue;
    const std::string input = "input " + std::to_string(i);
    if (!x || !y)
      shared_.changed(place, input + (x ? ": is absent now" : ": was absent"));
    else if (stored_constant(*x) && stored_constant(*y))
      shared_.changed(place,
                      input + ": " + tensor_change(*stored_constant(*x), *stored_constant(*y)));
    else if (const auto t = sparse_text_of(*x), u = sparse_text_of(*y); !t.empty() && !u.empty())
      shared_.changed(place, input + ": " + t + " -> " + u);
    else
      shared_.changed(place, input + ": reads " +
                                 (y->producer() ? "the result of " + y->producer()->describe()
                                                : "'" + y->name() + "'") +
                                 " now");
  }
}

void GraphComparison::attribute(const std::string& place, const std::string& name,
                                const std::string& what, const AttributePair& pair,
                                const std::string& absent) {
  const auto& [x, y] = pair;
  if (x && y && keyed_a_.attribute_key(*x) == keyed_b_.attribute_key(*y)) return;
  const auto* t = x ? x->get<NamedTensor>() : nullptr;
  const auto* u = y ? y->get<NamedTensor>() : nullptr;
  if (t && u && seem_equal(t->tensor, u->tensor)) return;
  if (x && y && x->kind == y->kind) {
    const auto before = graphs_in(*x), after = graphs_in(*y);
    if (!before.empty() && before.size() == after.size()) {
      for (size_t i = 0; i < before.size(); ++i) {
        const std::string number = after.size() > 1 ? " " + std::to_string(i) : "";
        if (const std::string f = face_of(*before[i]), g = face_of(*after[i]); f != g)
          shared_.changed(place, what + number + ": " + f + " -> " + g);
        GraphComparison(*before[i], *after[i], keyed_a_, keyed_b_, Face::kPlaces,
                        place + ": " + name + number + ": ", shared_)
            .run();
      }
      return;
    }
  }
  const bool kinds = x && y && x->kind != y->kind;  // 1 and 1.0 look the same
  const auto text = [&](const Attribute* a) {
    return !a ? absent
              : (kinds ? attribute_kind_name(static_cast<int>(a->kind)) + " " : "") + shown(*a);
  };
  shared_.changed(place, what + ": " + text(x) + " -> " + text(y));
}

// What nothing reads weighs as much as the rest, and hides as well.
void GraphComparison::compare_unused_constants() {
  const auto before = unused_constants(a_), after = unused_constants(b_);
  const auto type = [](const Value* v) { return format_type(v->type()); };
  const auto lacks_data = [](const Value* v) {
    return v->initializer() && unread_data(*v->initializer());
  };
  const auto list = [&](const auto& those, const auto& others, Difference::Kind kind) {
    // One that lacks its data seems equal to all of its type.
    std::set<std::string> types, without_data;
    for (const auto& [text, v] : others) {
      types.insert(type(v));
      if (lacks_data(v)) without_data.insert(type(v));
    }
    for (const auto& [text, v] : those)
      if (!others.contains(text) && !(lacks_data(v) ? types : without_data).contains(type(v)))
        shared_.out.push_back({kind, prefix_ + "unread initializer '" + v->name() + "'", text});
  };
  list(before, after, Difference::Kind::kRemoved);
  list(after, before, Difference::Kind::kAdded);
}

}  // namespace onnxtool
