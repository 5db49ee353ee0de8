#include "libopt/analysis/difference.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>

#include "libopt/analysis/tensor_text.h"

namespace onnxtool {
namespace {

// Said or left out, it is the same: defaults that every standard operator with such an attribute
// has.
bool is_default(const Node& n, const Attribute& a) {
  if (!n.domain().empty()) return false;
  if (a.name == "auto_pad") return n.attr<std::string>("auto_pad", "") == "NOTSET";
  constexpr std::pair<std::string_view, int64_t> kDefaults[] = {
      {"storage_order", 0},     {"transA", 0},    {"transB", 0},   {"group", 1},
      {"count_include_pad", 0}, {"ceil_mode", 0}, {"keepdims", 1}, {"noop_with_empty_axes", 0}};
  const auto* value = a.get<int64_t>();
  return value && std::any_of(std::begin(kDefaults), std::end(kDefaults), [&](const auto& d) {
           return d.first == a.name && d.second == *value;
         });
}

// Interns structural keys: equal numbers are equal computations, without collisions.
class Keys {
 public:
  int of(const std::string& key) {
    return ids_.emplace(key, static_cast<int>(ids_.size())).first->second;
  }

 private:
  std::unordered_map<std::string, int> ids_;
};

// A graph with the key of every value and node.
class Keyed {
 public:
  Keyed(const Graph& graph, Keys& keys) : keys_(keys) {
    for (size_t i = 0; i < graph.inputs().size(); ++i)
      values_[graph.inputs()[i]] = keys_.of("input " + graph.inputs()[i]->name());
    add(graph);
  }

  const std::vector<const Node*>& nodes() const {
    return nodes_;
  }  // of the main graph, Constants left out
  int of(const Node& n) const { return node_keys_.at(&n); }
  int of(const Value& v) {
    const auto it = values_.find(&v);
    if (it != values_.end()) return it->second;
    const Tensor* t = v.constant() ? v.constant() : v.initializer();
    return values_[&v] = keys_.of(t ? "constant " + tensor_text(*t) : "unknown");
  }
  std::string attribute_key(const Attribute& a) {
    if (const auto* g = a.get<std::unique_ptr<Graph>>()) return graph_key(**g);
    if (const auto* list = a.get<std::vector<std::unique_ptr<Graph>>>()) {
      std::string out;
      for (const auto& g : *list) out += graph_key(*g) + ";";
      return out;
    }
    return attribute_text(a);
  }

 private:
  void add(const Graph& graph, bool main = true) {
    for (const Node& n : graph.nodes()) {
      if (n.num_outputs() && n.has_output(0) && n.output(0).constant()) continue;
      std::string key = n.domain() + "." + n.op_type() + ":" + n.overload() + "(";
      for (const Value* v : n.inputs()) key += (v ? std::to_string(of(*v)) : "-") + ",";
      while (key.ends_with("-,")) key.resize(key.size() - 2);
      std::map<std::string, std::string> attributes;
      for (const Attribute& a : n.attributes())
        if (!is_default(n, a)) attributes[a.name] = attribute_key(a);
      for (const auto& [name, text] : attributes) key += " " + name + "=" + text;
      const int id = keys_.of(key);
      node_keys_[&n] = id;
      if (main) nodes_.push_back(&n);
      for (int i = 0; i < n.num_outputs(); ++i)
        if (n.has_output(i))
          values_[&n.output(i)] =
              keys_.of("result " + std::to_string(id) + " " + std::to_string(i));
    }
  }

  std::string graph_key(const Graph& g) {
    for (size_t i = 0; i < g.inputs().size(); ++i)
      values_[g.inputs()[i]] = keys_.of("parameter " + std::to_string(i));
    add(g, false);
    std::string out = "{" + std::to_string(g.inputs().size()) + ":";
    for (const Value* v : g.outputs()) out += std::to_string(of(*v)) + ",";
    return out + "}";
  }

  Keys& keys_;
  std::vector<const Node*> nodes_;
  std::unordered_map<const Value*, int> values_;
  std::unordered_map<const Node*, int> node_keys_;
};

class Comparison {
 public:
  Comparison(const Model& a, const Model& b)
      : a_(a), b_(b), keyed_a_(a.graph(), keys_), keyed_b_(b.graph(), keys_) {}

