#include "libopt/analysis/difference.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <unordered_map>

#include "libopt/analysis/attribute_defaults.h"
#include "libopt/analysis/structure_keys.h"
#include "libopt/analysis/tensor_text.h"

namespace onnxtool {
namespace {

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
    unread_constants();
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

  // `place` of the function that imports them; empty: the model.
  void opsets(const std::vector<OpsetImport>& a, const std::vector<OpsetImport>& b,
              const std::string& place) {
    std::map<std::string, std::array<int64_t, 2>> versions;
    for (const OpsetImport& o : a) versions[o.domain == "ai.onnx" ? "" : o.domain][0] = o.version;
    for (const OpsetImport& o : b) versions[o.domain == "ai.onnx" ? "" : o.domain][1] = o.version;
    const auto text = [](int64_t v) { return v ? std::to_string(v) : std::string("none"); };
    for (const auto& [d, v] : versions) {
      const std::string name = "opset '" + (d.empty() ? "ai.onnx" : d) + "'";
      if (v[0] == v[1]) continue;
      const std::string change = text(v[0]) + " -> " + text(v[1]);
      if (place.empty())
        changed(name, change);
      else
        changed(place, name + ": " + change);
    }
  }

  void header() {
    changed_if(a_.ir_version != b_.ir_version, "IR version", std::to_string(a_.ir_version),
               std::to_string(b_.ir_version));
    opsets(a_.opsets, b_.opsets, "");
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
    order(before, after, word);
  }

  // Of those that both have: some programs go by it.
  void order(const std::vector<Value*>& before, const std::vector<Value*>& after,
             const std::string& word) {
    std::set<std::string> names;
    for (const Value* v : before) names.insert(v->name());
    std::vector<std::string> left, right;
    for (const Value* v : after)
      if (names.contains(v->name())) right.push_back(v->name());
    names = {right.begin(), right.end()};
    for (const Value* v : before)
      if (names.contains(v->name())) left.push_back(v->name());
    changed_if(left != right, "order of " + word + "s", fmt::format("{}", fmt::join(left, ", ")),
               fmt::format("{}", fmt::join(right, ", ")));
  }

  // What nothing reads weighs as much as the rest, and hides as well.
  void unread_constants() {
    const auto unread = [](const Model& m) {
      std::map<std::string, std::string> out;  // by content
      for (const Value* v : m.graph().initializers())
        if (v->uses().empty() && !v->is_graph_output() && !v->is_graph_input())
          out[tensor_text(*v->initializer())] = v->name();
      return out;
    };
    const auto before = unread(a_), after = unread(b_);
    const auto place = [](const std::string& name) { return "unread initializer '" + name + "'"; };
    for (const auto& [text, name] : before)
      if (!after.contains(text)) out_.push_back({Difference::Kind::kRemoved, place(name), text});
    for (const auto& [text, name] : after)
      if (!before.contains(text)) out_.push_back({Difference::Kind::kAdded, place(name), text});
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
    return operator_key(a) == operator_key(b);
  }

  // Operator and variable inputs, as values of a; nullopt: one of them is new.
  std::optional<std::string> reads(const Node& n, bool of_a) const {
    std::string key = operator_key(n);
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
    std::string key = "shape " + operator_key(n);
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
    std::set<std::string> attributes;
    for (const Node* n : {&a, &b})
      for (const Attribute& x : n->attributes())
        if (!is_default_attribute(*n, x)) attributes.insert(x.name);
    for (const std::string& name : attributes)
      attribute(place, "attribute '" + name + "'", {a.attribute(name), b.attribute(name)},
                "absent");
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

  using AttributePair = std::pair<const Attribute*, const Attribute*>;  // nullptr: has none

  void attribute(const std::string& place, const std::string& what, const AttributePair& pair,
                 const std::string& absent) {
    const auto& [x, y] = pair;
    if (x && y && keyed_a_.attribute_key(*x) == keyed_b_.attribute_key(*y)) return;
    const bool kinds = x && y && x->kind != y->kind;  // 1 and 1.0 look the same
    const auto text = [&](const Attribute* a) {
      return !a ? absent
                : (kinds ? attribute_kind_name(static_cast<int>(a->kind)) + " " : "") + shown(*a);
    };
    changed(place, what + ": " + text(x) + " -> " + text(y));
  }

  static std::string shown(const Attribute& a) {
    constexpr size_t kMost = 80;
    if (a.kind == AttributeKind::kGraph || a.kind == AttributeKind::kGraphs) return "a graph";
    const std::string text = attribute_text(a);
    return text.size() <= kMost ? text : text.substr(0, kMost) + "...";
  }

  using FunctionId = std::tuple<std::string, std::string, std::string>;
  static std::map<FunctionId, const Function*> by_name(const Model& model) {
    std::map<FunctionId, const Function*> out;
    for (const Function& f : model.functions) out[{f.domain, f.name, f.overload}] = &f;
    return out;
  }
  static std::string describe(const Function& f) {
    return "function '" + f.domain + "." + f.name + (f.overload.empty() ? "" : ":" + f.overload) +
           "'";
  }

  void functions() {
    const auto before = by_name(a_), after = by_name(b_);
    for (const auto& [id, f] : before)
      if (const auto it = after.find(id); it == after.end())
        out_.push_back({Difference::Kind::kRemoved, describe(*f), ""});
      else
        function(*f, *it->second);
    for (const auto& [id, f] : after)
      if (!before.contains(id)) out_.push_back({Difference::Kind::kAdded, describe(*f), ""});
  }

  // Inputs and outputs by place, since calls pass them so; attributes by name.
  void function(const Function& a, const Function& b) {
    const std::string place = describe(a);
    const auto signature = [](const Function& f) {
      return std::to_string(f.body->inputs().size()) + " inputs, " +
             std::to_string(f.body->outputs().size()) + " outputs";
    };
    if (signature(a) != signature(b)) changed(place, signature(a) + " -> " + signature(b));
    std::map<std::string, AttributePair> defaults;
    for (const Attribute& x : a.attribute_defaults) defaults[x.name].first = &x;
    for (const Attribute& y : b.attribute_defaults) defaults[y.name].second = &y;
    for (const auto& [name, pair] : defaults)
      attribute(place, "default of attribute '" + name + "'", pair, "none");
    const auto only_in = [&](const Function& one, const Function& other, const char* what) {
      for (const std::string& name : one.attributes)
        if (std::ranges::find(other.attributes, name) == other.attributes.end() &&
            !defaults.contains(name))
          changed(place, "attribute '" + name + "': " + what);
    };
    only_in(a, b, "is gone");
    only_in(b, a, "is new");
    opsets(a.opsets, b.opsets, place);
    if (KeyedGraph(keys_).graph_key(*a.body) != KeyedGraph(keys_).graph_key(*b.body))
      changed(place, "its body differs");
  }

  const Model &a_, &b_;
  StructureKeys keys_;
  KeyedGraph keyed_a_, keyed_b_;
  std::unordered_map<const Node*, const Node*> to_b_, to_a_;
  std::unordered_map<const Value*, const Value*> meaning_;  // of b's values
  std::vector<Difference> out_;
};

}  // namespace

std::vector<Difference> model_differences(const Model& a, const Model& b) {
  return Comparison(a, b).run();
}

}  // namespace onnxtool