  std::vector<Difference> run() {
    header();
    pair_equal();
    pair_by_inputs();
    pair_by_users();
    pair_in_order();
    graph_outputs();
    nodes();
    functions();
    return std::move(out_);
  }

 private:
  void changed(std::string place, std::string what) {
    out_.push_back({Difference::Kind::kChanged, std::move(place), std::move(what)});
  }
  void changed_if(bool differs, const std::string& place, const std::string& before,
                  const std::string& after) {
    if (differs) changed(place, before + " -> " + after);
  }

  void header() {
    changed_if(a_.ir_version != b_.ir_version, "IR version", std::to_string(a_.ir_version),
               std::to_string(b_.ir_version));
    std::set<std::string> domains;
    for (const Model* m : {&a_, &b_})
      for (const OpsetImport& o : m->opsets) domains.insert(o.domain == "ai.onnx" ? "" : o.domain);
    for (const std::string& d : domains) {
      const int x = a_.opset(d), y = b_.opset(d);
      const auto text = [](int v) { return v ? std::to_string(v) : std::string("none"); };
      changed_if(x != y, "opset '" + (d.empty() ? "ai.onnx" : d) + "'", text(x), text(y));
    }
    std::map<std::string, std::string> before(a_.metadata.begin(), a_.metadata.end()),
        after(b_.metadata.begin(), b_.metadata.end());
    for (const auto& [key, value] : before)
      if (!after.contains(key))
        out_.push_back({Difference::Kind::kRemoved, "metadata '" + key + "'", value});
      else
        changed_if(after[key] != value, "metadata '" + key + "'", "'" + value + "'",
                   "'" + after[key] + "'");
    for (const auto& [key, value] : after)
      if (!before.contains(key))
        out_.push_back({Difference::Kind::kAdded, "metadata '" + key + "'", value});
    faces(a_.graph().inputs(), b_.graph().inputs(), "input");
    faces(a_.graph().outputs(), b_.graph().outputs(), "output");
  }

  // By name: this is what programs rely on.
  void faces(const std::vector<Value*>& before, const std::vector<Value*>& after,
             const std::string& word) {
    const auto find = [](const std::vector<Value*>& list, const std::string& name) -> const Value* {
      const auto it =
          std::find_if(list.begin(), list.end(), [&](const Value* v) { return v->name() == name; });
      return it == list.end() ? nullptr : *it;
    };
    for (const Value* v : before) {
      const std::string place = word + " '" + v->name() + "'";
      const Value* other = find(after, v->name());
      if (!other)
        out_.push_back({Difference::Kind::kRemoved, place, format_type(v->type())});
      else
        changed_if(format_type(v->type()) != format_type(other->type()), place,
                   format_type(v->type()), format_type(other->type()));
      if (other && v->initializer() && other->initializer() &&
          !v->initializer()->same_content(*other->initializer()))
        changed(place, "default: " + tensor_change(*v->initializer(), *other->initializer()));
    }
    for (const Value* v : after)
      if (!find(before, v->name()))
        out_.push_back(
            {Difference::Kind::kAdded, word + " '" + v->name() + "'", format_type(v->type())});
  }

  void pair(const Node& a, const Node& b) {
    to_b_[&a] = &b;
    to_a_[&b] = &a;
    for (int i = 0; i < std::min(a.num_outputs(), b.num_outputs()); ++i)
      if (a.has_output(i) && b.has_output(i)) meaning_[&b.output(i)] = &a.output(i);
  }

  void pair_equal() {
    for (const Value* v : b_.graph().inputs())
      if (const Value* other = a_.graph().find(v->name()); other && other->is_graph_input())
        meaning_[v] = other;
    std::unordered_map<int, std::vector<const Node*>> open;
    for (const Node* n : keyed_a_.nodes()) open[keyed_a_.of(*n)].push_back(n);
    for (auto& [key, list] : open) std::reverse(list.begin(), list.end());
    for (const Node* n : keyed_b_.nodes()) {
      const auto it = open.find(keyed_b_.of(*n));
      if (it == open.end() || it->second.empty()) continue;
      pair(*it->second.back(), *n);
      it->second.pop_back();
    }
  }

  static bool same_operator(const Node& a, const Node& b) {
    return a.op_type() == b.op_type() && a.domain() == b.domain();
  }

  // Operator and variable inputs, as values of a; nullopt: one of them is new.
  std::optional<std::string> reads(const Node& n, bool of_a) const {
    std::string key = n.domain() + "." + n.op_type();
    bool any = false;
    for (const Value* v : n.inputs()) {
      if (!v || v->constant()) continue;
      const Value* m = v;
      if (!of_a) {
        const auto it = meaning_.find(v);
        if (it == meaning_.end()) return std::nullopt;
        m = it->second;
      }
      key += " " + std::to_string(m->id());
      any = true;
    }
    if (!any) return std::nullopt;
    return key;
  }

  void pair_by_inputs() {
    std::unordered_map<std::string, std::vector<const Node*>> open;
    for (const Node* n : keyed_a_.nodes())
      if (!to_b_.contains(n))
        if (const auto key = reads(*n, true)) open[*key].push_back(n);
    for (auto& [key, list] : open) std::reverse(list.begin(), list.end());
    for (const Node* n : keyed_b_.nodes()) {
      if (to_a_.contains(n)) continue;
      const auto key = reads(*n, false);
      const auto it = key ? open.find(*key) : open.end();
      if (it == open.end() || it->second.empty()) continue;
      pair(*it->second.back(), *n);
      it->second.pop_back();
    }
  }

  // From the outputs back: what feeds the same input of a pair stands for each other.
  void pair_by_users() {
    const auto producers = [&](const Value* x, const Value* y) {
      if (!x || !y || !x->producer() || !y->producer()) return;
      const Node &p = *x->producer(), &q = *y->producer();
      if (same_operator(p, q) && x->producer_index() == y->producer_index() &&
          !to_b_.contains(&p) && !to_a_.contains(&q) && &p.graph() == &a_.graph() &&
          &q.graph() == &b_.graph() && !x->constant() && !y->constant())
        pair(p, q);
    };
    for (const Value* y : b_.graph().outputs())
      for (const Value* x : a_.graph().outputs())
        if (x->name() == y->name()) producers(x, y);
    for (auto it = keyed_b_.nodes().rbegin(); it != keyed_b_.nodes().rend(); ++it) {
      const auto found = to_a_.find(*it);
      if (found == to_a_.end()) continue;
      for (int i = 0; i < std::min((*it)->num_inputs(), found->second->num_inputs()); ++i)
        if ((*it)->has_input(i) && found->second->has_input(i))
          producers(&found->second->input(i), &(*it)->input(i));
    }
  }

  // What is left: the longest common sequence of operators on constants of equal shapes, so that
  // one node put in or taken out does not cost the pairs of all that follow.
  void pair_in_order() {
    std::vector<const Node*> a, b;
    for (const Node* n : keyed_a_.nodes())
      if (!to_b_.contains(n)) a.push_back(n);
    for (const Node* n : keyed_b_.nodes())
      if (!to_a_.contains(n)) b.push_back(n);
    // A table of more than this many cells is not worth its time: such models have little in
    // common.
    constexpr size_t kMostCells = 16'000'000;
    if (a.empty() || b.empty() || a.size() * b.size() > kMostCells) return;
    std::vector<int> x, y;
    for (const Node* n : a) x.push_back(keys_.of(shape_key(*n)));
    for (const Node* n : b) y.push_back(keys_.of(shape_key(*n)));
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

  static std::string shape_key(const Node& n) {
    std::string key = "shape " + n.domain() + "." + n.op_type();
    for (const Value* v : n.inputs())
      if (const Tensor* t = v ? v->constant() : nullptr) key += format_dims(t->dims());
    return key;
  }

  // What an output of the main graph is made of may change although every node has its pair.
  void graph_outputs() {
    for (const Value* y : b_.graph().outputs())
      for (const Value* x : a_.graph().outputs())
        if (x->name() == y->name() && !stands_for(y, x))
          changed("output '" + y->name() + "'", "is made by another node");
  }

  bool stands_for(const Value* y, const Value* x) {
    if (!x || !y) return x == y;
    const Tensor *t = x->constant(), *u = y->constant();
    if (t || u) return t && u && t->same_content(*u);
    const auto it = meaning_.find(y);
    if (it != meaning_.end()) return it->second == x;
    return !x->producer() && !y->producer() && x->name() == y->name();
  }

  void nodes() {
    for (const Node* n : keyed_a_.nodes())
      if (!to_b_.contains(n)) out_.push_back({Difference::Kind::kRemoved, n->describe(), ""});
    for (const Node* n : keyed_b_.nodes()) {
      const auto it = to_a_.find(n);
      if (it == to_a_.end())
        out_.push_back({Difference::Kind::kAdded, n->describe(), ""});
      else if (keyed_a_.of(*it->second) != keyed_b_.of(*n))
        node(*it->second, *n);
    }
  }

  void node(const Node& a, const Node& b) {
    const std::string place = b.describe();
    for (const Attribute& x : a.attributes()) {
      const Attribute* y = b.attribute(x.name);
      if (!y && is_default(a, x)) continue;
      if (!y)
        changed(place, "attribute '" + x.name + "': " + shown(x) + " -> absent");
      else if (keyed_a_.attribute_key(x) != keyed_b_.attribute_key(*y))
        changed(place, "attribute '" + x.name + "': " + shown(x) + " -> " + shown(*y));
    }
    for (const Attribute& y : b.attributes())
      if (!a.attribute(y.name) && !is_default(b, y))
        changed(place, "attribute '" + y.name + "': absent -> " + shown(y));
    for (int i = 0; i < std::max(a.num_inputs(), b.num_inputs()); ++i) {
      const Value* x = a.has_input(i) ? &a.input(i) : nullptr;
      const Value* y = b.has_input(i) ? &b.input(i) : nullptr;
      if ((!x && !y) || stands_for(y, x)) continue;
      const std::string input = "input " + std::to_string(i);
      if (!x || !y)
        changed(place, input + (x ? ": is absent now" : ": was absent"));
      else if (x->constant() && y->constant())
        changed(place, input + ": " + tensor_change(*x->constant(), *y->constant()));
      else
        changed(place, input + ": reads " +
                           (y->producer() ? "the result of " + y->producer()->describe()
                                          : "'" + y->name() + "'") +
                           " now");
    }
  }

  static std::string shown(const Attribute& a) {
    constexpr size_t kMost = 80;
    if (a.kind == AttributeKind::kGraph || a.kind == AttributeKind::kGraphs) return "a graph";
    const std::string text = attribute_text(a);
    return text.size() <= kMost ? text : text.substr(0, kMost) + "...";
  }

  void functions() {
    const auto key = [&](const Function& f, Keys& keys) {
      Keyed body(*f.body, keys);
      std::string out;
      for (const Value* v : f.body->outputs()) out += std::to_string(body.of(*v)) + ",";
      return out;
    };
    Keys keys;
    std::map<std::string, std::string> before, after;
    for (const Function& f : a_.functions)
      before[f.domain + "." + f.name + (f.overload.empty() ? "" : ":" + f.overload)] = key(f, keys);
    for (const Function& f : b_.functions)
      after[f.domain + "." + f.name + (f.overload.empty() ? "" : ":" + f.overload)] = key(f, keys);
    for (const auto& [name, text] : before)
      if (!after.contains(name))
        out_.push_back({Difference::Kind::kRemoved, "function '" + name + "'", ""});
      else if (after[name] != text)
        changed("function '" + name + "'", "its body differs");
    for (const auto& [name, text] : after)
      if (!before.contains(name))
        out_.push_back({Difference::Kind::kAdded, "function '" + name + "'", ""});
  }

  const Model &a_, &b_;
  Keys keys_;
  Keyed keyed_a_, keyed_b_;
  std::unordered_map<const Node*, const Node*> to_b_, to_a_;
  std::unordered_map<const Value*, const Value*> meaning_;  // of b's values
  std::vector<Difference> out_;
};

}  // namespace

std::vector<Difference> model_differences(const Model& a, const Model& b) {
  return Comparison(a, b).run();
}

}  // namespace onnxtool
